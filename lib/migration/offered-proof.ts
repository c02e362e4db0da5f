/** What a source says of the VM that it offers (SPEC 6.7): its proof, taken only where it verifies, and hands the VM to this host now. */
import { attributesSeen, domainOf, peerLabel } from '../appraisal/domains.ts';
import { asksOfEveryHolder, attributesFault } from '../appraisal/host-rules.ts';
import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { HostId } from '../evidence/identity.ts';
import { endsQuarantine } from '../proof/chain.ts';
import type { ChainState } from '../proof/chain.ts';
import { readSummary } from '../proof/checkpoint.ts';
import { decodeEntry, entryHash } from '../proof/entry.ts';
import { holdingsOf } from '../proof/holdings.ts';
import type { Proof } from '../proof/proof.ts';
import { revocationFault, revokedSigners } from '../proof/revocation.ts';
import { verifyProof } from '../proof/verify.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { isRolledBack } from './anchor.ts';
import { otherRoots, ownView } from './crossing.ts';
import { domainRevocations } from './domain-revocations.ts';
import type { Host } from './host.ts';
import { checkFacts } from './incoming.ts';
import type { Incoming } from './incoming.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';

/** A proof that verifies, of a VM that this host may take. */
export interface AcceptedProof {
  readonly proof: Proof;
  readonly verified: VerifiedProof;
  /** Whether it continues the chain that this host knows. */
  readonly continues: boolean;
}

/** Policy version that the offered proof ends under: what the source must have too. The proof itself is verified after its bearer. */
export function claimedPolicyVersion(proof: Proof): number {
  const last = proof.entries.at(-1);
  return last === undefined ? 0 : decodeEntry(last.entry).policy.version;
}

/**
 * Whether the offered proof says that its holder is quarantined: what the appraisal of that holder may then let pass (SPEC 16.3). Of the
 * same entries that are verified after it.
 */
export function claimedQuarantine({ entries }: Proof): boolean {
  const kinds = entries.map(({ entry }) => decodeEntry(entry).kind);
  const last = kinds.findLast((kind) => kind === 'quarantined' || endsQuarantine.has(kind));
  return last === 'quarantined';
}

/** Verifies the proof that `offerer` brings of a VM. Throws `Refused`. */
export function acceptProof(
  { host, chains }: Services,
  uuid: string,
  proof: Proof,
  offerer: HostId,
): AcceptedProof {
  requireFree(host, uuid);
  const { policy } = host.policy();
  const known = chains.state(uuid);
  const birth = claimedBirth(proof);
  const continues = known !== null && birth !== null && bytesEqual(known.birth, birth);
  const verified = verifyProof(proof, {
    root: host.identity.root,
    others: otherRoots(host),
    ...(asksOfEveryHolder(policy) ? {} : { checkpoints: { notOf: offerer } }),
    ...(continues ? { known } : {}),
  });
  if (verified.outcome === 'fault') {
    throw new Refused(
      `proof: ${verified.check}: ${verified.message}; this copy of the VM must not be believed`,
    );
  }
  // What this host takes for held since its disk was put back has left: the chain that comes says so, and goes on from ours.
  if (isRolledBack(host.journal, uuid) && (!continues || verified.head.epoch <= known.epoch))
    throw new Refused('this host holds the VM as far as it knows; see tvmmp vm adopt');
  requireNotRevoked(host, verified);
  checkHolders(host, verified);
  return { proof, verified, continues };
}

/** Its last entry has to be *departing*, by the host that offers the VM, to this one, in this session. Throws `Refused`. */
export function checkDeparting(
  host: Host,
  { uuid, session, domain }: Incoming,
  head: ChainState,
  trusted: TrustedPeer,
): void {
  const { id } = host.identity;
  const { departure } = head;
  if (head.vm !== uuid) throw new Refused(`proof: vm: it is the proof of VM ${head.vm}`);
  if (departure === null) throw new Refused('proof: life-cycle: its last entry is not departing');
  if (!bytesEqual(departure.session, session))
    throw new Refused('proof: session: departing is of another session');
  if (departure.to.name !== id.name || !bytesEqual(departure.to.akName, id.akName)) {
    throw new Refused(`proof: holder: departing is to ${departure.to.name}, not to this host`);
  }
  if (head.holder.name !== trusted.name || !bytesEqual(head.holder.akName, trusted.akName)) {
    throw new Refused(`proof: holder: ${head.holder.name} holds the VM, and ${trusted.name} offers it`);
  }
  if (domain !== null) checkFacts(departure.facts, domain.facts);
}

/** This host must neither have the VM, as far as its disk was not put back, nor be about to give it away. Throws `Refused`. */
export function requireFree({ journal }: Pick<Host, 'journal'>, uuid: string): void {
  const record = isRolledBack(journal, uuid) ? null : journal.vm(uuid);
  if (record !== null && record.state !== 'gone' && record.state !== 'destroyed') {
    throw new Refused(`this host has VM ${record.name} already (${record.state}): one VM, one holder`);
  }
  const leaving = journal
    .unfinishedSessions()
    .some(
      ({ vm, role, state }) =>
        vm === uuid && (state === 'giving-up' || (role === 'source' && state !== 'open')),
    );
  if (leaving) {
    throw new Refused('this host has not finished giving this VM away yet; try again in a moment');
  }
}

/** Each authority's list is about its own hosts. */
function requireNotRevoked(host: Host, proof: VerifiedProof): void {
  const own = revokedSigners(proof, host.revocations()?.list ?? null, host.identity.root.digest);
  const theirs = otherRoots(host).flatMap(({ digest }) =>
    revokedSigners(proof, domainRevocations(host, digest), digest),
  );
  const revoked = revocationFault([...own, ...theirs]);
  if (revoked !== null) throw new Refused(`proof: ${revoked}`);
}

/** `backward` is about every host that has held the VM, not the last one alone (SPEC 10.1), and that for a domain about each of its own. */
function checkHolders(own: Host, proof: VerifiedProof): void {
  const view = ownView(own);
  const { rulesOfHosts } = own.policy().policy;
  for (const { epoch, host, attributes, authority } of holdingsOf(proof)) {
    const domain = domainOf(view.domains, authority.digest);
    const seen = attributesSeen(view, authority.digest, attributes);
    for (const condition of [rulesOfHosts.backward?.attributes, domain?.rules.backward?.attributes]) {
      const fault = attributesFault(condition, seen);
      if (fault === null) continue;
      throw new Refused(
        `proof: rule-attributes: ${peerLabel(host.name, domain?.name ?? null)} held the VM in epoch ${epoch} and is not ${condition ?? ''}: ${fault}`,
      );
    }
  }
}

/** Hash of the first entry, as the proof tells it. */
function claimedBirth({ summary, entries }: Proof): Uint8Array | null {
  if (summary !== null) return readSummary(summary).birth;
  return entries[0] === undefined ? null : entryHash(entries[0].entry);
}
