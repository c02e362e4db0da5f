import { randomUUID } from 'node:crypto';
import { hex, unhex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { withEncryption, withoutEncryption } from '../libvirt/encryption.ts';
import { facts, vtpmSecret } from '../libvirt/facts.ts';
import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import type { DomainSummary } from '../libvirt/port.ts';
import type { TpmCost } from '../native/bridge.ts';
import { nameOf } from '../tpm/public-area.ts';
import { isActive } from './domain-view.ts';
import { requireNotRolledBack } from './anchor.ts';
import { describeDomain } from './domain.ts';
import { forgetEscrow } from './escrow.ts';
import { forgetSecret } from './incoming.ts';
import { keyContext } from './key-context.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import { readTenantPolicy } from './tenant.ts';
import type { TenantRequest } from './tenant.ts';
import { keepCertificate } from './vtpm-certificate.ts';
import { requireIssued, whileIssuing } from './vtpm-issuing.ts';
import type { VtpmIssuing } from './vtpm-issuing.ts';

/** File systems that hosts share (statfs f_type): two hosts would see one vTPM state, which version 1 does not support. */
const sharedFileSystems: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x00c36400, 'Ceph'],
  [0x01161970, 'GFS2'],
  [0x7461636f, 'OCFS2'],
  [0x47504653, 'GPFS'],
  [0x65735546, 'FUSE'],
]);

/** A key that was made for a VM whose protection is not finished; kept in the journal, so that an interruption loses nothing. */
interface PendingKey {
  readonly secret: string;
  readonly sealed: Uint8Array;
  readonly context: Uint8Array;
}

/**
 * `tvmmp vm protect`: a random vTPM key sealed to this host, the vTPM's state encrypted with it, `<encryption>` and our metadata in
 * the definition, *created* in the chain (SPEC 5, 2). The key is durable before anything is encrypted with it; asking again after an
 * interruption finishes the work.
 */
export async function protect(
  services: Services,
  vm: string,
  signed: TenantRequest | null = null,
): Promise<VmRecord> {
  const { host, chains } = services;
  const domain = await host.hypervisor.domain(vm);
  const restored = await restoreMark(services, domain);
  if (restored !== null && signed !== null)
    throw new Refused(`${domain.name} is protected already; see tvmmp vm tenant-policy`);
  if (restored !== null) return restored;
  await services.custody.requireUnheld(domain.uuid, domain.name);
  const tenant = signed === null ? null : readTenantPolicy(host, domain.uuid, signed);
  const key = await keyFor(services, domain);
  await checkSuitable(services, domain, key);
  await host.files.mark(domain.uuid);
  const sealed = { name: domain.name, ...key };
  const issued = await encryptVtpm(services, domain, sealed);
  const endorsement = await services.platform.withKey(sealed, (own) =>
    host.bridge.vtpmEndorsementKey({ stateDir: host.files.vtpmStateDirectory(domain.uuid), own }),
  );
  if (issued !== null) requireIssued(issued, endorsement.certificate);
  const vtpm = nameOf(endorsement.publicArea);
  const before = await host.hypervisor.dumpXml(domain.uuid, { inactive: true, secure: true });
  if (vtpmSecret(facts(before)) === null) await host.hypervisor.defineXml(withEncryption(before, key.secret));
  const element = metadataElement(host.settings.advertise);
  await host.hypervisor.setMetadata(domain.uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, {
    config: true,
  });
  const xml = await host.hypervisor.dumpXml(domain.uuid, { inactive: true });
  const described = describeDomain(xml, host.journal);
  if (described?.secret !== key.secret)
    throw new TvmmpError('internal', 'libvirt did not keep the definition');
  await chains.create({ uuid: domain.uuid, name: domain.name, facts: described.facts, vtpm, ...key }, tenant);
  await services.vtpmStates.made(domain.uuid);
  keepCertificate(host.journal, domain.uuid, endorsement);
  host.journal.putSetting(pendingName(domain.uuid), '');
  await services.escrow.bring(domain.uuid);
  return recordOf(services, domain.uuid);
}

/** `tvmmp vm unprotect`: the vTPM's state in clear again, the definition like any other, *destroyed* at the end of the chain. */
export async function unprotect(services: Services, vm: string): Promise<VmRecord> {
  const { host, chains, platform } = services;
  const domain = await host.hypervisor.domain(vm);
  const record = host.journal.vm(domain.uuid);
  if (record === null || record.state === 'destroyed') throw new Refused(`${domain.name} is not protected`);
  if (record.state !== 'stopped' || isActive(domain)) {
    throw new Refused(
      `${domain.name} is ${record.state}; shut it down on the host that holds it (${record.holder}) first`,
    );
  }
  requireNotRolledBack(host.journal, record);
  await services.custody.requireHolder(record);
  // Where virsh undefine took the vTPM away there is nothing to decrypt, and the start gate sends the operator here.
  if (await host.files.vtpmIsMade(domain.uuid)) {
    await platform.withKey(record, (own) =>
      host.bridge.convertVtpmState({
        direction: 'decrypt',
        stateDir: host.files.vtpmStateDirectory(domain.uuid),
        own,
      }),
    );
  }
  const before = await host.hypervisor.dumpXml(domain.uuid, { inactive: true, secure: true });
  await host.hypervisor.defineXml(withoutEncryption(before));
  await host.hypervisor.setMetadata(domain.uuid, null, METADATA_PREFIX, METADATA_NAMESPACE, { config: true });
  await chains.append(
    domain.uuid,
    { kind: 'destroyed' },
    { state: 'destroyed', journal: (next) => ({ ...next, sealed: null, context: null }) },
  );
  forgetEscrow(host.journal, domain.uuid);
  await forgetSecret(host.hypervisor, record);
  await host.files.unmark(domain.uuid);
  await services.anchor.settleOrOwe();
  return recordOf(services, domain.uuid);
}

/** A protected VM of ours whose definition lost our metadata (an edit) gets it back; null where there is nothing of the kind. */
async function restoreMark(services: Services, domain: DomainSummary): Promise<VmRecord | null> {
  const { host } = services;
  const record = host.journal.vm(domain.uuid);
  if (record === null || !isHeldBy(record, host.identity.id.name)) return null;
  const found = facts(await host.hypervisor.dumpXml(domain.uuid, { inactive: true }));
  if (found.metadata !== null || vtpmSecret(found) !== record.secret) return null;
  const element = metadataElement(host.settings.advertise);
  await host.hypervisor.setMetadata(domain.uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, {
    config: true,
  });
  return record;
}

/**
 * State that exists is encrypted as it is; a VM that has never started gets its vTPM made, encrypted from its birth. Returns the certificates
 * that this host issued for it; null where it issued none.
 */
async function encryptVtpm(
  services: Services,
  domain: DomainSummary,
  sealed: Pick<VmRecord, 'name' | 'sealed' | 'context'>,
): Promise<readonly Uint8Array[] | null> {
  const { host, platform } = services;
  const { bridge } = host;
  const stateDir = host.files.vtpmStateDirectory(domain.uuid);
  if (await host.files.vtpmIsMade(domain.uuid)) {
    await platform.withKey(sealed, (own) => bridge.convertVtpmState({ direction: 'encrypt', stateDir, own }));
    return null;
  }
  const make = (issuing: VtpmIssuing | null): Promise<TpmCost> =>
    platform.withKey(sealed, (own) =>
      bridge.manufactureVtpm({ stateDir, vmId: `${domain.name}:${domain.uuid}`, ...issuing, own }),
    );
  const { vtpmIssuers } = host.identity;
  if (vtpmIssuers !== null) return whileIssuing(services, domain, vtpmIssuers, make);
  await make(null);
  return null;
}

/** A new key, or that of an earlier attempt; on disk, sealed, before it is used. */
async function keyFor(services: Services, domain: DomainSummary): Promise<PendingKey> {
  const { journal, identity, bridge } = services.host;
  const record = journal.vm(domain.uuid);
  if (record !== null && record.state !== 'destroyed') {
    throw new TvmmpError('vm-protected', `VM ${domain.name} is protected already`);
  }
  const pending = journal.setting(pendingName(domain.uuid));
  if (pending !== null && pending !== '') {
    const { secret, sealed, context } = JSON.parse(pending) as Record<keyof PendingKey, string>;
    return { secret, sealed: unhex(sealed), context: unhex(context) };
  }
  const recipient = identity.receiveKeyName;
  const context = keyContext({ vm: domain.uuid, epoch: 0, session: null, recipient });
  const sealed = await bridge.createSealedKey({ recipientPublic: identity.receivePublic, context });
  const key = { secret: randomUUID(), sealed, context };
  journal.putSetting(
    pendingName(domain.uuid),
    JSON.stringify({ secret: key.secret, sealed: hex(sealed), context: hex(context) }),
  );
  return key;
}

async function checkSuitable(services: Services, domain: DomainSummary, key: PendingKey): Promise<void> {
  const { hypervisor, files } = services.host;
  if (isActive(domain))
    throw new Refused(`${domain.name} runs; shut it down first: its vTPM is encrypted at rest`);
  if (domain.reason === 'saved')
    throw new Refused(`${domain.name} is saved; start it and shut it down first`);
  if (!domain.persistent) throw new Refused(`${domain.name} is transient; define it first (virsh define)`);
  const described = facts(await hypervisor.dumpXml(domain.uuid, { inactive: true, secure: true }));
  const [tpm] = described.tpms;
  if (tpm?.backend !== 'emulator' || described.tpms.length !== 1) {
    throw new Refused(
      `${domain.name} has no emulated TPM; add <tpm><backend type='emulator' version='2.0'/></tpm>`,
    );
  }
  if (tpm.encryptionSecret !== null && tpm.encryptionSecret !== key.secret) {
    throw new Refused(`the vTPM of ${domain.name} is encrypted with a secret of your own; remove it first`);
  }
  const { directory, type } = await files.vtpmFileSystem();
  const shared = sharedFileSystems.get(type);
  if (shared !== undefined) {
    throw new Refused(`${directory} is on ${shared}: vTPM state on shared storage is not supported`);
  }
}

function pendingName(uuid: string): string {
  return `pending-protection/${uuid}`;
}

function recordOf(services: Services, uuid: string): VmRecord {
  const record = services.host.journal.vm(uuid);
  if (record === null) throw new TvmmpError('internal', 'a VM that was just written');
  return record;
}
