import { verifyRecovery } from '../appraisal/recovery.ts';
import type { RecoveryStatement } from '../appraisal/recovery.ts';
import { revocationOf } from '../appraisal/revocation.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { TvmmpError } from '../errors.ts';
import type { VmRecord } from '../ledger/records.ts';
import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement } from '../libvirt/metadata.ts';
import { decodeEntry } from '../proof/entry.ts';
import { decodeProof } from '../proof/proof.ts';
import { recoveryFault } from '../proof/recovery.ts';
import { requireItsOwn } from './adoption.ts';
import { describeDomain } from './domain.ts';
import { isActive } from './domain-view.ts';
import { keyContext } from './key-context.ts';
import { acceptProof, requireFree } from './offered-proof.ts';
import { requireMayReceive } from './quarantine.ts';
import { requireUnrevoked } from './revoked-host.ts';
import type { AcceptedProof } from './offered-proof.ts';
import { Refused } from './refused.ts';
import { decodeRescue, decodeRescueRequest } from './rescue-file.ts';
import type { Rescue, RescueRequest } from './rescue-file.ts';
import { homeSeen } from './crossing.ts';
import type { Services } from './services.ts';
import { offeredLineage, requireSecretFree, storedChain } from './staging.ts';
import { requireTenantAgreesToUs } from './tenant.ts';

/** A rescue that may go on, with what was found out about it. */
interface Accepted {
  readonly request: RescueRequest;
  readonly rescue: Rescue;
  readonly statement: RecoveryStatement;
  readonly proof: AcceptedProof;
  /** As it will be here. */
  readonly record: VmRecord;
}

/**
 * `tvmmp vm rescue` (SPEC 15.5): this host takes up a VM whose holder is lost, by the authority's statement and with the key that the authority has sealed for
 * it. Definition and vTPM state have been brought here from the disk of the lost host. Throws `Refused`.
 */
export async function rescue(services: Services, bytes: Uint8Array): Promise<VmRecord> {
  const { host, chains } = services;
  const accepted = await accept(services, decodeRescue(bytes));
  const { record, statement, proof } = accepted;
  const { uuid } = record;
  const { head } = proof.verified;
  await requireDefinition(services, record);
  const digest = await requireState(services, accepted);
  await requireOpens(services, record);
  const again = await host.files.vtpmStateDigest(uuid, { durable: true });
  if (again === null || !bytesEqual(digest, again))
    throw new Refused(`the vTPM state of ${record.name} changed a moment ago; try again`);
  await host.files.mark(uuid);
  host.log.warn({ vm: uuid, lost: head.holder.name }, 'a VM of a lost host is taken up');
  host.journal.transaction(() => {
    // Somebody may have asked twice.
    requireFree(host, uuid);
    host.journal.replaceChain(uuid, storedChain(host, proof));
    host.journal.putVm({ ...record, sealed: null, context: null });
  });
  chains.adopt(head);
  await services.custody.announce(record, statement.digest, host.identity.id);
  const element = metadataElement(host.settings.advertise);
  await host.hypervisor.setMetadata(uuid, element, METADATA_PREFIX, METADATA_NAMESPACE, { config: true });
  const { sealed, context } = record;
  await chains.append(
    uuid,
    { kind: 'recovered', peer: head.holder, verdict: statement.digest },
    {
      documents: [accepted.rescue.statement],
      journal: (next) => {
        host.journal.putVtpmState({ vm: uuid, standing: 'at-rest', digest, time: host.now() });
        return { ...next, sealed, context };
      },
    },
  );
  await services.anchor.settleOrOwe();
  await services.escrow.bring(uuid);
  return host.journal.vm(uuid) ?? record;
}

/** Proof and statement: who lost it, who takes it, and that both the policy and the tenant let it be. */
async function accept(services: Services, rescue: Rescue): Promise<Accepted> {
  const { host } = services;
  const { identity } = host;
  const request = decodeRescueRequest(rescue.request);
  requireMayReceive(host);
  requireUnrevoked(host);
  if (host.policy().policy.escrow === null)
    throw new Refused(
      'escrow-off: the policy in force here has no escrow, so no proof may go on by a rescue',
    );
  const statement = verifyRecovery(rescue.statement, {
    root: identity.root,
    signers: identity.signerCertificates,
  });
  if (!bytesEqual(statement.request, sha256(rescue.request)))
    throw new Refused('recovery: the statement answers another request');
  const told = decodeProof(request.proof);
  const last = told.entries.at(-1);
  if (last === undefined) throw new Refused('proof: encoding: a proof without entries');
  // As from the hand of its holder: where the proof begins with a checkpoint, another host has to have signed that.
  const proof = acceptProof(services, statement.vm, told, decodeEntry(last.entry).host);
  const { head } = proof.verified;
  const fault = head.vm === statement.vm ? recoveryFault(head, identity.id, statement) : 'of another VM';
  if (fault !== null) throw new Refused(`recovery: ${fault}`);
  if (!bytesEqual(statement.receiveKey, identity.receiveKeyName))
    throw new Refused('recovery: the key was sealed for another receive key than that of this host');
  if (revocationOf(host.revocations()?.list ?? null, head.holder.akName) === undefined)
    throw new Refused(
      `lost-host-not-revoked: the revocation list here does not name ${head.holder.name}: it could go on with the VM; ` +
        'install the list that the authority signed (tvmmp revocation install)',
    );
  if (head.departure !== null || head.state === 'destroyed')
    throw new Refused(`life-cycle: ${request.name} is ${head.state} according to its proof`);
  if (head.vtpm === null)
    throw new Refused(`life-cycle: ${request.name} has no vTPM yet: there is nothing to take up`);
  const { tenant } = proof.verified;
  if (tenant?.escrow === 'no') throw new Refused('tenant-policy: the tenant of the VM forbids escrow');
  requireTenantAgreesToUs(tenant, host, homeSeen(host, proof.verified));
  const record = recordOf(services, request, rescue, statement, proof);
  await requireSecretFree(host, record);
  // Before anything is written: what an older disk says of a VM that has moved on is not to be remembered.
  await services.custody.requireCurrent(record.name, offeredLineage(proof));
  return { request, rescue, statement, proof, record };
}

function recordOf(
  { host }: Services,
  request: RescueRequest,
  { sealed }: Rescue,
  statement: RecoveryStatement,
  { verified: { head } }: AcceptedProof,
): VmRecord {
  const recipient = host.identity.receiveKeyName;
  const session = statement.digest;
  return {
    ...{ uuid: head.vm, name: request.name, secret: request.secret, state: 'gone' },
    ...{ epoch: head.epoch, sequence: head.sequence, head: head.head },
    ...{ facts: head.facts, vtpm: head.vtpm, holder: head.holder.name },
    sealed,
    context: keyContext({ vm: head.vm, epoch: head.epoch + 1, session, recipient }),
  };
}

/** Defined here, off, and with the secret that it was protected with. */
async function requireDefinition({ host }: Services, { uuid, name, secret }: VmRecord): Promise<void> {
  const domain = (await host.hypervisor.domains()).find((one) => one.uuid === uuid);
  if (domain === undefined || !domain.persistent)
    throw new Refused(
      `${name} is not defined here: bring its disks, and its definition from /etc/libvirt/qemu of the lost host (virsh define)`,
    );
  if (isActive(domain)) throw new Refused(`libvirt runs ${name} here; stop it first (virsh destroy)`);
  const described = describeDomain(await host.hypervisor.dumpXml(uuid, { inactive: true }), host.journal);
  if (described?.secret !== secret)
    throw new Refused(
      `the definition of ${name} here is not that of the lost host: it names another encryption secret, or is not marked as protected`,
    );
}

/** The vTPM's state that came with the disk: the one that the VM stopped with, or none that it had before. Returns its digest. */
async function requireState({ host }: Services, { record, request }: Accepted): Promise<Uint8Array> {
  const { uuid, name } = record;
  const digest = await host.files.vtpmStateDigest(uuid, { durable: true });
  if (digest === null)
    throw new Refused(
      `the vTPM state of ${name} is not here: bring /var/lib/libvirt/swtpm/${uuid} from the disk of the lost host`,
    );
  const stopped = request.state === null || bytesEqual(digest, request.state);
  if (stopped && !request.past.some((past) => bytesEqual(past, digest))) return digest;
  throw new Refused(
    `vtpm-state-changed: the vTPM state of ${name} here is not the last one that the lost host knew; bring the one from its disk`,
  );
}

/** The key opens it, in this TPM and state, and it is this VM's vTPM. */
async function requireOpens(services: Services, record: VmRecord): Promise<void> {
  try {
    await requireItsOwn(services, record);
  } catch (error) {
    if (!(error instanceof TvmmpError) || error.code !== 'seal-invalid') throw error;
    throw new Refused('recovery: the key in the rescue is not sealed for this host, VM and statement');
  }
}
