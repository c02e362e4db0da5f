import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { collect, collectAttribute, leaf, noun, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { passphraseOf, withAuthority, withPassphrase } from './authority-directory.ts';
import type { PassphraseOptions } from './authority-directory.ts';
import { addEscrow } from './authority-escrow.ts';
import { addAuthorityResult } from './authority-result.ts';
import { addReinstate, addRevoke } from './authority-revocation.ts';
import { emit } from './files.ts';
import { fields, print, printJson, short, table, timeText } from './output.ts';

/** `tvmmp authority`. Nothing of it is needed on hosts, nor while VMs move. */
export function addAuthority(program: Command): void {
  const authority = noun(
    program,
    'authority',
    'the authority that enrols hosts and signs policies',
    'The authority is a directory with three keys and a register. Keep it on a machine that runs no VMs; it may be off ' +
      'while hosts work. Policies are signed with tvmmp policy sign.',
  );
  addInit(authority);
  addEnroll(authority);
  addRevoke(authority);
  addReinstate(authority);
  addAuthorityResult(authority);
  addEscrow(authority);
  addBundle(authority);
  addVtpmRoot(authority);
  addList(authority);
}

function addInit(authority: Command): void {
  withPassphrase(
    leaf(authority, {
      usage: 'init <directory>',
      summary: 'make a new authority',
      description:
        'Makes the root key, the policy key, the key of the root of vTPMs, their certificates and an empty register in a directory that ' +
        'does not exist or is empty. root.pem in it is what auditors need to verify proofs; the keys must not leave the directory.',
      examples: [
        [
          'tvmmp authority init /srv/authority --name "Example Corp"',
          'Keys protected by file permissions alone.',
        ],
        [
          'tvmmp authority init /srv/authority --passphrase-file /root/passphrase',
          'Keys encrypted; the same file is needed to enrol and to sign.',
        ],
      ],
    }).option('--name <name>', 'what people call it', 'TVMMP authority'),
  ).action(async (directory: string, options: PassphraseOptions & { readonly name: string }) => {
    const { initAuthority } = await import('../authority/authority.ts');
    const made = await initAuthority(directory, { name: options.name, ...passphraseOf(options) });
    const digest = hex(made.root.digest);
    made.close();
    if (options.json === true) printJson({ directory, name: options.name, rootDigest: digest });
    else {
      print(
        `${options.name} is ready in ${directory}`,
        ...fields([['  root certificate', `SHA-256 ${digest}`]]),
        `Next: tvmmp authority bundle ${directory} > bundle.json, and tvmmp host init --bundle bundle.json on each host`,
      );
    }
  });
}

interface EnrollOptions extends PassphraseOptions {
  readonly name: string;
  readonly address?: readonly string[];
  readonly ekRoots: string;
  readonly replace?: boolean;
  readonly renew?: boolean;
  readonly days?: number;
  readonly attribute?: ReadonlyMap<string, string | number>;
  readonly platformRoots?: string;
  readonly platformAttributes?: boolean;
}

function addEnroll(authority: Command): void {
  withPassphrase(
    leaf(authority, {
      usage: 'enroll <directory>',
      summary: 'enrol one host; its tvmmp host enroll starts this and talks to it',
      description:
        'Speaks the enrolment exchange, one JSON message a line, over standard input and output: verifies the certificate ' +
        "of the host's TPM, has the TPM prove that it holds the host's keys, and certifies them under the given name.\n" +
        "The name is this command's to give: run it with the right one for the host at the other end.",
      examples: [
        [
          'tvmmp host enroll --via "ssh root@authority tvmmp authority enroll /srv/authority --name alpha --ek-roots /srv/tpm-roots"',
          'On the host: this is how it is usually started.',
        ],
        [
          'tvmmp host enroll --via "ssh root@authority tvmmp authority enroll /srv/authority --name alpha --ek-roots /srv/tpm-roots --attribute region=eu --attribute level=2"',
          'With attributes, which are in the certificate and in proofs.',
        ],
      ],
    })
      .requiredOption('--name <host>', 'the name that the host gets')
      .requiredOption(
        '--ek-roots <directory>',
        'certificates of the TPM manufacturers to believe (PEM or DER)',
      )
      .option(
        '--address <ip>',
        "an IP address for the host's TLS certificates; may be given several times",
        collect,
      )
      .option(
        '--attribute <name=value>',
        'what the authority says of the host, such as region=eu or level=2; may be given several times',
        collectAttribute,
      )
      .option(
        '--platform-roots <directory>',
        'certificates of the manufacturers of machines to believe (PEM or DER): the host has to show a platform certificate then',
      )
      .option(
        '--platform-attributes',
        'put platform_manufacturer, platform_model and platform_version of that certificate into the attributes',
      )
      .option('--renew', 'new certificates for the enrolment that there is, with the same keys')
      .option(
        '--replace',
        'end earlier enrolments of this name or this TPM, and revoke their keys where they are others',
      )
      .option(
        '--days <number>',
        'how long the certificates are good for (default: 5 years)',
        positiveInteger,
      ),
  ).action(async (directory: string, options: EnrollOptions) => {
    const { enrolSession } = await import('../authority/enrol-session.ts');
    await withAuthority(directory, options, (opened) =>
      enrolSession(opened, process.stdin, process.stdout, {
        hostName: options.name,
        addresses: options.address ?? [],
        ekRoots: options.ekRoots,
        replace: options.replace ?? false,
        renew: options.renew ?? false,
        ...(options.days === undefined ? {} : { days: options.days }),
        ...(options.attribute === undefined ? {} : { attributes: options.attribute }),
        ...(options.platformRoots === undefined ? {} : { platformRoots: options.platformRoots }),
        platformAttributes: options.platformAttributes ?? false,
      }),
    );
    // Standard output is the exchange's.
    process.stderr.write(`tvmmp: ${options.name} is enrolled\n`);
    process.stdin.destroy();
  });
}

function addBundle(authority: Command): void {
  leaf(authority, {
    usage: 'bundle <directory>',
    summary: 'print what hosts have to be given before they enrol',
    description:
      'Prints the certificates of root and policy signer. Nothing in the bundle is secret, but hosts trust whoever it ' +
      'names: bring it to them by a way that you trust.',
    examples: [
      ['tvmmp authority bundle /srv/authority > bundle.json', 'Into a file.'],
      ['tvmmp authority bundle /srv/authority -o bundle.json', 'The same.'],
    ],
  })
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async (directory: string, options: CommonOptions & { readonly output?: string }) => {
      const bundle = await withAuthority(directory, {}, (opened) => Promise.resolve(opened.publicBundle()));
      emit(bundle, options.output);
    });
}

function addVtpmRoot(authority: Command): void {
  withPassphrase(
    leaf(authority, {
      usage: 'vtpm-root <directory>',
      summary: 'print the root certificate of vTPMs',
      description:
        "Prints, in PEM, the root that certificates of vTPMs chain to (tvmmp vm certificate). It is another one than the authority's " +
        'own: give it to tools that verify endorsement keys, and to no TLS software. tvmmp proof verify does not need it. An authority ' +
        'that was made before there were such roots gets its own here.',
      examples: [
        [
          'tvmmp authority vtpm-root /srv/authority -o vtpm-root.pem',
          'For openssl verify -CAfile vtpm-root.pem.',
        ],
      ],
    }),
  )
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async (directory: string, options: PassphraseOptions & { readonly output?: string }) => {
      const { certificateToPem } = await import('../certificates/pem.ts');
      const root = await withAuthority(
        directory,
        options,
        async (opened) => opened.vtpmRoot() ?? (await opened.vtpmIssuer()),
      );
      emit(certificateToPem(root.certificate.der), options.output);
    });
}

function addList(authority: Command): void {
  leaf(authority, {
    usage: 'list <directory>',
    summary: 'the hosts that are enrolled',
    description:
      'Lists the enrolled hosts, when they enrolled, until when their certificates are good, the names of their keys, and ' +
      'who of them is revoked; then the policy and the revocation list signed last.',
    examples: [['tvmmp authority list /srv/authority', 'A table.']],
  }).action(async (directory: string, options: CommonOptions) => {
    const { decodePolicy } = await import('./policy-view.ts');
    const { decodeRevocations, revocationOf } = await import('../appraisal/revocation.ts');
    const { currentRevocations } = await import('../authority/revocations.ts');
    const { attributesText } = await import('../certificates/attributes.ts');
    const { verifyHostCertificate } = await import('../certificates/host-certificate.ts');
    const { parsePlatformCertificate, platformText } =
      await import('../certificates/platform-certificate.ts');
    const found = await withAuthority(directory, {}, (opened) => {
      const envelope = opened.currentPolicy();
      const signed = currentRevocations(opened);
      const list = signed === null ? null : decodeRevocations(signed);
      return Promise.resolve({
        revocations: list === null ? null : { version: list.version, hosts: list.hosts },
        hosts: opened
          .hosts()
          .map(({ name, time, ekName, akName, receiveKeyName, akCertificate, platformCertificate }) => ({
            name,
            time,
            platform:
              platformCertificate === null
                ? null
                : platformText(parsePlatformCertificate(platformCertificate)),
            attributes: attributesText(
              verifyHostCertificate(akCertificate, opened.root, new Date(time)).attributes,
            ),
            expires: verifyHostCertificate(akCertificate, opened.root, new Date(time)).notAfter.getTime(),
            revoked: revocationOf(list, Uint8Array.from(akName))?.reason ?? null,
            ekName: Uint8Array.from(ekName),
            akName: Uint8Array.from(akName),
            receiveKeyName: Uint8Array.from(receiveKeyName),
          })),
        policy: envelope === null ? null : decodePolicy(envelope),
      });
    });
    const { hosts, policy, revocations } = found;
    const policyId = policy === null ? null : { id: policy.id, version: policy.version };
    if (options.json === true) printJson({ hosts, policy: policyId, revocations });
    else {
      const rows = hosts.map(({ name, time, expires, attributes, platform, revoked, ekName, akName }) => [
        name,
        timeText(time),
        timeText(expires),
        short(ekName.subarray(2)),
        short(akName.subarray(2)),
        attributes,
        platform ?? '',
        revoked === null ? '' : `REVOKED: ${revoked}`,
      ]);
      print(
        ...(rows.length === 0
          ? ['no host is enrolled']
          : table(['HOST', 'ENROLLED', 'EXPIRES', 'EK', 'AK', 'ATTRIBUTES', 'PLATFORM', 'STATE'], rows)),
        policyId === null
          ? 'no policy is signed yet (tvmmp policy sign)'
          : `policy signed last: ${policyId.id} version ${policyId.version}`,
        revocations === null
          ? 'no host was ever revoked'
          : `revocation list signed last: version ${revocations.version}, ${revocations.hosts.length} keys`,
      );
    }
  });
}
