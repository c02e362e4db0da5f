import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type {
  Aborted,
  Arrived,
  EvidenceMessage,
  Hello,
  Message,
  Offer,
  RefusalHint,
  RefusedMessage,
} from './messages.ts';
import { checkPeerHello } from './hello.ts';
import { ProtocolViolation, requireSession, unexpected } from './step.ts';
import type { Step } from './step.ts';

/** Where the source stands in one session (SPEC 6.8, left table). */
export type SourceState =
  | { readonly tag: 'idle' }
  | { readonly tag: 'hello-sent'; readonly own: Hello }
  | { readonly tag: 'greeted'; readonly own: Hello; readonly peer: Hello }
  | {
      readonly tag: 'appraising';
      readonly own: Hello;
      readonly peer: Hello;
      readonly evidence: EvidenceMessage;
    }
  | { readonly tag: 'signing'; readonly own: Hello; readonly peer: Hello; readonly trusted: TrustedPeer }
  | { readonly tag: 'offered'; readonly session: Uint8Array; readonly head: Uint8Array }
  | { readonly tag: 'staged'; readonly session: Uint8Array; readonly head: Uint8Array }
  /** The target has disclaimed the VM, by its signature (SPEC 6.10). */
  | { readonly tag: 'declined'; readonly session: Uint8Array }
  /** libvirt's job is over and the VM did not leave, as far as we see: the target has to say the same. */
  | { readonly tag: 'aborting'; readonly session: Uint8Array; readonly head: Uint8Array }
  | { readonly tag: 'destroying'; readonly session: Uint8Array; readonly head: Uint8Array }
  | { readonly tag: 'departed'; readonly session: Uint8Array }
  | { readonly tag: 'aborted'; readonly session: Uint8Array }
  /** By an administrator: the VM stays, although the target has not said so (SPEC 6.9). */
  | { readonly tag: 'resolved'; readonly session: Uint8Array; readonly head: Uint8Array }
  /** By an administrator: what this host has is destroyed, although nobody has shown *arrived*. */
  | { readonly tag: 'giving-up'; readonly session: Uint8Array }
  | { readonly tag: 'given-up'; readonly session: Uint8Array }
  | { readonly tag: 'refused'; readonly session: Uint8Array | null };

/** What can happen to the source. */
export type SourceInput =
  /** The operator asked (`tvmmp migrate`); `own` is our hello. */
  | { readonly kind: 'open'; readonly own: Hello }
  /** The target opened; `own` is our answer to its hello. */
  | { readonly kind: 'answer'; readonly peer: Hello; readonly own: Hello }
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'accepted'; readonly trusted: TrustedPeer }
  /** The target was not accepted, or something at our side stands against the move. */
  | { readonly kind: 'refuse'; readonly hint: RefusalHint | null }
  /** Statement and *departing* are signed, the key is sealed for the target. */
  | { readonly kind: 'signed'; readonly offer: Offer; readonly head: Uint8Array }
  /** libvirt: the job is over, and the VM is here. */
  | { readonly kind: 'stayed' }
  /** libvirt: the job is over, and it has taken the VM away from here. */
  | { readonly kind: 'left' }
  /** *arrived* was verified against our chain. */
  | { readonly kind: 'arrival-verified' }
  /** The target's disclaimer was verified: it is about this departure, and its AK's. */
  | { readonly kind: 'disclaimer-verified' }
  /** Nothing of the VM is left here. */
  | { readonly kind: 'destroyed' }
  /** An administrator states the outcome (SPEC 6.9). */
  | { readonly kind: 'keep' }
  | { readonly kind: 'give-up' }
  /** Deadline passed, connection closed, or a fault. */
  | { readonly kind: 'failed' };

/** What the driver has to do. */
export type SourceEffect =
  | { readonly do: 'send'; readonly message: Message }
  | { readonly do: 'appraise'; readonly own: Hello; readonly peer: Hello; readonly evidence: EvidenceMessage }
  /** Quote {statement, departing} and reseal the key: may be done for this peer alone. */
  | {
      readonly do: 'commit';
      readonly own: Hello;
      readonly peer: Hello;
      readonly evidence: EvidenceMessage;
      readonly trusted: TrustedPeer;
    }
  /** The target is ready: libvirt may move the VM. */
  | { readonly do: 'release' }
  | { readonly do: 'sign-aborted' }
  /** The target will not run the VM: ask libvirt now rather than later. */
  | { readonly do: 'check-outcome' }
  | { readonly do: 'verify-arrival'; readonly arrived: Arrived }
  | { readonly do: 'verify-disclaimer'; readonly aborted: Aborted }
  | { readonly do: 'destroy-copy' }
  | { readonly do: 'sign-departed' }
  | { readonly do: 'sign-resolved' }
  /** Journal that the copy is given up, then destroy it. */
  | { readonly do: 'give-up' };

type SourceStep = Step<SourceState, SourceEffect>;

export const sourceStart: SourceState = { tag: 'idle' };

/** One step of the source. Pure; throws `ProtocolViolation` and leaves the state as it was (SPEC 6.8). */
export function stepSource(state: SourceState, input: SourceInput): SourceStep {
  if (input.kind === 'refuse') return giveUp(state, { kind: 'refused', hint: input.hint });
  if (input.kind === 'failed' || isRefusal(state, input)) return giveUp(state, null);
  switch (state.tag) {
    case 'idle':
      return fromIdle(input);
    case 'hello-sent':
      return fromHelloSent(state, input);
    case 'greeted':
      return fromGreeted(state, input);
    case 'appraising':
      if (input.kind !== 'accepted') throw unexpected(state.tag, nameOf(input));
      return {
        state: { tag: 'signing', own: state.own, peer: state.peer, trusted: input.trusted },
        effects: [
          {
            do: 'commit',
            own: state.own,
            peer: state.peer,
            evidence: state.evidence,
            trusted: input.trusted,
          },
        ],
      };
    case 'signing':
      if (input.kind !== 'signed') throw unexpected(state.tag, nameOf(input));
      return {
        state: { tag: 'offered', session: state.own.session, head: input.head },
        effects: [{ do: 'send', message: input.offer }],
      };
    case 'offered':
    case 'staged':
      return fromCommitted(state, input);
    case 'declined':
      return fromDeclined(state, input);
    case 'aborting':
      return fromAborting(state, input);
    case 'destroying':
      if (input.kind !== 'destroyed') return ignoreArrivedAgain(state, input);
      return { state: { tag: 'departed', session: state.session }, effects: [{ do: 'sign-departed' }] };
    case 'giving-up':
      if (input.kind === 'destroyed')
        return { state: { tag: 'given-up', session: state.session }, effects: [] };
      return ignoreLate(state, input);
    case 'resolved':
      if (input.kind === 'give-up') return givingUp(state.session);
      throw unexpected(state.tag, nameOf(input));
    case 'departed':
      return ignoreArrivedAgain(state, input);
    case 'aborted':
    case 'given-up':
    case 'refused':
      throw unexpected(state.tag, nameOf(input));
  }
}

function fromIdle(input: SourceInput): SourceStep {
  if (input.kind === 'open') {
    return { state: { tag: 'hello-sent', own: input.own }, effects: [{ do: 'send', message: input.own }] };
  }
  if (input.kind === 'answer') {
    checkPeerHello(input.own, input.peer);
    return {
      state: { tag: 'greeted', own: input.own, peer: input.peer },
      effects: [{ do: 'send', message: input.own }],
    };
  }
  throw unexpected('idle', nameOf(input));
}

function fromHelloSent(state: Extract<SourceState, { tag: 'hello-sent' }>, input: SourceInput): SourceStep {
  if (input.kind !== 'message' || input.message.kind !== 'hello') throw unexpected(state.tag, nameOf(input));
  checkPeerHello(state.own, input.message);
  return { state: { tag: 'greeted', own: state.own, peer: input.message }, effects: [] };
}

function fromGreeted(state: Extract<SourceState, { tag: 'greeted' }>, input: SourceInput): SourceStep {
  if (input.kind !== 'message' || input.message.kind !== 'evidence')
    throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, state.own.session);
  return {
    state: { tag: 'appraising', own: state.own, peer: state.peer, evidence: input.message },
    effects: [{ do: 'appraise', own: state.own, peer: state.peer, evidence: input.message }],
  };
}

/** From the offer on, libvirt's outcome and what the target has signed decide; its silence does not, nor does *refused*. */
function fromCommitted(
  state: Extract<SourceState, { tag: 'offered' | 'staged' }>,
  input: SourceInput,
): SourceStep {
  const { session, head } = state;
  if (input.kind === 'stayed') {
    return {
      state: { tag: 'aborting', session, head },
      effects: [{ do: 'send', message: { kind: 'abort', session, head } }],
    };
  }
  if (input.kind === 'left')
    return { state, effects: [{ do: 'send', message: { kind: 'query', session, head } }] };
  const resolved = fromAdministrator(state, input);
  if (resolved !== null) return resolved;
  if (input.kind === 'arrival-verified') {
    return { state: { tag: 'destroying', session, head }, effects: [{ do: 'destroy-copy' }] };
  }
  if (input.kind === 'disclaimer-verified') {
    return { state: { tag: 'declined', session }, effects: [{ do: 'check-outcome' }] };
  }
  if (input.kind !== 'message') throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, session);
  if (input.message.kind === 'arrived') {
    return { state, effects: [{ do: 'verify-arrival', arrived: input.message }] };
  }
  if (input.message.kind === 'staged' && state.tag === 'offered') {
    if (!bytesEqual(input.message.head, head)) throw new ProtocolViolation('staged for another head');
    return { state: { tag: 'staged', session, head }, effects: [{ do: 'release' }] };
  }
  if (input.message.kind === 'aborted') {
    return { state, effects: [{ do: 'verify-disclaimer', aborted: input.message }] };
  }
  if (input.message.kind === 'refused') return { state, effects: [] };
  throw unexpected(state.tag, nameOf(input));
}

/** The target will not run it: libvirt's outcome here is all that is waited for. */
function fromDeclined(state: Extract<SourceState, { tag: 'declined' }>, input: SourceInput): SourceStep {
  const { session } = state;
  if (input.kind === 'stayed')
    return { state: { tag: 'aborted', session }, effects: [{ do: 'sign-aborted' }] };
  return ignoreRepeated(state, session, input);
}

/** Nobody discards alone once staged (SPEC 6.8): *aborted* is signed on the target's signed word, or *arrived* comes instead. */
function fromAborting(state: Extract<SourceState, { tag: 'aborting' }>, input: SourceInput): SourceStep {
  const { session, head } = state;
  if (input.kind === 'stayed')
    return { state, effects: [{ do: 'send', message: { kind: 'abort', session, head } }] };
  if (input.kind === 'arrival-verified') {
    return { state: { tag: 'destroying', session, head }, effects: [{ do: 'destroy-copy' }] };
  }
  if (input.kind === 'disclaimer-verified') {
    return { state: { tag: 'aborted', session }, effects: [{ do: 'sign-aborted' }] };
  }
  const resolved = fromAdministrator(state, input);
  if (resolved !== null) return resolved;
  if (input.kind === 'message') {
    requireSession(input.message, session);
    if (input.message.kind === 'aborted') {
      return { state, effects: [{ do: 'verify-disclaimer', aborted: input.message }] };
    }
    if (input.message.kind === 'arrived') {
      return { state, effects: [{ do: 'verify-arrival', arrived: input.message }] };
    }
  }
  return ignoreRepeated(state, session, input);
}

/** SPEC 6.9: an outcome that an administrator states while the target is not heard, or says something else; null for other inputs. */
function fromAdministrator(
  { session, head }: Extract<SourceState, { tag: 'offered' | 'staged' | 'aborting' }>,
  input: SourceInput,
): SourceStep | null {
  if (input.kind === 'give-up') return givingUp(session);
  if (input.kind !== 'keep') return null;
  return { state: { tag: 'resolved', session, head }, effects: [{ do: 'sign-resolved' }] };
}

function givingUp(session: Uint8Array): SourceStep {
  return { state: { tag: 'giving-up', session }, effects: [{ do: 'give-up' }] };
}

/** While the copy is being given up the target may say anything: *arrived* is taken up when nothing is left here. */
function ignoreLate(state: Extract<SourceState, { tag: 'giving-up' }>, input: SourceInput): SourceStep {
  if (input.kind !== 'message') throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, state.session);
  return { state, effects: [] };
}

/** A target says *arrived* until it has heard *departed*, which is on its way: the journal repeats it over later connections. */
function ignoreArrivedAgain(
  state: Extract<SourceState, { tag: 'destroying' | 'departed' }>,
  input: SourceInput,
): SourceStep {
  if (input.kind !== 'message' || input.message.kind !== 'arrived')
    throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, state.session);
  return { state, effects: [] };
}

/** What the target said before it knew where we stand. */
function ignoreRepeated(state: SourceState, session: Uint8Array, input: SourceInput): SourceStep {
  if (input.kind !== 'message') throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, session);
  const { kind } = input.message;
  if (kind === 'staged' || kind === 'aborted' || kind === 'refused') return { state, effects: [] };
  throw unexpected(state.tag, kind);
}

/** Before the offer the source owes nobody anything; after it, only libvirt's outcome ends the session. */
function giveUp(state: SourceState, tell: Pick<RefusedMessage, 'kind' | 'hint'> | null): SourceStep {
  switch (state.tag) {
    case 'idle':
      return { state: { tag: 'refused', session: null }, effects: [] };
    case 'hello-sent':
    case 'greeted':
    case 'appraising':
    case 'signing': {
      const { session } = state.own;
      const told: SourceEffect[] = tell === null ? [] : [{ do: 'send', message: { ...tell, session } }];
      return { state: { tag: 'refused', session }, effects: told };
    }
    default:
      return { state, effects: [] };
  }
}

/** The peer says no before anything was committed: the session is over, and nothing is owed. */
function isRefusal(state: SourceState, input: SourceInput): boolean {
  if (input.kind !== 'message' || input.message.kind !== 'refused' || !('own' in state)) return false;
  requireSession(input.message, state.own.session);
  return true;
}

function nameOf(input: SourceInput): string {
  return input.kind === 'message' ? input.message.kind : input.kind;
}
