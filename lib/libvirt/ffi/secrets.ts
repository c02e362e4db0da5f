/**
 * Calls about libvirt secrets, on the dedicated thread. Neither `virSecretGetValue` nor `virSecretSetValue` is bound: a vTPM's passphrase
 * must not pass through JavaScript's memory, and native/ hands it to libvirt.
 */
import type { SecretDescription, SecretSummary } from '../port.ts';
import { ERR, callFailed, lastError, libvirt, nonNegative, nonNull } from './library.ts';
import { type Address, pointerSlot, readString, takePointers } from './memory.ts';
import { escapeXml } from '../xml.ts';

const UUID_STRING_BYTES = 37;
const USAGE_BYTES_MAX = 4096;
const USAGE_TYPES = ['none', 'volume', 'ceph', 'iscsi', 'tls', 'vtpm'] as const;

export function listSecrets(connection: Address): SecretSummary[] {
  const slot = pointerSlot();
  const call = 'virConnectListAllSecrets';
  const count = nonNegative(call, libvirt.virConnectListAllSecrets(connection, slot.buffer, 0));
  const handles = takePointers(slot.read(), count);
  try {
    return handles.map(summary);
  } finally {
    for (const secret of handles) libvirt.virSecretFree(secret);
  }
}

function summary(secret: Address): SecretSummary {
  const uuid = Buffer.alloc(UUID_STRING_BYTES);
  nonNegative('virSecretGetUUIDString', libvirt.virSecretGetUUIDString(secret, uuid));
  const type = nonNegative('virSecretGetUsageType', libvirt.virSecretGetUsageType(secret));
  // The string belongs to the handle: not ours to free.
  const usage = nonNull('virSecretGetUsageID', libvirt.virSecretGetUsageID(secret));
  return {
    uuid: uuid.toString('latin1', 0, UUID_STRING_BYTES - 1).toLowerCase(),
    usageType: USAGE_TYPES[type] ?? 'unknown',
    usageName: readString(usage, USAGE_BYTES_MAX),
  };
}

export function secretExists(connection: Address, uuid: string): boolean {
  return withSecret(connection, uuid, () => undefined);
}

export function undefineSecret(connection: Address, uuid: string): boolean {
  return withSecret(connection, uuid, (secret) => {
    nonNegative('virSecretUndefine', libvirt.virSecretUndefine(secret));
  });
}

/** Runs `use` with the handle of a secret; false when there is no such secret. */
function withSecret(connection: Address, uuid: string, use: (secret: Address) => void): boolean {
  const secret = libvirt.virSecretLookupByUUIDString(connection, uuid);
  if (secret === 0) {
    if (lastError().libvirtCode === ERR.NO_SECRET) return false;
    throw callFailed('virSecretLookupByUUIDString');
  }
  try {
    use(secret);
    return true;
  } finally {
    libvirt.virSecretFree(secret);
  }
}

export function defineSecret(connection: Address, secret: SecretDescription): void {
  const yesNo = (flag: boolean): string => (flag ? 'yes' : 'no');
  const description =
    secret.description === undefined ? '' : `<description>${escapeXml(secret.description)}</description>`;
  const xml =
    `<secret ephemeral='${yesNo(secret.ephemeral)}' private='${yesNo(secret.private)}'>` +
    `<uuid>${escapeXml(secret.uuid)}</uuid>${description}` +
    `<usage type='${secret.usageType}'><name>${escapeXml(secret.usageName)}</name></usage></secret>`;
  const handle = nonNull('virSecretDefineXML', libvirt.virSecretDefineXML(connection, xml, 0));
  libvirt.virSecretFree(handle);
}
