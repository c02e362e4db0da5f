/** What an enrolled host has on disk: for its agent, and for QEMU's migration TLS. */
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertSuccessor, verifySignedPolicy } from '../appraisal/policy.ts';
import type { Policy } from '../appraisal/policy.ts';
import { certificateToPem, certificatesFromPem } from '../certificates/pem.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { TvmmpError } from '../errors.ts';
import { ensureDirectory, replaceFiles } from './files.ts';
import type { NewFile } from './files.ts';

/** Files of the agent's directory; all PEM but the policy, a DSSE envelope. */
export const AGENT_FILES = {
  root: 'authority.pem',
  policySigner: 'policy-signer.pem',
  policy: 'policy.json',
  agentCertificate: 'agent-cert.pem',
  agentKey: 'agent-key.pem',
  akCertificate: 'ak.pem',
} as const;

/** Names that QEMU has in `tls-creds-x509` and libvirt in `migrate_tls_x509_cert_dir`. */
const QEMU_FILES = {
  root: 'ca-cert.pem',
  serverCertificate: 'server-cert.pem',
  serverKey: 'server-key.pem',
  clientCertificate: 'client-cert.pem',
  clientKey: 'client-key.pem',
} as const;

/** Where the two sets of files go. */
export interface HostDirectories {
  /** The agent's, such as /etc/tvmmp. */
  readonly identity: string;
  /** QEMU's, such as /etc/tvmmp/migration-tls. */
  readonly migrationTls: string;
  /** Group that QEMU runs with, which has to read its key (mode 0640); undefined: root alone (0600). */
  readonly migrationGid?: number;
}

/** Everything that a host has after its enrolment; certificates in DER. */
export interface HostCredentials {
  readonly name: string;
  readonly root: RootCertificate;
  readonly policySigner: Uint8Array;
  /** DSSE envelope, verified; null where the authority has signed none. */
  readonly policy: string | null;
  readonly akCertificate: Uint8Array;
  readonly agentCertificate: Uint8Array;
  readonly agentKey: KeyObject;
  readonly migrationCertificate: Uint8Array;
  readonly migrationKey: KeyObject;
}

/**
 * Writes both directories. Each file is replaced whole, the AK certificate last: where a power cut comes in between, the
 * agent finds certificates that do not fit together and asks for another enrolment.
 */
export function writeHostDirectories(directories: HostDirectories, credentials: HostCredentials): void {
  ensureDirectory(directories.identity, 0o755);
  ensureDirectory(directories.migrationTls, 0o755);
  replaceFiles([...qemuFiles(directories, credentials), ...agentFiles(directories.identity, credentials)]);
}

/**
 * Puts a newer signed policy in force on this host (SPEC 10). Throws `policy-invalid` where it does not verify, or must not
 * follow the one that is there. Returns it.
 */
export function installPolicy(identity: string, envelope: string, at: Date): Policy {
  const root = parseRootCertificate(read(identity, AGENT_FILES.root));
  const signers = certificatesFromPem(read(identity, AGENT_FILES.policySigner));
  const trust = { root, signers, at };
  const next = verifySignedPolicy(envelope, trust);
  const current = readOptional(identity, AGENT_FILES.policy);
  if (current !== undefined) assertSuccessor(verifySignedPolicy(current, trust), next);
  replaceFiles([{ path: join(identity, AGENT_FILES.policy), contents: envelope, mode: 0o644 }]);
  return next;
}

function agentFiles(directory: string, credentials: HostCredentials): readonly NewFile[] {
  const file = (name: string, contents: string, mode: NewFile['mode'] = 0o644): NewFile => ({
    path: join(directory, name),
    contents,
    mode,
  });
  const policy = credentials.policy === null ? [] : [file(AGENT_FILES.policy, credentials.policy)];
  return [
    file(AGENT_FILES.root, certificateToPem(credentials.root.der)),
    file(AGENT_FILES.policySigner, certificateToPem(credentials.policySigner)),
    ...policy,
    file(AGENT_FILES.agentKey, keyToPem(credentials.agentKey), 0o600),
    file(AGENT_FILES.agentCertificate, certificateToPem(credentials.agentCertificate)),
    file(AGENT_FILES.akCertificate, certificateToPem(credentials.akCertificate)),
  ];
}

/** One key and certificate for both ends of QEMU's migration connection. */
function qemuFiles(directories: HostDirectories, credentials: HostCredentials): readonly NewFile[] {
  const { migrationTls, migrationGid } = directories;
  const certificate = certificateToPem(credentials.migrationCertificate);
  const key = keyToPem(credentials.migrationKey);
  const keyMode: Pick<NewFile, 'mode' | 'gid'> =
    migrationGid === undefined ? { mode: 0o600 } : { mode: 0o640, gid: migrationGid };
  return [
    {
      path: join(migrationTls, QEMU_FILES.root),
      contents: certificateToPem(credentials.root.der),
      mode: 0o644,
    },
    { path: join(migrationTls, QEMU_FILES.serverKey), contents: key, ...keyMode },
    { path: join(migrationTls, QEMU_FILES.clientKey), contents: key, ...keyMode },
    { path: join(migrationTls, QEMU_FILES.serverCertificate), contents: certificate, mode: 0o644 },
    { path: join(migrationTls, QEMU_FILES.clientCertificate), contents: certificate, mode: 0o644 },
  ];
}

function keyToPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function read(directory: string, name: string): string {
  const text = readOptional(directory, name);
  if (text === undefined)
    throw new TvmmpError('config-invalid', `this host is not enrolled: no ${join(directory, name)}`);
  return text;
}

function readOptional(directory: string, name: string): string | undefined {
  try {
    return readFileSync(join(directory, name), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new TvmmpError('config-invalid', `${join(directory, name)} cannot be read`, { cause });
  }
}
