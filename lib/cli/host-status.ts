/** What `tvmmp host status` looks at: every part by itself, so that all that is missing is seen at once. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { verifySignedPolicy } from '../appraisal/policy.ts';
import type { Policy } from '../appraisal/policy.ts';
import { revocationOf } from '../appraisal/revocation.ts';
import { AGENT_FILES, readRevocations, trustOf } from '../authority/host-directory.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { attributesText } from '../certificates/attributes.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import { certificateFromPem, certificatesFromPem } from '../certificates/pem.ts';
import { TvmmpError } from '../errors.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import { hex } from '../encoding/hex.ts';
import { openTpm } from '../tpm/open.ts';
import { readOwnKey } from '../tpm/own-keys.ts';
import type { Tpm, TpmPublic } from '../tpm/port.ts';
import { askAgent } from './agent-client.ts';
import { configOf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { checkHooks } from './hook-check.ts';
import { defaultHooksDirectory } from './hook-files.ts';
import { timeText } from './output.ts';

/** One part of a host. */
export interface HostPart {
  readonly part: string;
  readonly ok: boolean;
  /** What was found; where it is not good, with the remedy. */
  readonly text: string;
}

/** All parts in the order in which they are set up. */
export async function hostStatus(options: CommonOptions): Promise<readonly HostPart[]> {
  const config = configOf(options);
  const tpm = await openTpm(config.tpm.tcti).catch((error: unknown) => error as Error);
  try {
    const none = (): never => {
      throw new Error('no TPM to look at');
    };
    const policy = await part('policy', () => policyOf(config));
    return [
      await part('TPM', () => (tpm instanceof Error ? raise(tpm) : describeTpm(tpm))),
      await part('enrolment', () => (tpm instanceof Error ? none() : describeEnrolment(tpm, config))),
      policy,
      await part('revocation', () => describeRevocation(config)),
      await part('platform state', () => (tpm instanceof Error ? none() : describeState(tpm, config))),
      await part('migration TLS', () => describeMigrationTls(config)),
      await part('agent', () => describeAgent(options)),
      await part('hooks', () => describeHooks(config)),
    ];
  } finally {
    if (!(tpm instanceof Error)) await tpm.close();
  }
}

async function part(name: string, look: () => string | Promise<string>): Promise<HostPart> {
  try {
    return { part: name, ok: true, text: await look() };
  } catch (error) {
    return { part: name, ok: false, text: error instanceof Error ? error.message : String(error) };
  }
}

function raise(error: Error): never {
  throw error;
}

async function describeTpm(tpm: Tpm): Promise<string> {
  const { manufacturer, vendor, firmwareVersion } = await tpm.properties();
  return `${manufacturer} ${vendor.trim().replace(/\s+/g, ' ')}, firmware ${firmwareVersion}`;
}

async function describeEnrolment(tpm: Tpm, { directories: { identity } }: AgentConfig): Promise<string> {
  const root = parseRootCertificate(read(identity, AGENT_FILES.root));
  const certificate = certificateFromPem(read(identity, AGENT_FILES.akCertificate));
  const host = verifyHostCertificate(certificate, root, new Date());
  const { ak, receiveKey } = await ownKeys(tpm);
  if (!bytesEqual(ak.name, host.akName) || !bytesEqual(receiveKey.name, host.receiveKeyName))
    throw new Error("the TPM does not hold the certificate's keys; run tvmmp host enroll again");
  const said = host.attributes.size === 0 ? '' : `, attributes ${attributesText(host.attributes)}`;
  return `${host.name}, attestation key ${hex(ak.name.subarray(2, 6))}, certificates good until ${timeText(host.notAfter)}${said}`;
}

/** Both keys, or which is missing and what to do about it. */
async function ownKeys(tpm: Tpm): Promise<{ readonly ak: TpmPublic; readonly receiveKey: TpmPublic }> {
  try {
    return { ak: await readOwnKey(tpm, 'attestation key'), receiveKey: await readOwnKey(tpm, 'receive key') };
  } catch (error) {
    if (!(error instanceof TvmmpError) || error.code !== 'tpm-not-provisioned') throw error;
    throw new Error(`${error.message}; run tvmmp host init, then enrol again with --replace`, {
      cause: error,
    });
  }
}

/** The list in force, and that it does not name this host. */
function describeRevocation({ directories: { identity } }: AgentConfig): string {
  const trust = trustOf(identity, new Date());
  const list = readRevocations(identity, trust)?.list ?? null;
  const { akName } = verifyHostCertificate(
    certificateFromPem(read(identity, AGENT_FILES.akCertificate)),
    trust.root,
    new Date(),
  );
  const own = revocationOf(list, akName);
  if (own !== undefined)
    throw new Error(`the authority has revoked this host since ${timeText(own.since)}: ${own.reason}`);
  return list === null
    ? 'no list yet'
    : `list version ${list.version}, ${list.hosts.length} keys, not this host's`;
}

export function policyFrom(identity: string): Policy {
  const envelope = read(
    identity,
    AGENT_FILES.policy,
    'no policy is installed; run tvmmp policy install FILE',
  );
  return verifySignedPolicy(envelope, {
    root: parseRootCertificate(read(identity, AGENT_FILES.root)),
    signers: certificatesFromPem(read(identity, AGENT_FILES.policySigner)),
    at: new Date(),
  });
}

function policyOf({ directories: { identity } }: AgentConfig): string {
  const { id, version, states } = policyFrom(identity);
  return `${id} version ${version}, ${states.length} approved ${states.length === 1 ? 'state' : 'states'}`;
}

/** Whether the TPM is in an approved state now: it decides what the next quote will show. */
export async function describeState(tpm: Tpm, { directories: { identity } }: AgentConfig): Promise<string> {
  const { id, version, selection, states } = policyFrom(identity);
  const { values } = await tpm.readPcrs(selection);
  const state = states.find(({ pcrs }) =>
    values.every(({ pcr, digest }) => bytesEqual(pcrs.get(pcr) ?? new Uint8Array(), digest)),
  );
  if (state !== undefined) return `approved as ${state.name}`;
  const nearest = states
    .map(({ name, pcrs }) => ({
      name,
      differ: values.filter(({ pcr, digest }) => !bytesEqual(pcrs.get(pcr) ?? new Uint8Array(), digest)),
    }))
    .sort((a, b) => a.differ.length - b.differ.length)[0];
  const where =
    nearest === undefined
      ? ''
      : ` (from ${nearest.name} in PCR ${nearest.differ.map(({ pcr }) => pcr).join(', ')})`;
  throw new Error(
    `differs from every state of ${id} version ${version}${where}; measure it and have a new policy signed, or boot what was approved`,
  );
}

function describeMigrationTls({ directories: { migrationTls } }: AgentConfig): string {
  const missing = [
    'ca-cert.pem',
    'server-cert.pem',
    'server-key.pem',
    'client-cert.pem',
    'client-key.pem',
  ].filter((name) => !existsSync(join(migrationTls, name)));
  if (missing.length > 0)
    throw new Error(`${migrationTls} lacks ${missing.join(', ')}; run tvmmp host enroll`);
  return `${migrationTls} (migrate_tls_x509_cert_dir in qemu.conf)`;
}

async function describeAgent(options: CommonOptions): Promise<string> {
  const { version, advertise } = (await askAgent(options, 'status')) as {
    version: string;
    advertise: string;
  };
  return `tvmmpd ${version}, reached at ${advertise}`;
}

async function describeHooks(config: AgentConfig): Promise<string> {
  const checks = await checkHooks(defaultHooksDirectory, config);
  const bad = checks.find(({ outcome }) => outcome === 'fail');
  if (bad !== undefined) throw new Error(`${bad.found}; ${bad.remedy}`);
  const doubts = checks
    .filter(({ outcome }) => outcome === 'unknown')
    .map(({ found, remedy }) => `${found}; ${remedy}`);
  return [`installed in ${defaultHooksDirectory}`, ...doubts].join('; but ');
}

function read(
  directory: string,
  name: string,
  otherwise = 'this host is not enrolled; run tvmmp host init and enroll',
): string {
  try {
    return readFileSync(join(directory, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new Error(otherwise, { cause: error });
    throw error;
  }
}
