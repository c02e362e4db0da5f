import { hostname } from 'node:os';
import { Option } from 'commander';
import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import type { AkAlgorithm, EkKind, Tpm } from '../tpm/port.ts';
import { configOf, leaf, noun, pcrList } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { print, printJson, short, table } from './output.ts';

/** `tvmmp host`. */
export function addHost(program: Command): void {
  const host = noun(
    program,
    'host',
    "this host's TPM, keys and enrolment",
    'A host is ready when its TPM has our keys (init), the authority has certified them (enroll), and a policy accepts ' +
      'its platform state (measure, then tvmmp policy new).',
  );
  addInit(host);
  addEnroll(host);
  addStatus(host);
  addMeasure(host);
}

interface InitOptions extends CommonOptions {
  readonly bundle: string;
  readonly keyAlgorithm: AkAlgorithm;
  readonly replaceKeys?: boolean;
}

function addInit(host: Command): void {
  leaf(host, {
    usage: 'init',
    summary: "make this host's keys in its TPM",
    description:
      "Makes the attestation key and the receive key as persistent objects of the TPM, and remembers the authority's\n" +
      'bundle for tvmmp host enroll. The receive key works only in platform states that this authority approves. Keys ' +
      'that are there already are kept; keys of another kind, or for another authority, are an error.',
    examples: [
      ['tvmmp host init --bundle bundle.json', 'With the bundle that tvmmp authority bundle printed.'],
      ['tvmmp host init --bundle bundle.json --key-algorithm rsa-2048', 'For a TPM without ECC.'],
    ],
    configured: true,
  })
    .requiredOption('--bundle <file>', "the authority's bundle, from a source that you trust")
    .addOption(
      new Option('--key-algorithm <name>', 'of the attestation key')
        .choices(['ecc-p256', 'rsa-2048'])
        .default('ecc-p256'),
    )
    .option(
      '--replace-keys',
      'make new keys where the TPM holds others of ours; sealed vTPM keys are lost with them',
    )
    .action(async (options: InitOptions) => {
      const { initHost } = await import('./host-setup.ts');
      const config = configOf(options);
      const made = await withTpm(config.tpm.tcti, (tpm) =>
        initHost(tpm, config.directories.identity, {
          bundleFile: options.bundle,
          keyAlgorithm: options.keyAlgorithm,
          replaceKeys: options.replaceKeys ?? false,
        }),
      );
      const { keys, bundleFile } = made;
      const { created, ak, receiveKey } = keys;
      if (options.json === true) printJson({ created, akName: ak.name, receiveKeyName: receiveKey.name });
      else
        print(
          created.length === 0
            ? 'the keys of this host are there already'
            : `made in the TPM: ${created.join(', ')}`,
          `attestation key ${short(ak.name.subarray(2))}, receive key ${short(receiveKey.name.subarray(2))}`,
          `bundle kept in ${bundleFile}`,
          'Next: tvmmp host enroll --via "ssh root@AUTHORITY tvmmp authority enroll DIR --name NAME --ek-roots ROOTS"',
        );
    });
}

interface EnrollOptions extends CommonOptions {
  readonly via: string;
  readonly bundle?: string;
  readonly expectName?: string;
  readonly ek?: EkKind;
  readonly platformCertificate?: string;
  readonly qemuGroup?: string;
}

function addEnroll(host: Command): void {
  leaf(host, {
    usage: 'enroll',
    summary: 'have the authority certify the keys of this host',
    description:
      "Runs a command whose standard input and output lead to tvmmp authority enroll, proves to it that this host's TPM\n" +
      'holds its keys, and writes the certificates, the TLS keys (made here) and the current policy. What comes back is ' +
      'taken only from the authority of the bundle. Restart tvmmpd afterwards.',
    examples: [
      [
        'tvmmp host enroll --via "ssh root@authority tvmmp authority enroll /srv/authority --name alpha --ek-roots /srv/tpm-roots"',
        'Over ssh; whoever may run that command there names this host.',
      ],
      [
        'tvmmp host enroll --expect-name alpha --via "tvmmp authority enroll /srv/authority --name alpha --ek-roots /srv/tpm-roots"',
        'Authority on the same machine; another name is refused.',
      ],
    ],
    configured: true,
  })
    .requiredOption('--via <command>', 'a shell command that leads to the authority')
    .option('--bundle <file>', "the authority's bundle (default: that of tvmmp host init)")
    .option('--expect-name <host>', 'refuse any other name')
    .addOption(
      new Option(
        '--ek <kind>',
        'which endorsement key to show (default: the first that has a certificate)',
      ).choices(['ecc-p256', 'ecc-p384', 'rsa-2048']),
    )
    .option(
      '--platform-certificate <file>',
      "the machine's platform certificate to show (DER or PEM), or nv: from the TPM; where the authority asks for one",
    )
    .option(
      '--qemu-group <group>',
      "who may read QEMU's TLS key (default: libvirt-qemu or qemu, where there is one)",
    )
    .action(async (options: EnrollOptions) => {
      const { enrolVia } = await import('./host-setup.ts');
      const config = configOf(options);
      const name = await withTpm(config.tpm.tcti, (tpm) => enrolVia(tpm, config.directories, options));
      const { identity } = config.directories;
      if (options.json === true) printJson({ name, identity });
      else
        print(
          `this host is enrolled as ${name}; certificates are in ${identity}`,
          'Next: systemctl restart tvmmpd',
        );
    });
}

function addStatus(host: Command): void {
  leaf(host, {
    usage: 'status',
    summary: 'whether this host is ready, and what is missing',
    description:
      "Looks at the TPM, the certificates, the policy, the platform state, the agent and libvirt's hooks, each by itself,\n" +
      'and says what to do about what is missing. Exit code 1 where something is.',
    examples: [['tvmmp host status', 'One line for each.']],
    configured: true,
  }).action(async (options: CommonOptions) => {
    const { hostStatus } = await import('./host-status.ts');
    const { refused } = await import('./exit.ts');
    const { paint } = await import('./output.ts');
    const found = await hostStatus(options);
    const missing = found.filter(({ ok }) => !ok);
    if (options.json === true) printJson({ ready: missing.length === 0, parts: found });
    else
      print(
        ...table(
          ['PART', 'STATE', 'FOUND'],
          found.map(({ part, ok, text }) => [part, ok ? 'good' : 'MISSING', text]),
        ).map((line) => (line.includes('  MISSING  ') ? paint('yellow', line) : line)),
      );
    if (missing.length > 0)
      throw refused(`this host is not ready: ${missing.map(({ part }) => part).join(', ')}`);
  });
}

interface MeasureOptions extends CommonOptions {
  readonly pcrs?: readonly number[];
  readonly name: string;
  readonly record?: string;
}

function addMeasure(host: Command): void {
  leaf(host, {
    usage: 'measure',
    summary: 'read the platform state of this host from its TPM',
    description:
      'Reads PCRs of the SHA-256 bank. With --json the output is a state for tvmmp policy new. A policy accepts exactly ' +
      'the states in it: measure again after every update of firmware, boot loader or kernel. With --record the state and copies of the ' +
      'event log and the IMA list go into a directory, for tvmmp policy test --recorded.',
    examples: [
      ['tvmmp host measure', 'A table.'],
      ['tvmmp host measure --pcrs 0-7 --name alpha-2026-06 --json > alpha.json', 'For a policy.'],
      [
        'tvmmp host measure --record /var/tmp/alpha',
        'As root: to try policies with rules about logs elsewhere.',
      ],
    ],
    configured: true,
  })
    .option('--pcrs <list>', 'which (default: 0-7; with --record 0-10)', pcrList)
    .option('--record <directory>', 'keep state and logs there')
    .option('--name <state>', 'what the state is called', hostname())
    .action(async (options: MeasureOptions) => {
      const { stateJson, stateOf } = await import('./measured-state.ts');
      const { name, record } = options;
      const pcrs = options.pcrs ?? pcrList(record === undefined ? '0-7' : '0-10');
      if (!/^[\x20-\x7e]{1,128}$/.test(name))
        throw usageError('a name of a state has 1 to 128 printable characters');
      const { values } = await withTpm(configOf(options).tpm.tcti, (tpm) =>
        tpm.readPcrs([{ bank: 'sha256', pcrs }]),
      );
      const missing = pcrs.filter((wanted) => !values.some(({ pcr }) => pcr === wanted));
      if (missing.length > 0) throw usageError(`the TPM has no PCR ${missing.join(', ')} in a SHA-256 bank`);
      if (record !== undefined) {
        const { ownLogs, writeRecording } = await import('./recording.ts');
        writeRecording(record, stateOf(name, values), ownLogs(configOf(options)));
      }
      if (options.json === true) printJson(stateJson(stateOf(name, values)));
      else
        print(
          ...table(
            ['PCR', 'SHA-256'],
            values.map(({ pcr, digest }) => [String(pcr), hex(digest)]),
          ),
        );
    });
}

/** Opens the TPM for one piece of work. */
export async function withTpm<T>(tcti: string, work: (tpm: Tpm) => Promise<T>): Promise<T> {
  const { openTpm } = await import('../tpm/open.ts');
  const tpm = await openTpm(tcti);
  try {
    return await work(tpm);
  } finally {
    await tpm.close();
  }
}
