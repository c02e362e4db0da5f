/** Calls about domains, on the dedicated thread. Each looks its domain up, and frees the handle whatever happens. */
import { uuidForm } from '../../encoding/uuid.ts';
import { TvmmpError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { ERR } from '../error-numbers.ts';
import { type JobStatistics, jobStatisticsOf } from '../job-statistics.ts';
import type { DomainSummary, DumpXmlOptions, MetadataTarget, UndefineOptions } from '../port.ts';
import { domainStateOf } from '../words.ts';
import { callFailed, lastError, libvirt, nonNegative, nonNull } from './library.ts';
import { type Address, intSlot, pointerSlot, readString, takePointers, takeString } from './memory.ts';
import { takeTypedParameters } from './typed-parameters.ts';

const UUID_STRING_BYTES = 37;
const NAME_BYTES_MAX = 4096;
const NO_ID = 0xffff_ffff;
const METADATA_ELEMENT = 2;
const AFFECT = { live: 1 << 0, config: 1 << 1 } as const;
const XML = { secure: 1 << 0, inactive: 1 << 1, migratable: 1 << 3 } as const;
const JOB_STATS = { completed: 1 << 0, keepCompleted: 1 << 1 } as const;
const DEFINE_VALIDATE = 1 << 0;
const UNDEFINE = {
  managedSave: 1 << 0,
  snapshots: 1 << 1,
  nvram: 1 << 2,
  keepNvram: 1 << 3,
  checkpoints: 1 << 4,
  tpm: 1 << 5,
  keepTpm: 1 << 6,
} as const;

/** Runs `use` with the handle of a domain. */
function withDomain<Result>(
  connection: Address,
  uuidOrName: string,
  use: (domain: Address) => Result,
): Result {
  const byUuid = uuidForm.test(uuidOrName.toLowerCase());
  const domain = byUuid
    ? libvirt.virDomainLookupByUUIDString(connection, uuidOrName)
    : libvirt.virDomainLookupByName(connection, uuidOrName);
  nonNull(byUuid ? 'virDomainLookupByUUIDString' : 'virDomainLookupByName', domain);
  try {
    return use(domain);
  } finally {
    libvirt.virDomainFree(domain);
  }
}

function summary(domain: Address): DomainSummary {
  const uuid = Buffer.alloc(UUID_STRING_BYTES);
  nonNegative('virDomainGetUUIDString', libvirt.virDomainGetUUIDString(domain, uuid));
  const state = intSlot();
  const reason = intSlot();
  nonNegative('virDomainGetState', libvirt.virDomainGetState(domain, state.buffer, reason.buffer, 0));
  const id = libvirt.virDomainGetID(domain);
  return {
    uuid: uuid.toString('latin1', 0, UUID_STRING_BYTES - 1).toLowerCase(),
    name: readString(nonNull('virDomainGetName', libvirt.virDomainGetName(domain)), NAME_BYTES_MAX),
    ...domainStateOf(state.read(), reason.read()),
    persistent: nonNegative('virDomainIsPersistent', libvirt.virDomainIsPersistent(domain)) === 1,
    id: id === NO_ID ? null : id,
  };
}

/** Every domain, running or not; one that disappears while we look is left out. */
export function listDomains(connection: Address): DomainSummary[] {
  const slot = pointerSlot();
  const call = 'virConnectListAllDomains';
  const count = nonNegative(call, libvirt.virConnectListAllDomains(connection, slot.buffer, 0));
  const found: DomainSummary[] = [];
  const handles = takePointers(slot.read(), count);
  try {
    for (const domain of handles) {
      const one = unlessGone(() => summary(domain));
      if (one !== null) found.push(one);
    }
  } finally {
    for (const domain of handles) libvirt.virDomainFree(domain);
  }
  return found;
}

/** What `read` returns, or null when its domain has gone meanwhile. */
function unlessGone<Result>(read: () => Result): Result | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'domain-not-found') return null;
    throw error;
  }
}

export function lookUpDomain(connection: Address, uuidOrName: string): DomainSummary {
  return withDomain(connection, uuidOrName, summary);
}

export function dumpXml(connection: Address, uuid: string, options: DumpXmlOptions): string {
  let flags = 0;
  for (const name of ['secure', 'inactive', 'migratable'] as const) {
    if (options[name] === true) flags |= XML[name];
  }
  return withDomain(connection, uuid, (domain) =>
    takeString(
      nonNull('virDomainGetXMLDesc', libvirt.virDomainGetXMLDesc(domain, flags)),
      limits.domainXmlBytesMax,
    ),
  );
}

export function defineXml(connection: Address, xml: string): DomainSummary {
  const call = 'virDomainDefineXMLFlags';
  const domain = nonNull(call, libvirt.virDomainDefineXMLFlags(connection, xml, DEFINE_VALIDATE));
  try {
    return summary(domain);
  } finally {
    libvirt.virDomainFree(domain);
  }
}

export function undefineDomain(connection: Address, uuid: string, options: UndefineOptions): void {
  let flags = UNDEFINE.managedSave | UNDEFINE.snapshots | UNDEFINE.checkpoints;
  flags |= options.keepTpm === true ? UNDEFINE.keepTpm : UNDEFINE.tpm;
  if (options.nvram === 'remove') flags |= UNDEFINE.nvram;
  if (options.nvram === 'keep') flags |= UNDEFINE.keepNvram;
  withDomain(connection, uuid, (domain) =>
    nonNegative('virDomainUndefineFlags', libvirt.virDomainUndefineFlags(domain, flags)),
  );
}

export function startDomain(connection: Address, uuid: string): void {
  withDomain(connection, uuid, (domain) => nonNegative('virDomainCreate', libvirt.virDomainCreate(domain)));
}

export function destroyDomain(connection: Address, uuid: string): void {
  withDomain(connection, uuid, (domain) => nonNegative('virDomainDestroy', libvirt.virDomainDestroy(domain)));
}

/** Everything that `virDomainSetMetadata` needs beside the domain. */
export interface MetadataChange {
  readonly elementXml: string | null;
  readonly prefix: string;
  readonly namespaceUri: string;
  readonly target: MetadataTarget;
}

export function setMetadata(connection: Address, uuid: string, change: MetadataChange): void {
  const { elementXml, prefix, namespaceUri, target } = change;
  const flags = (target.live === true ? AFFECT.live : 0) | (target.config === true ? AFFECT.config : 0);
  // libvirt wants no prefix where the element is removed.
  const key = elementXml === null ? null : prefix;
  withDomain(connection, uuid, (domain) =>
    nonNegative(
      'virDomainSetMetadata',
      libvirt.virDomainSetMetadata(domain, METADATA_ELEMENT, elementXml, key, namespaceUri, flags),
    ),
  );
}

export function getMetadata(
  connection: Address,
  uuid: string,
  namespaceUri: string,
  inactive: boolean,
): string | null {
  return withDomain(connection, uuid, (domain) => {
    const flags = inactive ? AFFECT.config : 0;
    const text = libvirt.virDomainGetMetadata(domain, METADATA_ELEMENT, namespaceUri, flags);
    if (text !== 0) return takeString(text, limits.domainXmlBytesMax);
    if (lastError().libvirtCode === ERR.NO_DOMAIN_METADATA) return null;
    throw callFailed('virDomainGetMetadata');
  });
}

/** Statistics of the job under way, or of the last one; null when there is none. */
export function jobStatistics(
  connection: Address,
  uuid: string,
  options: { completed: boolean; keep: boolean },
): JobStatistics | null {
  let flags = 0;
  if (options.completed) flags |= JOB_STATS.completed;
  if (options.completed && options.keep) flags |= JOB_STATS.keepCompleted;
  return withDomain(connection, uuid, (domain) => {
    const type = intSlot();
    const parameters = pointerSlot();
    const count = intSlot();
    const result = libvirt.virDomainGetJobStats(domain, type.buffer, parameters.buffer, count.buffer, flags);
    if (result < 0) {
      // A domain that does not run has no job under way: libvirt says "operation invalid", we say null.
      if (!options.completed && lastError().libvirtCode === ERR.OPERATION_INVALID) return null;
      throw callFailed('virDomainGetJobStats');
    }
    const values = takeTypedParameters(parameters.read(), count.read());
    const statistics = jobStatisticsOf(type.read(), values);
    return statistics.type === 'none' ? null : statistics;
  });
}

export function abortJob(connection: Address, uuid: string): void {
  withDomain(connection, uuid, (domain) =>
    nonNegative('virDomainAbortJob', libvirt.virDomainAbortJob(domain)),
  );
}
