/**
 * Verification of a proof (SPEC 4), in the order that it states; the first failure is named. One recipe serves whole
 * files and single entries: who signed, was it a TPM's quote of this entry, was the platform in an approved state, and does
 * the entry follow from the chain so far.
 */
import { attributesSeen } from '../appraisal/domains.ts';
import type { DomainView } from '../appraisal/domains.ts';
import type { Policy } from '../appraisal/policy.ts';
import { approvedState, boundTo, quoteOf, selectionText, selects, signedBy } from '../appraisal/quote.ts';
import type { RecoveryStatement } from '../appraisal/recovery.ts';
import type { TenantPolicy } from '../appraisal/tenant-policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { TvmmpError } from '../errors.ts';
import { sameHost, stepChain, stepDeparted } from './chain.ts';
import type { ChainState } from './chain.ts';
import { demandAcquainted, readSummary, summaryDigest, summaryOf } from './checkpoint.ts';
import { Credentials } from './credentials.ts';
import type { CredentialBytes } from './credentials.ts';
import { demandCrossing } from './crossing.ts';
import type { Side } from './crossing.ts';
import { decodeEntry, entryHash, entryLeaf } from './entry.ts';
import type { Entry, HostId, SignedEntry } from './entry.ts';
import { CheckFailed, demand } from './fault.ts';
import { demandRecovery } from './recovery.ts';
import { demandTenant } from './tenant.ts';
import type { ProofFault } from './fault.ts';
import { decodeProof } from './proof.ts';
import type { Proof } from './proof.ts';

/** An entry whose signer, quote and platform state were verified. */
export interface VerifiedEntry {
  readonly entry: Entry;
  readonly hash: Uint8Array;
  /** Name of the approved state in the entry's policy; null where the entry was verified before and only hashed now, and of *quarantined* in no approved state. */
  readonly pcrState: string | null;
  /** What the authority says of its signer, by the certificate that it signed with. */
  readonly attributes: HostAttributes;
  /** Which authority that is: the root that the certificate chains to. */
  readonly authority: RootCertificate;
}

/** A proof that holds: who had the VM, where it stands, under which policies and platform states. */
export interface VerifiedProof {
  readonly outcome: 'verified';
  /** Where the VM stands after the last entry. */
  readonly head: ChainState;
  /** The checkpoint that the proof begins with, whose signer is believed for all that came before; null: verified from birth. */
  readonly checkpoint: VerifiedEntry | null;
  /** The tenant policy in force; null for a VM without one. Whose key signed it, is for the caller to know. */
  readonly tenant: TenantPolicy | null;
  /** The domain of the VM's birth, and the names that its last policy in the proof has for domains (SPEC 17.3). */
  readonly home: DomainView;
  /** The policy of the last entry, and its authority. */
  readonly last: Side;
  /** Summaries of the checkpoints in it, by sequence: where it can be read from another time (SPEC 4.1). */
  readonly summaries: ReadonlyMap<number, Uint8Array>;
  readonly entries: readonly VerifiedEntry[];
  /** By which *recovered* entries the VM was taken up without its holder's word, by sequence (SPEC 15.4). */
  readonly recoveries: ReadonlyMap<number, RecoveryStatement>;
  /** Statements of destruction, by ascending epoch. */
  readonly departures: readonly VerifiedEntry[];
}

/** Whom to believe, and what is known already. */
export interface ProofTrust {
  readonly root: RootCertificate;
  /** Roots of other domains that are believed too (SPEC 17.3). */
  readonly others?: readonly RootCertificate[];
  /**
   * Where this host's earlier verification of the same chain ended. The proof must continue it: a shorter or forked one
   * fails `known-head`. Its quotes up to there are not verified again.
   */
  readonly known?: ChainState;
  /**
   * Whether a proof may begin with a checkpoint (SPEC 4.1): of any host; or of another host than the one that offers the VM. Without it, from
   * birth only.
   */
  readonly checkpoints?: 'any' | { readonly notOf: HostId };
}

/** A single entry and what came with it, such as *arrived*'s message. */
export interface NextEntry {
  readonly signed: SignedEntry;
  readonly credentials: CredentialBytes;
  readonly root: RootCertificate;
  /** Roots of other domains that are believed too. */
  readonly others?: readonly RootCertificate[];
  /** Of *arrived*: whose *departing* it follows. */
  readonly from?: Side;
}

/** The state after one more entry, and that entry. */
export interface VerifiedStep {
  readonly outcome: 'verified';
  readonly head: ChainState;
  readonly entry: VerifiedEntry;
}

/** Verifies a whole proof file, or one that was read. Throws nothing for bad input: what is wrong with it is the fault. */
export function verifyProof(told: Uint8Array | Proof, trust: ProofTrust): VerifiedProof | ProofFault {
  let at: ProofFault['at'] = null;
  return judge(
    () => {
      const proof = told instanceof Uint8Array ? decodeProof(told) : told;
      const credentials = new Credentials(trust.root, proof, trust.others);
      const entries: VerifiedEntry[] = [];
      const departures: VerifiedEntry[] = [];
      const summaries = new Map<number, Uint8Array>();
      const recoveries = new Map<number, RecoveryStatement>();
      let head: ChainState | null = beginning(proof, credentials, trust);
      let home: DomainView | null = null;
      let last: Side | null = null;
      const first = head === null ? 0 : head.sequence + 1;
      const depart = (state: ChainState, due: (epoch: number) => boolean): ChainState => {
        const departed = proof.departures[departures.length];
        if (departed === undefined || !due(decodeEntry(departed.entry).epoch)) return state;
        at = { list: 'departures', index: departures.length };
        const told = verifyEntry(departed, credentials);
        demandSameAuthority(entries, told);
        departures.push(told);
        return depart(stepDeparted(state, decodeEntry(departed.entry)), due);
      };
      for (const [index, signed] of proof.entries.entries()) {
        at = { list: 'entries', index };
        const known = trust.known !== undefined && first + index <= trust.known.sequence;
        const verified = known ? recallEntry(signed, credentials) : verifyEntry(signed, credentials);
        if (index === 0 && head !== null) demandCheckpoint(verified, proof, trust);
        const summary = verified.entry.kind === 'checkpoint' && head !== null ? summaryOf(head) : null;
        const state: ChainState = stepChain(head, verified.entry, verified.hash);
        const side = sideOf(verified, credentials);
        if (last !== null) demandNoOtherDomain(last, side, verified.entry);
        last = side;
        if (side.policy.id === state.home.id || home === null) home = viewOf(side);
        demandMayDepart(head, side.policy, verified);
        const attributes = attributesSeen(home, verified.authority.digest, verified.attributes);
        demandTenant(head, state, { entry: verified.entry, attributes }, credentials);
        const recovery = demandRecovery(head, verified.entry, side, credentials);
        if (recovery !== null) recoveries.set(state.sequence, recovery);
        head = state;
        if (summary !== null) summaries.set(state.sequence, summary);
        if (first + index === trust.known?.sequence) demandKnownHead(state, trust.known);
        entries.push(verified);
        if (index === 0 && first > 0) head = depart(head, (epoch) => epoch < state.epoch);
        if (verified.entry.kind === 'arrived') head = depart(head, (epoch) => epoch === state.epoch - 1);
      }
      at = null;
      demand(head !== null && home !== null && last !== null, 'encoding', 'a proof without entries');
      const long = trust.known === undefined || head.sequence >= trust.known.sequence;
      demand(
        long,
        'known-head',
        `it ends at entry ${head.sequence}, and ${trust.known?.sequence ?? 0} is known`,
      );
      at = { list: 'departures', index: departures.length };
      const all = departures.length === proof.departures.length;
      demand(all, 'departure', 'a departed entry that ends no epoch of this chain, or is out of order');
      at = null;
      const tenant = head.tenant === null ? null : credentials.tenant(head.tenant, head.vm);
      credentials.demandAllUsed();
      const checkpoint = first === 0 ? null : (entries[0] ?? null);
      const found = { head, checkpoint, tenant, home, last, summaries, entries, recoveries, departures };
      return { outcome: 'verified', ...found } as const;
    },
    () => at,
  );
}

/** The state before the first entry: none at birth, or what the summary tells, which is not believed before its checkpoint is verified. */
function beginning(proof: Proof, credentials: Credentials, trust: ProofTrust): ChainState | null {
  if (proof.summary === null) return null;
  demand(
    trust.checkpoints !== undefined,
    'checkpoint',
    'it begins with a checkpoint, and not with the birth of the VM',
  );
  const told = readSummary(proof.summary);
  if (trust.known !== undefined && trust.known.sequence <= told.sequence) demandAcquainted(told, trust.known);
  const [first] = proof.entries;
  const { policy } = told;
  // A policy is verified at the time of the first entry under it: its signer's certificate may have expired since.
  if (first !== undefined && bytesEqual(decodeEntry(first.entry).policy.digest, policy.digest))
    credentials.policy(policy, told.policySince);
  return told;
}

/** `checkpoint`: the first entry is one, names the summary, and is signed by somebody who may be believed for the past. */
function demandCheckpoint({ entry }: VerifiedEntry, proof: Proof, trust: ProofTrust): void {
  const named =
    proof.summary !== null &&
    entry.kind === 'checkpoint' &&
    entry.verdict !== null &&
    bytesEqual(entry.verdict, summaryDigest(proof.summary));
  demand(named, 'checkpoint', 'its first entry is not the checkpoint that names its summary');
  const offerer = trust.checkpoints === 'any' ? undefined : trust.checkpoints?.notOf;
  demand(
    offerer === undefined || !sameHost(offerer, entry.host),
    'checkpoint',
    `${entry.host.name} offers the VM, and has signed the checkpoint itself: no host is believed alone for the past`,
  );
}

/**
 * Verifies one entry that follows `head` (null: the first of a chain), or a *departed* that closes one of its open
 * hand-overs. The cost does not depend on the length of the chain.
 */
export function verifyNext(head: ChainState | null, next: NextEntry): VerifiedStep | ProofFault {
  return judge(
    () => {
      const credentials = new Credentials(next.root, next.credentials, next.others);
      const entry = verifyEntry(next.signed, credentials);
      credentials.demandAllUsed();
      demand(entry.entry.kind !== 'recovered', 'recovery', 'a rescue is told with its whole proof alone');
      const beside = head !== null && entry.entry.kind === 'departed';
      const after = beside ? stepDeparted(head, entry.entry) : stepChain(head, entry.entry, entry.hash);
      const side = sideOf(entry, credentials);
      if (next.from !== undefined && !beside) demandCrossing(next.from, side, entry.entry.host.name);
      else demand(beside || !isAnotherPolicy(head, side), 'domain', 'it crosses from an unknown policy');
      demandMayDepart(head, side.policy, entry);
      return { outcome: 'verified', head: after, entry } as const;
    },
    () => null,
  );
}

/** Signer, quote and platform state of one entry, in the order of SPEC 4. */
function verifyEntry(signed: SignedEntry, credentials: Credentials): VerifiedEntry {
  const entry = decodeEntry(signed.entry);
  const { publicKey, attributes } = credentials.host(entry.host, entry.time);
  demand(
    signedBy(publicKey, signed.attest, signed.signature),
    'quote-signature',
    `not signed by ${entry.host.name}'s AK`,
  );
  const quote = quoteOf(signed.attest);
  demand(quote.type === 'quote', 'quote-type', quote.type === 'none' ? quote.why : '');
  const bound = boundTo(quote, entryLeaf(signed.entry), signed.path);
  demand(bound, 'quote-binding', 'the quote was not made for this entry');
  const authority = credentials.authorityOf(entry.host);
  const policy = credentials.policy(entry.policy, entry.time, authority);
  const selected = selectionText(quote.pcrSelection);
  demand(
    selects(quote, policy.selection),
    'pcr-selection',
    `the quote covers ${selected}, not what the policy selects`,
  );
  const state = approvedState(quote, policy);
  const why = `${entry.host.name} was in no approved state of policy ${policy.id} v${policy.version}`;
  // What *quarantined* says may be just that.
  demand(state !== undefined || entry.kind === 'quarantined', 'pcr-state', why);
  return { entry, hash: entryHash(signed.entry), pcrState: state?.name ?? null, attributes, authority };
}

/** `quarantine`: VMs leave a holder that is quarantined only under a policy that lets them (SPEC 16.3). */
function demandMayDepart(
  before: ChainState | null,
  { id, version, quarantine }: Policy,
  { entry }: VerifiedEntry,
): void {
  if (entry.kind !== 'departing' || before?.quarantined !== true) return;
  const why = `${entry.host.name} is quarantined, and policy ${id} v${version} lets no VM leave it`;
  demand(quarantine?.leave === 'trusted', 'quarantine', why);
}

/** An entry of a known prefix: the hash chain and the known head vouch for it, its quote was verified before. */
function recallEntry(signed: SignedEntry, credentials: Credentials): VerifiedEntry {
  const entry = decodeEntry(signed.entry);
  const { attributes } = credentials.host(entry.host, entry.time);
  const authority = credentials.authorityOf(entry.host);
  credentials.policy(entry.policy, entry.time, authority);
  return { entry, hash: entryHash(signed.entry), pcrState: null, attributes, authority };
}

/** Whose entry it is, and under which policy. */
function sideOf({ entry, authority }: VerifiedEntry, credentials: Credentials): Side {
  return { root: authority, policy: credentials.policy(entry.policy, entry.time, authority) };
}

function viewOf({ root, policy }: Side): DomainView {
  return { root: root.digest, domains: policy.domains };
}

function isAnotherPolicy(head: ChainState | null, { policy }: Side): boolean {
  return head !== null && head.policy.id !== policy.id;
}

/** `domain`: a holder stays what it is; another one is of the same domain, or of one that the policy of *departing* names. */
function demandNoOtherDomain(from: Side, to: Side, { kind, host }: Entry): void {
  if (kind === 'arrived') {
    demandCrossing(from, to, host.name);
    return;
  }
  const same = bytesEqual(from.root.digest, to.root.digest);
  demand(same, 'domain', `${host.name} signs with a certificate of another authority than before`);
}

/** `domain` of *departed*: its signer is what it was as the holder, as far as that is shown. */
function demandSameAuthority(entries: readonly VerifiedEntry[], { entry, authority }: VerifiedEntry): void {
  const holder = entries.find((one) => one.entry.epoch === entry.epoch) ?? entries[0];
  const same = holder !== undefined && bytesEqual(holder.authority.digest, authority.digest);
  demand(same, 'domain', `${entry.host.name} signs with a certificate of another authority than before`);
}

function demandKnownHead(head: ChainState, known: ChainState): void {
  const same = bytesEqual(head.head, known.head) && head.vm === known.vm;
  demand(
    same,
    'known-head',
    `another entry ${known.sequence} of this VM is known here: the chain was forked`,
  );
}

/** Runs a verification and turns its first failure into a fault; errors that are not the input's pass. */
export function judge<T>(verify: () => T, at: () => ProofFault['at']): T | ProofFault {
  try {
    return verify();
  } catch (error) {
    if (error instanceof CheckFailed) {
      return { outcome: 'fault', at: at(), check: error.check, message: error.message };
    }
    if (
      error instanceof TvmmpError &&
      (error.code === 'encoding-invalid' || error.code === 'limit-exceeded')
    ) {
      return { outcome: 'fault', at: at(), check: 'encoding', message: error.message };
    }
    throw error;
  }
}
