/** The agent, versions, libvirt's settings, and secrets on disk, as `tvmmp doctor` looks at them. */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { version } from '../agent/version.ts';
import { AGENT_FILES } from '../authority/host-directory.ts';
import { askAgent } from './agent-client.ts';
import type { CommonOptions } from './command.ts';
import { reason } from './files.ts';
import { bad, good, looked, warning } from './finding.ts';
import type { Finding } from './finding.ts';
import { agentRemedy, peerFindings, trustFinding, vtpmsFinding } from './doctor-trust.ts';
import { checkHooks } from './hook-check.ts';
import { defaultHooksDirectory } from './hook-files.ts';
import { policyFrom } from './host-status.ts';
import type { LedgerStatus, RollbackStatus, TrustStatus, VtpmsStatus } from './status.ts';

const NODE_MIN = [20, 19] as const;

interface Status {
  readonly version: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly policy: { readonly id: string; readonly version: number };
  readonly ledger: LedgerStatus;
  readonly rollback: RollbackStatus;
  readonly vtpms: VtpmsStatus;
  readonly trust: TrustStatus;
  readonly migrations: readonly { readonly vm: string; readonly state: string; readonly peer: string }[];
}

/** The agent, what it runs with, and what it has not finished. */
export async function agentFindings(
  options: CommonOptions,
  config: AgentConfig,
): Promise<readonly Finding[]> {
  let status: Status;
  try {
    status = (await askAgent(options, 'status')) as Status;
  } catch (error) {
    return [nodeFinding(), bad('agent', (error as Error).message, agentRemedy)];
  }
  const { versions, migrations } = status;
  const told = Object.entries(versions).map(([name, text]) => `${name} ${text}`);
  return [
    nodeFinding(),
    status.version === version
      ? good('agent', `tvmmpd ${status.version} runs`)
      : warning('agent', `tvmmpd ${status.version} runs, this is tvmmp ${version}`, 'restart tvmmpd'),
    good('versions', told.join(', ')),
    await looked('policy-in-force', 'restart tvmmpd', () => {
      const onDisk = policyFrom(config.directories.identity);
      const { id, version: number } = status.policy;
      if (onDisk.id === id && onDisk.version === number)
        return good('policy-in-force', `${id} version ${number}`);
      const found = `the agent has ${id} version ${number}, on disk is ${onDisk.id} version ${onDisk.version}`;
      return bad('policy-in-force', found, 'restart tvmmpd');
    }),
    ledgerFinding(status.ledger),
    rollbackFinding(status.rollback),
    vtpmsFinding(status.vtpms),
    trustFinding(status.trust),
    ...peerFindings(status.trust),
    migrations.length === 0
      ? good('hand-overs', 'none is unfinished')
      : warning(
          'hand-overs',
          migrations.map(({ vm, state, peer }) => `${vm} ${state} with ${peer}`).join(', '),
          'where no migration runs: see that the agent of the other host can be reached; tvmmp explain',
        ),
  ];
}

/** Without its ledger, a fleet's host starts and moves nothing. */
function ledgerFinding({ place, problem, behind, conflicts }: LedgerStatus): Finding {
  if (problem !== '')
    return bad(
      'ledger',
      `${place}: ${problem}`,
      'see that etcd has a quorum, and that the files of "ledger" in the configuration are its own',
    );
  if (conflicts.length > 0)
    return bad(
      'ledger',
      conflicts.map((one) => one.problem).join('; '),
      'shut the VM down where it is the old copy; tvmmp proof verify says which',
    );
  if (behind.length > 0)
    return warning('ledger', `${behind.length} VMs still have to be written to ${place}`, 'wait a moment');
  return good('ledger', place);
}

/** A disk that was put back knows nothing of what its host did since. */
function rollbackFinding({ counter, rolledBack, vms }: RollbackStatus): Finding {
  if (rolledBack === null || vms.length === 0)
    return good('rollback', `the journal is at counter ${counter} of the TPM`);
  return bad(
    'rollback',
    `the disk of this host was put back (seen ${new Date(rolledBack).toISOString()}); ${vms.length} VMs do not start: ${vms.join(', ')}`,
    'put the last disk back; else see of each VM that no other host holds it, and then tvmmp vm adopt',
  );
}

function nodeFinding(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const enough = major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]);
  const found = `Node.js ${process.versions.node}`;
  return enough ? good('node', found) : bad('node', found, `install ${NODE_MIN.join('.')} or later`);
}

/** Whether libvirt asks us, and moves memory over the TLS of the enrolment. */
export async function libvirtFindings(
  config: AgentConfig,
  qemuConf = '/etc/libvirt/qemu.conf',
): Promise<readonly Finding[]> {
  const { migrationTls } = config.directories;
  const outcomes = { pass: 'good', unknown: 'warning', fail: 'bad' } as const;
  const hooks = (await checkHooks(defaultHooksDirectory, config)).map(({ name, outcome, found, remedy }) => ({
    check: `hook-${name}`,
    outcome: outcomes[outcome],
    found,
    remedy,
  }));
  return [
    ...hooks,
    await looked('libvirt-tls', `make ${qemuConf} readable`, () => {
      const text = readFileSync(qemuConf, 'utf8');
      const has = (name: string, value: string): boolean =>
        new RegExp(
          `^\\s*${name}\\s*=\\s*"?${value.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}"?\\s*$`,
          'm',
        ).test(text);
      const missing = [
        ...(has('migrate_tls_x509_cert_dir', migrationTls)
          ? []
          : [`migrate_tls_x509_cert_dir = "${migrationTls}"`]),
        ...(has('migrate_tls_x509_verify', '1') ? [] : ['migrate_tls_x509_verify = 1']),
      ];
      if (missing.length === 0) return good('libvirt-tls', `${qemuConf} names ${migrationTls}`);
      const lines = missing.join(' and ');
      return bad('libvirt-tls', `${qemuConf} lacks ${lines}`, `write it there, and restart libvirtd`);
    }),
  ];
}

/** Who can read what is secret, and whether something lies on disk that must not. */
export async function secretFindings(
  config: AgentConfig,
  libvirtSecrets = '/etc/libvirt/secrets',
): Promise<readonly Finding[]> {
  const { identity, migrationTls, state } = config.directories;
  const { ledger } = config;
  const keys = [
    { path: join(identity, AGENT_FILES.agentKey), bits: 0o077, mode: '600' },
    ...['server-key.pem', 'client-key.pem'].map((name) => ({
      path: join(migrationTls, name),
      bits: 0o037,
      mode: '640',
    })),
    ...(ledger.kind === 'etcd' ? [{ path: ledger.key, bits: 0o077, mode: '600' }] : []),
    // The agent makes these at its first start.
    ...[
      { path: state, bits: 0o022, mode: '700' },
      ...['journal.sqlite', 'journal.sqlite-wal', 'journal.sqlite-shm'].map((name) => ({
        path: join(state, name),
        bits: 0o077,
        mode: '600',
      })),
    ].filter(({ path }) => existsSync(path)),
  ];
  return [
    await looked('secret-files', 'see that it is there, and run this as root', () => {
      const open = keys.filter(({ path, bits }) => modeOf(path, bits));
      if (open.length === 0)
        return good('secret-files', `${keys.length} files and directories are closed to others`);
      return bad(
        'secret-files',
        `others can read or change ${open.map(({ path }) => path).join(', ')}`,
        `chmod ${open.map(({ path, mode }) => `${mode} ${path}`).join('; chmod ')}; who could read a key has it: enrol again with --renew`,
      );
    }),
    await looked('libvirt-secrets', 'run this as root', () => {
      const names = existsSync(libvirtSecrets) ? readdirSync(libvirtSecrets) : [];
      const ours = names
        .filter((name) => name.endsWith('.xml'))
        .filter((name) => /<name>\s*tvmmp /.test(readFileSync(join(libvirtSecrets, name), 'utf8')));
      if (ours.length === 0) return good('libvirt-secrets', 'libvirt keeps no vTPM passphrase on disk');
      return bad(
        'libvirt-secrets',
        `${libvirtSecrets} holds ${ours.join(', ')}`,
        'a vTPM passphrase was written to disk: virsh secret-undefine it, remove the files, and count the vTPM as known',
      );
    }),
    swapFinding(),
  ];
}

/** True where these bits are set, or somebody else owns it. Throws in words where it cannot be looked at. */
function modeOf(path: string, bits: number): boolean {
  try {
    const { mode, uid } = statSync(path);
    return (mode & bits) !== 0 || uid !== process.getuid?.();
  } catch (error) {
    throw new Error(`${path}: ${reason(error)}`, { cause: error });
  }
}

/** The agent locks its memory; libvirtd and swtpm, which hold keys too, do not. */
function swapFinding(): Finding {
  const [, ...lines] = readFileSync('/proc/swaps', 'utf8').trim().split('\n');
  const devices = lines
    .map((line) => line.split(/\s+/)[0] ?? '')
    .filter((name) => !/^\/dev\/(?:zram|dm-)/.test(name));
  if (devices.length === 0) return good('swap', 'no swap in clear');
  return warning(
    'swap',
    `memory may be written to ${devices.join(', ')}, and libvirtd and swtpm hold keys in theirs`,
    'encrypt the swap, or turn it off',
  );
}
