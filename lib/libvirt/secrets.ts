/**
 * Calls about libvirt secrets, by the addon: each on a short thread and a connection of its own. No value passes here: a vTPM's passphrase must not
 * be in JavaScript's memory, and native/libvirt-secret.cc hands it to libvirt.
 */
import { TvmmpError } from '../errors.ts';
import type { LibvirtNative, NativeSecret } from '../native/libvirt.ts';
import { withinDeadline } from './deadline.ts';
import { isConnectionError } from './error-numbers.ts';
import type { SecretDescription, SecretSummary } from './port.ts';
import { escapeXml } from './xml.ts';

/** These calls wait for nobody but the daemon: after this it is hung, and callers must hear of it. */
const DEADLINE_MS = 15_000;
const USAGE_BYTES_MAX = 4096;
const USAGE_TYPES = ['none', 'volume', 'ceph', 'iscsi', 'tls', 'vtpm'] as const;

/** What calls about secrets need of the addon. */
export type SecretNative = Pick<
  LibvirtNative,
  'listSecrets' | 'secretExists' | 'defineSecret' | 'undefineSecret'
>;

export async function listSecrets(native: SecretNative, uri: string): Promise<readonly SecretSummary[]> {
  return (await answered('listSecrets', native.listSecrets(uri))).map(summary);
}

export function secretExists(native: SecretNative, uri: string, uuid: string): Promise<boolean> {
  return answered('secretExists', native.secretExists(uri, uuid));
}

export function defineSecret(native: SecretNative, uri: string, secret: SecretDescription): Promise<void> {
  return answered('defineSecret', native.defineSecret(uri, secretXml(secret)));
}

/** Resolves to false when there was none. */
export function undefineSecret(native: SecretNative, uri: string, uuid: string): Promise<boolean> {
  return answered('undefineSecret', native.undefineSecret(uri, uuid));
}

function summary({ uuid, usageType, usageId }: NativeSecret): SecretSummary {
  if (Buffer.byteLength(usageId) > USAGE_BYTES_MAX) {
    throw new TvmmpError('limit-exceeded', `the usage of a secret has more than ${USAGE_BYTES_MAX} bytes`);
  }
  return {
    uuid: uuid.toLowerCase(),
    usageType: USAGE_TYPES[usageType] ?? 'unknown',
    usageName: usageId,
  };
}

function secretXml(secret: SecretDescription): string {
  const yesNo = (flag: boolean): string => (flag ? 'yes' : 'no');
  const description =
    secret.description === undefined ? '' : `<description>${escapeXml(secret.description)}</description>`;
  return (
    `<secret ephemeral='${yesNo(secret.ephemeral)}' private='${yesNo(secret.private)}'>` +
    `<uuid>${escapeXml(secret.uuid)}</uuid>${description}` +
    `<usage type='${secret.usageType}'><name>${escapeXml(secret.usageName)}</name></usage></secret>`
  );
}

async function answered<T>(name: string, answer: Promise<T>): Promise<T> {
  try {
    return await withinDeadline(answer, name, DEADLINE_MS);
  } catch (error) {
    throw secretCallFailed(error);
  }
}

/** The addon's failure (`virCall: what libvirt said`, with libvirt's numbers) with the codes and details that every call of this port gives. */
function secretCallFailed(error: unknown): unknown {
  if (!(error instanceof TvmmpError) || error.code !== 'libvirt-call-failed') return error;
  const [, call = '', said = error.message] = /^(vir\w+): (.*)$/s.exec(error.message) ?? [];
  const { libvirtCode, libvirtDomain } = error.details;
  const details = { ...error.details, call };
  if (call === 'virConnectOpen') {
    const message = `cannot reach libvirt: ${said}`;
    return new TvmmpError('libvirt-connection-lost', message, { cause: error, details });
  }
  const lost =
    typeof libvirtCode === 'number' &&
    typeof libvirtDomain === 'number' &&
    isConnectionError({ libvirtCode, libvirtDomain });
  const code = lost ? 'libvirt-connection-lost' : 'libvirt-call-failed';
  return new TvmmpError(code, said, { cause: error, details });
}
