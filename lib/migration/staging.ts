/** A VM that this host takes in (SPEC 6.7): its proof, sealed key and permit are durable here before the source hears of it. */
import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import type { StoredChain } from '../ledger/chain-store.ts';
import type { VmRecord } from '../ledger/records.ts';
import { limits } from '../limits.ts';
import type { ChainState } from '../proof/chain.ts';
import { decodeEntry, decodeSignedEntry, encodeSignedEntry } from '../proof/entry.ts';
import type { SignedEntry } from '../proof/entry.ts';
import type { Offer } from '../protocol/messages.ts';
import { isRolledBack } from './anchor.ts';
import { credentialsFor, credentialsOf } from './credentials.ts';
import { removeKeyAndState } from './destruction.ts';
import { isActive, lookAt } from './domain-view.ts';
import type { Host } from './host.ts';
import { giveKeyToLibvirt, secretUsage } from './incoming.ts';
import type { Incoming } from './incoming.ts';
import { claimDefinition } from './incoming-definition.ts';
import { keyContext } from './key-context.ts';
import type { Lineage } from './lineage.ts';
import type { AcceptedProof } from './offered-proof.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';

/**
 * One durable write of proof, sealed key and permit; then the TPM opens the key into libvirt, now or, where the hook is still to come, by then. Returns the
 * chain's head. Throws `Refused`.
 */
export async function stage(
  services: Services,
  incoming: Incoming,
  accepted: AcceptedProof,
  offer: Offer,
  trusted: TrustedPeer,
): Promise<Uint8Array> {
  const { host } = services;
  const { uuid, session, domain } = incoming;
  trusted.assertFor({ vm: uuid, session, role: 'source', now: host.now() });
  const { head } = accepted.verified;
  if (head.departure === null) throw new TvmmpError('internal', 'staging before the proof was accepted');
  const record = recordOf(host, incoming, head, offer);
  if (domain === null && services.keyTurns.matters) services.keys.expect(session, record);
  await requireOwnPlace(host, record);
  await forgetPast(services, uuid);
  await services.custody.requireCurrent(record.name, offeredLineage(accepted));
  await claimDefinition(host, uuid);
  await host.files.mark(uuid);
  host.journal.transaction(() => {
    host.journal.replaceChain(uuid, storedChain(host, accepted));
    host.journal.putVm(record);
    host.journal.putPermit({
      vm: uuid,
      session,
      facts: head.facts,
      verdict: trusted.verdictDigest,
      expires: host.now() + limits.permitLifeMs,
      consumed: null,
    });
    host.journal.changeSession(session, { state: 'staged', peer: trusted.label }, host.now());
    services.ledgerNews.noted(head);
  });
  services.chains.adopt(head);
  const anchored = incoming.anchored();
  if (domain === null) {
    // The hook waits for it, and hears what is wrong with it.
    anchored.catch(() => undefined);
  } else {
    await anchored;
    await giveKeyToLibvirt(services, record);
  }
  return head.head;
}

/** SPEC 8.8: the copy of before the disk was put back, of a VM that comes from its holder now. */
async function forgetPast(services: Services, uuid: string): Promise<void> {
  const { journal, hypervisor } = services.host;
  const past = journal.vm(uuid);
  if (past === null || !isRolledBack(journal, uuid)) return;
  if (isActive(await lookAt(hypervisor, uuid)))
    throw new Refused(`libvirt runs an old copy of ${past.name} on this host; stop it first (virsh destroy)`);
  journal.putVm({ ...past, state: 'gone', sealed: null, context: null });
  await removeKeyAndState(services, past);
}

/** A VM that this host knows by the same UUID without us, or vTPM state that is not ours, is nobody's to overwrite. */
async function requireOwnPlace(host: Host, record: VmRecord): Promise<void> {
  const { uuid: vm, name } = record;
  if (host.journal.vm(vm) === null && (await host.files.hasVtpmState(vm))) {
    throw new Refused(
      `this host has vTPM state of another VM with the UUID of ${name}; remove that one first`,
    );
  }
  await requireSecretFree(host, record);
}

/** A secret of libvirt's that is not ours is nobody's to overwrite either. */
export async function requireSecretFree(host: Host, { uuid: vm, name, secret }: VmRecord): Promise<void> {
  const secrets = secret === '' ? [] : await host.hypervisor.secrets();
  const taken = secrets.some(({ uuid, usageName }) => uuid === secret && usageName !== secretUsage(vm));
  if (taken) throw new Refused(`the secret of ${name} has the UUID of another secret of this host`);
}

function recordOf(host: Host, { uuid, session, domain }: Incoming, head: ChainState, offer: Offer): VmRecord {
  const before = host.journal.vm(uuid);
  return {
    uuid,
    name: domain?.name ?? before?.name ?? uuid,
    state: 'staged',
    epoch: head.epoch,
    sequence: head.sequence,
    head: head.head,
    facts: head.facts,
    vtpm: head.vtpm,
    secret: domain?.secret ?? before?.secret ?? '',
    sealed: offer.sealed,
    context: keyContext({ vm: uuid, epoch: head.epoch, session, recipient: host.identity.receiveKeyName }),
    holder: head.holder.name,
  };
}

/** The chain that a proof tells of. */
export function offeredLineage({ verified }: AcceptedProof): Lineage {
  const hashes = new Map(verified.entries.map(({ entry, hash }) => [entry.sequence, hash]));
  return { state: verified.head, hashAt: (sequence) => hashes.get(sequence) ?? null };
}

/** A verified proof in the form of the journal, with every *departed* of a hand-over in it that this host knows and the proof lacks. */
export function storedChain(host: Host, { proof, verified, continues }: AcceptedProof): StoredChain {
  const known = host.journal.departures(verified.head.vm).map(decodeSignedEntry);
  const late = known.filter((signed) => closes(verified.head, signed));
  return {
    first: verified.entries[0]?.entry.sequence ?? 0,
    summaries: verified.summaries,
    continues,
    entries: proof.entries.map(encodeSignedEntry),
    departures: new Map(
      [...proof.departures, ...late].map((signed) => [
        decodeEntry(signed.entry).epoch,
        encodeSignedEntry(signed),
      ]),
    ),
    credentials: [
      ...credentialsOf(proof),
      ...late.flatMap((signed) => credentialsOf(credentialsFor(host, signed))),
    ],
  };
}

/** Whether it is the *departed* that one of a chain's open hand-overs waits for. */
function closes({ handovers }: ChainState, signed: SignedEntry): boolean {
  const { session, epoch } = decodeEntry(signed.entry);
  return handovers.some(
    (open) => open.epoch === epoch && session !== null && bytesEqual(open.session, session),
  );
}
