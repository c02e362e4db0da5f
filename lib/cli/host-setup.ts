/** What `tvmmp host init` and `tvmmp host enroll` do. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { trimDer } from '../bytes/der-value.ts';
import { receivePolicyOf } from '../appraisal/policy.ts';
import { parseBundle } from '../authority/bundle.ts';
import type { Bundle } from '../authority/bundle.ts';
import { ensureDirectory, replaceFiles } from '../authority/files.ts';
import { enrolHost } from '../authority/host-enrolment.ts';
import type { HostEnrolmentOptions } from '../authority/host-enrolment.ts';
import { attributeCertificateFrom } from '../certificates/pem.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { AK_HANDLE, PLATFORM_CERTIFICATE_NV } from '../tpm/handles.ts';
import type { AkAlgorithm, EkKind, ProvisionedKeys, Tpm } from '../tpm/port.ts';
import { parsePublicArea } from '../tpm/public-area.ts';
import { usageError } from './exit.ts';
import { readInput, readText } from './files.ts';

const BUNDLE_FILE = 'bundle.json';
const BUNDLE_BYTES_MAX = 64 * 1024;
/** How long the command may take to end once the exchange is over. */
const END_MS = 5_000;
/** Groups that QEMU runs with, on Debian and on Fedora. */
const QEMU_GROUPS = ['libvirt-qemu', 'qemu'];

/** How keys are made. */
export interface InitRequest {
  readonly bundleFile: string;
  readonly keyAlgorithm: AkAlgorithm;
  readonly replaceKeys: boolean;
}

/** Makes the keys, then keeps the bundle: what is enrolled later is for the authority that the keys are bound to. */
export async function initHost(
  tpm: Tpm,
  identity: string,
  request: InitRequest,
): Promise<{ readonly keys: ProvisionedKeys; readonly bundleFile: string }> {
  const text = readText(request.bundleFile, BUNDLE_BYTES_MAX);
  const bundle = parseBundle(text, new Date());
  const keys = await tpm.provision({
    keyAlgorithm: request.keyAlgorithm,
    receivePolicy: receivePolicyOf(bundle.signer.spki),
    replace: request.replaceKeys,
  });
  const bundleFile = join(identity, BUNDLE_FILE);
  ensureDirectory(identity, 0o755);
  replaceFiles([{ path: bundleFile, contents: text, mode: 0o644 }]);
  return { keys, bundleFile };
}

/** How a host enrols. */
export interface EnrolRequest {
  /** A shell command. */
  readonly via: string;
  readonly bundle?: string;
  readonly expectName?: string;
  readonly ek?: EkKind;
  /** A file, or `nv`. */
  readonly platformCertificate?: string;
  readonly qemuGroup?: string;
}

/** Enrols over the standard input and output of a command; returns the host's name. */
export async function enrolVia(
  tpm: Tpm,
  directories: AgentConfig['directories'],
  request: EnrolRequest,
): Promise<string> {
  const bundle = readBundle(request.bundle ?? join(directories.identity, BUNDLE_FILE));
  const migrationGid = groupId(request.qemuGroup);
  const options: HostEnrolmentOptions = {
    bundle,
    keyAlgorithm: await akAlgorithm(tpm),
    ...(request.ek === undefined ? {} : { ekKind: request.ek }),
    ...(request.platformCertificate === undefined
      ? {}
      : { platformCertificate: await platformCertificate(tpm, request.platformCertificate) }),
    ...(request.expectName === undefined ? {} : { expectedName: request.expectName }),
  };
  const { identity, migrationTls } = directories;
  const child = spawn('/bin/sh', ['-c', request.via], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  try {
    return await enrolHost(tpm, child.stdout, child.stdin, {
      ...options,
      directories: { identity, migrationTls, ...(migrationGid === undefined ? {} : { migrationGid }) },
    });
  } catch (error) {
    throw await explain(error, ended, request.via);
  } finally {
    child.stdin.destroy();
    child.stdout.destroy();
    const late = setTimeout(() => child.kill(), END_MS);
    await ended;
    clearTimeout(late);
  }
}

/** The machine's platform certificate: of a file, or of the TPM. What it is, the authority looks at. */
async function platformCertificate(tpm: Tpm, source: string): Promise<Uint8Array> {
  if (source !== 'nv') return attributeCertificateFrom(readInput(source, limits.certificateBytesMax * 2));
  return trimDer(await tpm.nvRead(PLATFORM_CERTIFICATE_NV));
}

/** A pipe that ended says little; how the command ended says more. */
async function explain(
  error: unknown,
  ended: Promise<[number | null, string | null]>,
  via: string,
): Promise<unknown> {
  if (!(error instanceof TvmmpError) || error.details['reason'] !== 'ended') return error;
  const [code, signal] = await ended;
  const how = signal === null ? `exit code ${code ?? 0}` : `signal ${signal}`;
  return new TvmmpError('peer-unreachable', `the command to the authority ended (${how}): ${via}`, {
    cause: error,
  });
}

function readBundle(file: string): Bundle {
  if (!existsSync(file)) throw usageError(`there is no ${file}; run tvmmp host init --bundle FILE first`);
  return parseBundle(readText(file, BUNDLE_BYTES_MAX), new Date());
}

/** Enrolment keeps the key that `init` made, of whichever algorithm. */
async function akAlgorithm(tpm: Tpm): Promise<AkAlgorithm> {
  try {
    const { publicArea } = await tpm.readPublic(AK_HANDLE);
    return parsePublicArea(publicArea).type === 'rsa' ? 'rsa-2048' : 'ecc-p256';
  } catch (cause) {
    if (!(cause instanceof TvmmpError) || cause.code === 'tpm-unreachable') throw cause;
    throw new TvmmpError(
      'tpm-not-provisioned',
      'the TPM has no keys of ours yet; run tvmmp host init first',
      { cause },
    );
  }
}

function groupId(wanted: string | undefined): number | undefined {
  const groups = readFileSync('/etc/group', 'utf8').split('\n');
  for (const name of wanted === undefined ? QEMU_GROUPS : [wanted]) {
    const [, , id] = groups.find((line) => line.startsWith(`${name}:`))?.split(':') ?? [];
    if (id !== undefined) return Number(id);
  }
  if (wanted !== undefined) throw usageError(`there is no group ${wanted} in /etc/group`);
  return undefined;
}
