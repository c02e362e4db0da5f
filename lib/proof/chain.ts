/**
 * The rules that tie entries into one chain (SPEC 2 and 4): one VM, no gap, one holder an epoch, one life cycle. Only
 * rules between entries are here; whether an entry is genuine is verify.ts's business. `ChainState` is all that a
 * verified prefix leaves behind: of bounded size, so that one more entry costs the same however long the chain is.
 */
import { bytesEqual } from '../bytes/compare.ts';
import { demandTruthful } from './checkpoint.ts';
import { limits } from '../limits.ts';
import { noPrevious } from './entry.ts';
import type { Entry, HostId, PolicyId } from './entry.ts';
import { demand } from './fault.ts';
import { demandMembers, transitions } from './life-cycle.ts';
import type { LifeState } from './life-cycle.ts';

/** A hand-over that arrived. */
export interface Handover {
  /** Epoch that it ended. */
  readonly epoch: number;
  readonly from: HostId;
  readonly to: HostId;
  readonly session: Uint8Array;
  /** Of the *arrived* entry. */
  readonly sequence: number;
  readonly arrived: Uint8Array;
  readonly facts: Uint8Array;
  readonly vtpm: Uint8Array;
  /** In force when it departed. */
  readonly policy: PolicyId;
}

/** An entry after which another host may have stopped to follow the chain: *departing*, *arrived*. */
export interface Mark {
  readonly sequence: number;
  readonly hash: Uint8Array;
}

/** What *departing* promised, while it is the head. */
export interface Departure {
  readonly to: HostId;
  readonly session: Uint8Array;
  readonly facts: Uint8Array;
  /** State that the VM was in. */
  readonly found: 'running' | 'paused';
}

/** What a verified chain says at its head. Immutable. */
export interface ChainState {
  readonly vm: string;
  /** Hash of the first entry: it tells two VMs apart that were given the same UUID one after another. */
  readonly birth: Uint8Array;
  readonly epoch: number;
  readonly sequence: number;
  /** Hash of the last entry. */
  readonly head: Uint8Array;
  readonly state: LifeState;
  readonly holder: HostId;
  readonly facts: Uint8Array;
  readonly vtpm: Uint8Array | null;
  /** Of the last entry; no later entry may go below it. */
  readonly policy: PolicyId;
  /** The last one of the VM's home, and of each other domain that it has been in (SPEC 17.3). */
  readonly home: PolicyId;
  readonly elsewhere: readonly PolicyId[];
  /** Time of the first entry under this policy, by its signer's clock. */
  readonly policySince: number;
  readonly departure: Departure | null;
  /** Digest of the tenant policy in force (SPEC 10.5); null for a VM without one. */
  readonly tenant: Uint8Array | null;
  /** Whether the holder has said that it does not satisfy its policy (SPEC 16.3). */
  readonly quarantined: boolean;
  /** The latest hand-overs without *departed*, oldest first; at most `OPEN_HANDOVERS_MAX`. */
  readonly handovers: readonly Handover[];
  /** The latest hand-overs, whether *departed* was shown or not: what a summary tells (SPEC 4.1). */
  readonly recent: readonly Handover[];
  readonly marks: readonly Mark[];
}

/** Older hand-overs than so many without *departed* can no more be completed: the state stays of bounded size. */
export const OPEN_HANDOVERS_MAX = 64;

/** Whether two identities are one host: certificates may be renewed, the AK and the name may not change. */
export function sameHost(a: HostId, b: HostId): boolean {
  return a.name === b.name && bytesEqual(a.akName, b.akName);
}

/** The state after one more entry, `hash` being its hash. Throws CheckFailed; `state` is null before the first. */
export function stepChain(state: ChainState | null, entry: Entry, hash: Uint8Array): ChainState {
  if (state === null) return openChain(entry, hash);
  demand(entry.kind !== 'departed', 'life-cycle', 'departed does not stand in the chain but beside it');
  demandSuccession(state, entry);
  const next = demandTransition(state, entry);
  demandMembers(entry);
  if (entry.kind === 'arrived') demandArrival(state, entry);
  else if (entry.kind === 'recovered') demandRecoverer(state, entry);
  else demandHolder(state, entry);
  if (entry.kind === 'aborted' || entry.kind === 'resolved') demandSession(state.departure, entry);
  if (entry.kind === 'resolved') demandUnheard(state.departure, entry);
  if (entry.kind === 'departing') demandOtherHost(entry);
  if (entry.kind === 'checkpoint') demandTruthful(state, entry.verdict);
  demandIdentity(state, entry);
  demandQuarantine(state, entry);
  return {
    ...state,
    epoch: entry.epoch,
    sequence: entry.sequence,
    head: hash,
    state: next,
    holder: entry.host,
    facts: entry.facts,
    vtpm: entry.vtpm,
    policy: entry.policy,
    ...policiesAfter(state, entry.policy),
    departure: entry.kind === 'departing' ? departureOf(state, entry) : null,
    tenant: entry.kind === 'bound' ? entry.verdict : state.tenant,
    quarantined: quarantinedAfter(state, entry.kind),
    policySince: bytesEqual(entry.policy.digest, state.policy.digest) ? state.policySince : entry.time,
    ...followed(state, entry, hash),
  };
}

/** What other hosts may have seen last, and what they may still state. */
function followed(
  state: ChainState,
  entry: Entry,
  hash: Uint8Array,
): Pick<ChainState, 'handovers' | 'recent' | 'marks'> {
  const { handovers, recent, marks } = state;
  if (entry.kind === 'recovered') {
    // The lost host itself may be trusted again one day: what it knows last is the entry before.
    const known = [
      { sequence: state.sequence, hash: state.head },
      { sequence: entry.sequence, hash },
    ];
    const others = marks.filter(({ sequence }) => sequence !== state.sequence);
    return { handovers, recent, marks: [...others, ...known].slice(-limits.summaryMarksMax) };
  }
  if (entry.kind !== 'departing' && entry.kind !== 'arrived') return { handovers, recent, marks };
  const mark = { sequence: entry.sequence, hash };
  const opened = entry.kind === 'arrived' ? handoverOf(state, entry, hash) : [];
  return {
    handovers: [...handovers, ...opened].slice(-OPEN_HANDOVERS_MAX),
    recent: [...recent, ...opened].slice(-limits.summaryHandoversMax),
    marks: [...marks, mark].slice(-limits.summaryMarksMax),
  };
}

/** The state after the old holder's *departed*, which closes one open hand-over. Throws CheckFailed. */
export function stepDeparted(state: ChainState, entry: Entry): ChainState {
  demand(entry.kind === 'departed', 'departure', `a ${entry.kind} entry among the departures`);
  demand(entry.vm === state.vm, 'vm', `departed speaks of VM ${entry.vm}`);
  demandMembers(entry);
  const open = state.handovers.find(({ epoch }) => epoch === entry.epoch);
  demand(open !== undefined, 'departure', `no hand-over without departed ends epoch ${entry.epoch}`);
  demand(entry.sequence === open.sequence + 1, 'sequence', `departed has sequence ${entry.sequence}`);
  demand(bytesEqual(entry.previous, open.arrived), 'previous', 'departed answers another arrived entry');
  demand(
    sameHost(entry.host, open.from),
    'holder',
    `${entry.host.name} was not the holder of epoch ${open.epoch}`,
  );
  const session = entry.session !== null && bytesEqual(entry.session, open.session);
  demand(session, 'session', 'departed names another session');
  demand(
    entry.peer !== null && sameHost(entry.peer, open.to),
    'departure',
    'departed names another new holder',
  );
  demand(bytesEqual(entry.facts, open.facts), 'facts', 'departed speaks of another definition of the VM');
  demand(entry.vtpm !== null && bytesEqual(entry.vtpm, open.vtpm), 'vtpm', 'departed speaks of another vTPM');
  demandPolicy(open.policy, entry.policy);
  return { ...state, handovers: state.handovers.filter((other) => other !== open) };
}

function openChain(entry: Entry, hash: Uint8Array): ChainState {
  demand(entry.sequence === 0, 'sequence', `the first entry has sequence ${entry.sequence}`);
  demand(bytesEqual(entry.previous, noPrevious), 'previous', 'the first entry follows another');
  demand(entry.kind === 'created', 'life-cycle', `a chain begins with created, not ${entry.kind}`);
  demandMembers(entry);
  demand(entry.epoch === 0, 'epoch', `a VM is born in epoch 0, not ${entry.epoch}`);
  return {
    vm: entry.vm,
    birth: hash,
    epoch: 0,
    sequence: 0,
    head: hash,
    state: 'stopped',
    holder: entry.host,
    facts: entry.facts,
    vtpm: entry.vtpm,
    policy: entry.policy,
    home: entry.policy,
    elsewhere: [],
    policySince: entry.time,
    departure: null,
    tenant: null,
    quarantined: false,
    handovers: [],
    recent: [],
    marks: [],
  };
}

function demandSuccession(state: ChainState, entry: Entry): void {
  demand(entry.vm === state.vm, 'vm', `an entry of VM ${entry.vm} in the chain of ${state.vm}`);
  const expected = state.sequence + 1;
  demand(entry.sequence === expected, 'sequence', `sequence ${entry.sequence} where ${expected} is due`);
  demand(
    bytesEqual(entry.previous, state.head),
    'previous',
    'it follows another entry than the one before it',
  );
}

function demandTransition(state: ChainState, entry: Entry): LifeState {
  const row = entry.kind === 'departed' ? undefined : transitions[entry.kind];
  demand(
    row?.from.includes(state.state) === true,
    'life-cycle',
    `${entry.kind} while the VM is ${state.state}`,
  );
  if (row.to === 'same') return state.state;
  if (row.to !== 'as-departed') return row.to;
  demand(state.departure !== null, 'life-cycle', `${entry.kind} without departing`);
  return state.departure.found;
}

/** The one way in which a holder gives the VM away: departing named this host, and it arrives in the same session. */
function demandArrival(state: ChainState, entry: Entry): void {
  demandNextEpoch(state, entry);
  demand(state.departure !== null, 'life-cycle', 'arrived without departing');
  const named = sameHost(entry.host, state.departure.to);
  demand(named, 'holder', `${entry.host.name} arrived where ${state.departure.to.name} was to`);
  demandSession(state.departure, entry);
}

/** The other way to another holder: this one is lost, and the authority says who takes its place (`recovery`). */
function demandRecoverer(state: ChainState, entry: Entry): void {
  demandNextEpoch(state, entry);
  const other = !bytesEqual(entry.host.akName, state.holder.akName);
  demand(other, 'holder', 'recovered by the attestation key that is said to be lost');
}

/** With another holder another epoch begins, which says whose was the one before. */
function demandNextEpoch(state: ChainState, entry: Entry): void {
  const due = state.epoch + 1;
  demand(entry.epoch === state.epoch + 1, 'epoch', `${entry.kind} opens epoch ${entry.epoch}, not ${due}`);
  const from = entry.peer !== null && sameHost(entry.peer, state.holder);
  demand(from, 'holder', `${entry.kind} from another host than the holder, ${state.holder.name}`);
}

function demandHolder(state: ChainState, entry: Entry): void {
  demand(
    entry.epoch === state.epoch,
    'epoch',
    `${entry.kind} in epoch ${entry.epoch}, open is ${state.epoch}`,
  );
  const holds = sameHost(entry.host, state.holder);
  demand(holds, 'holder', `${entry.host.name} signs, and ${state.holder.name} is the holder`);
}

function demandSession(departure: Departure | null, entry: Entry): void {
  const same = departure !== null && entry.session !== null && bytesEqual(entry.session, departure.session);
  demand(same, 'session', `${entry.kind} names another session than departing`);
}

/** *resolved* was signed without this host's word: it says whose. */
function demandUnheard(departure: Departure | null, entry: Entry): void {
  const named = departure !== null && entry.peer !== null && sameHost(entry.peer, departure.to);
  demand(named, 'holder', 'resolved names another host than departing');
}

function demandOtherHost(entry: Entry): void {
  const other =
    entry.peer !== null &&
    entry.peer.name !== entry.host.name &&
    !bytesEqual(entry.peer.akName, entry.host.akName);
  demand(other, 'holder', 'departing to the host that departs');
}

/** What must not change: the vTPM ever, the facts while a hand-over is open, the policy to a weaker one. */
function demandIdentity(state: ChainState, entry: Entry): void {
  if (state.departure !== null) {
    const same = bytesEqual(entry.facts, state.departure.facts);
    demand(same, 'facts', `${entry.kind} speaks of another definition of the VM than departing`);
  }
  if (entry.kind === 'checkpoint')
    demand(bytesEqual(entry.facts, state.facts), 'facts', 'a checkpoint changes the definition of the VM');
  if (entry.kind === 'recovered')
    demand(bytesEqual(entry.facts, state.facts), 'facts', 'a recovery changes the definition of the VM');
  if (entry.kind === 'bound')
    demand(bytesEqual(entry.facts, state.facts), 'facts', 'a tenant policy changes the definition of the VM');
  const { vtpm } = state;
  demand(
    vtpm === null || (entry.vtpm !== null && bytesEqual(vtpm, entry.vtpm)),
    'vtpm',
    'the vTPM is another one',
  );
  demandPolicyAfter(state, entry.policy, entry.kind === 'arrived');
}

/** A holder is quarantined once, and released only from that. */
function demandQuarantine({ quarantined }: ChainState, { kind }: Entry): void {
  if (kind === 'quarantined') demand(!quarantined, 'quarantine', 'the holder is quarantined already');
  if (kind === 'released') demand(quarantined, 'quarantine', 'the holder was not quarantined');
}

/** A quarantine is over with these: another holder begins without it. */
export const endsQuarantine: ReadonlySet<Entry['kind']> = new Set(['released', 'arrived', 'recovered']);

function quarantinedAfter({ quarantined }: ChainState, kind: Entry['kind']): boolean {
  return kind === 'quarantined' || (quarantined && !endsQuarantine.has(kind));
}

/** The last policy of this id in a chain; null where none was. */
export function lastUnder({ home, elsewhere }: ChainState, id: string): PolicyId | null {
  return [home, ...elsewhere].find((policy) => policy.id === id) ?? null;
}

/** Whether the VM has been in another domain than that of its birth (SPEC 17.3). */
export function hasCrossed({ elsewhere }: ChainState): boolean {
  return elsewhere.length > 0;
}

/** `policy-order` and the part of `domain` that policy ids tell: another id only on arrival, from the home or back to it. */
export function demandPolicyAfter(state: ChainState, policy: PolicyId, arrives: boolean): void {
  const { home, elsewhere } = state;
  if (policy.id !== state.policy.id) {
    demand(arrives, 'policy-order', `policy ${policy.id} in a chain under ${state.policy.id}`);
    const ofHome = home.id === state.policy.id || home.id === policy.id;
    const third = `a VM of the domain of ${home.id}, which is in that of ${state.policy.id}, goes home or nowhere, not to that of ${policy.id}`;
    demand(ofHome, 'domain', third);
    const many = elsewhere.length >= limits.policyDomainsMax && lastUnder(state, policy.id) === null;
    demand(!many, 'domain', `the VM has been in ${elsewhere.length} other domains`);
  }
  const last = lastUnder(state, policy.id);
  if (last !== null) demandPolicy(last, policy);
}

function policiesAfter(
  { home, elsewhere }: ChainState,
  policy: PolicyId,
): Pick<ChainState, 'home' | 'elsewhere'> {
  if (policy.id === home.id) return { home: policy, elsewhere };
  return { home, elsewhere: [...elsewhere.filter(({ id }) => id !== policy.id), policy] };
}

/** A chain stays under one policy id, whose versions only rise; a version has one content. */
export function demandPolicy(before: PolicyId, { id, version, digest }: PolicyId): void {
  demand(id === before.id, 'policy-order', `policy ${id} in a chain under ${before.id}`);
  demand(version >= before.version, 'policy-order', `policy version ${version} after ${before.version}`);
  const consistent = version > before.version || bytesEqual(digest, before.digest);
  demand(consistent, 'policy-order', `two policies ${id} of version ${version}`);
}

function departureOf(state: ChainState, entry: Entry): Departure | null {
  if (entry.peer === null || entry.session === null) return null;
  const found = state.state === 'paused' ? 'paused' : 'running';
  return { to: entry.peer, session: entry.session, facts: entry.facts, found };
}

function handoverOf(state: ChainState, entry: Entry, hash: Uint8Array): readonly Handover[] {
  if (entry.session === null || entry.vtpm === null) return [];
  const opened: Handover = {
    epoch: state.epoch,
    from: state.holder,
    to: entry.host,
    session: entry.session,
    sequence: entry.sequence,
    arrived: hash,
    facts: entry.facts,
    vtpm: entry.vtpm,
    policy: state.policy,
  };
  return [opened];
}
