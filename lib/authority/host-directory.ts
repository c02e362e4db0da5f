/** What an enrolled host has on disk: for its agent, and for QEMU's migration TLS. */
import type { KeyObject } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { assertSuccessor, verifySignedPolicy } from '../appraisal/policy.ts';
import type { Policy, PolicyTrust } from '../appraisal/policy.ts';
import { compareRevocations, verifySignedRevocations } from '../appraisal/revocation.ts';
import type { RevocationList } from '../appraisal/revocation.ts';
import { certificateToPem, certificatesFromPem } from '../certificates/pem.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { formatVtpmIssuers, parseVtpmIssuers } from '../certificates/vtpm-chain.ts';
import type { VtpmIssuers } from '../certificates/vtpm-chain.ts';
import { TvmmpError } from '../errors.ts';
import { ensureDirectory, replaceFiles } from './files.ts';
import type { NewFile } from './files.ts';

/** Files of the agent's directory; all PEM but the policy and the revocation list, DSSE envelopes. */
export const AGENT_FILES = {
  root: 'authority.pem',
  policySigner: 'policy-signer.pem',
  policy: 'policy.json',
  revocations: 'revocations.json',
  agentCertificate: 'agent-cert.pem',
  agentKey: 'agent-key.pem',
  akCertificate: 'ak.pem',
  vtpmIssuers: 'vtpm-ca.pem',
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
  /** DSSE envelope, verified; null where the authority has revoked nobody yet. */
  readonly revocations: string | null;
  /** vTPM CA of this host and what is above it; null where it has none. */
  readonly vtpmIssuers: VtpmIssuers | null;
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
export function writeHostDirectories(
  directories: HostDirectories,
  credentials: HostCredentials,
  at: Date,
): void {
  ensureDirectory(directories.identity, 0o755);
  ensureDirectory(directories.migrationTls, 0o755);
  const { root, policySigner } = credentials;
  const kept = keptRevocations(directories.identity, credentials, { root, signers: [policySigner], at });
  const named = kept === undefined ? credentials : { ...credentials, revocations: kept };
  replaceFiles([...qemuFiles(directories, credentials), ...agentFiles(directories.identity, named)]);
  if (named.revocations === null)
    rmSync(join(directories.identity, AGENT_FILES.revocations), { force: true });
}

/** The list that is there, where it is of this authority and newer than the one that comes: a version never goes back. */
function keptRevocations(
  identity: string,
  { revocations }: HostCredentials,
  trust: PolicyTrust,
): string | undefined {
  try {
    const there = readRevocations(identity, trust);
    if (there === null) return undefined;
    const coming = revocations === null ? 0 : verifySignedRevocations(revocations, trust).version;
    return there.list.version > coming ? there.envelope : undefined;
  } catch (error) {
    // Of another authority, or broken: what comes replaces it.
    if (error instanceof TvmmpError && error.code === 'policy-invalid') return undefined;
    throw error;
  }
}

/**
 * Puts a newer signed policy in force on this host (SPEC 10). Throws `policy-invalid` where it does not verify, or must not
 * follow the one that is there. Returns it.
 */
export function installPolicy(identity: string, envelope: string, at: Date): Policy {
  const trust = trustOf(identity, at);
  const next = verifySignedPolicy(envelope, trust);
  const current = readOptional(identity, AGENT_FILES.policy);
  if (current !== undefined) assertSuccessor(verifySignedPolicy(current, trust), next);
  replaceFiles([{ path: join(identity, AGENT_FILES.policy), contents: envelope, mode: 0o644 }]);
  return next;
}

/**
 * Puts a revocation list in force on this host (SPEC 1.3). Throws `policy-invalid` where it does not verify, or must not follow
 * the one that is there. Returns it.
 */
export function installRevocations(identity: string, envelope: string, at: Date): RevocationList {
  const trust = trustOf(identity, at);
  const next = verifySignedRevocations(envelope, trust);
  if (compareRevocations(readRevocations(identity, trust)?.list ?? null, next) === 'newer') {
    replaceFiles([{ path: join(identity, AGENT_FILES.revocations), contents: envelope, mode: 0o644 }]);
  }
  return next;
}

/** The revocation list in force on a host; null where there is none. Throws `policy-invalid` where it does not verify. */
export function readRevocations(
  identity: string,
  trust: PolicyTrust,
): { readonly list: RevocationList; readonly envelope: string } | null {
  const envelope = readOptional(identity, AGENT_FILES.revocations);
  return envelope === undefined ? null : { list: verifySignedRevocations(envelope, trust), envelope };
}

/** vTPM CA of this host and what is above it, UNVERIFIED; null where it was enrolled last before there were such CAs. Throws `certificate-invalid`. */
export function readVtpmIssuers(identity: string): VtpmIssuers | null {
  const text = readOptional(identity, AGENT_FILES.vtpmIssuers);
  return text === undefined ? null : parseVtpmIssuers(text);
}

/** Whom a host believes: its authority's root and policy signers, from its directory. */
export function trustOf(identity: string, at: Date): PolicyTrust {
  const root = parseRootCertificate(read(identity, AGENT_FILES.root));
  return { root, signers: certificatesFromPem(read(identity, AGENT_FILES.policySigner)), at };
}

function agentFiles(directory: string, credentials: HostCredentials): readonly NewFile[] {
  const file = (name: string, contents: string, mode: NewFile['mode'] = 0o644): NewFile => ({
    path: join(directory, name),
    contents,
    mode,
  });
  const policy = credentials.policy === null ? [] : [file(AGENT_FILES.policy, credentials.policy)];
  const { revocations, vtpmIssuers } = credentials;
  return [
    file(AGENT_FILES.root, certificateToPem(credentials.root.der)),
    file(AGENT_FILES.policySigner, certificateToPem(credentials.policySigner)),
    ...policy,
    ...(revocations === null ? [] : [file(AGENT_FILES.revocations, revocations)]),
    ...(vtpmIssuers === null ? [] : [file(AGENT_FILES.vtpmIssuers, formatVtpmIssuers(vtpmIssuers))]),
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
