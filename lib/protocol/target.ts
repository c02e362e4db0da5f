import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { checkPeerHello } from './hello.ts';
import type {
  Arrived,
  Departed,
  EvidenceMessage,
  Hello,
  Message,
  Offer,
  RefusalHint,
  RefusedMessage,
} from './messages.ts';
import { ProtocolViolation, requireSession, unexpected } from './step.ts';
import type { Step } from './step.ts';

/** Where the target stands in one session (SPEC 6.8, right table). */
export type TargetState =
  | { readonly tag: 'idle' }
  | { readonly tag: 'hello-sent'; readonly own: Hello }
  | { readonly tag: 'greeted'; readonly own: Hello; readonly peer: Hello }
  | {
      readonly tag: 'attested';
      readonly own: Hello;
      readonly peer: Hello;
      readonly evidence: EvidenceMessage;
    }
  | { readonly tag: 'appraising'; readonly own: Hello; readonly offer: Offer }
  | { readonly tag: 'staging'; readonly session: Uint8Array; readonly offer: Offer }
  /** `head`: hash of the *departing* entry. */
  | { readonly tag: 'staged'; readonly session: Uint8Array; readonly head: Uint8Array }
  | { readonly tag: 'arriving'; readonly session: Uint8Array }
  | { readonly tag: 'arrived'; readonly session: Uint8Array; readonly message: Arrived }
  | { readonly tag: 'done'; readonly session: Uint8Array }
  /** By an administrator: the VM stays here, and *departed* is not waited for (SPEC 6.9). */
  | { readonly tag: 'resolved'; readonly session: Uint8Array }
  /** By an administrator: what this host has is destroyed. */
  | { readonly tag: 'giving-up'; readonly session: Uint8Array }
  | { readonly tag: 'given-up'; readonly session: Uint8Array }
  | { readonly tag: 'aborted'; readonly session: Uint8Array }
  | { readonly tag: 'refused'; readonly session: Uint8Array | null };

/** What can happen to the target. */
export type TargetInput =
  /** Our hook saw `migrate begin`; `own` is our hello. */
  | { readonly kind: 'open'; readonly own: Hello }
  /** The source opened; `own` is our answer to its hello. */
  | { readonly kind: 'answer'; readonly peer: Hello; readonly own: Hello }
  | { readonly kind: 'message'; readonly message: Message }
  /** The statement is quoted. */
  | { readonly kind: 'signed'; readonly evidence: EvidenceMessage }
  /** Source, proof and domain are accepted. */
  | { readonly kind: 'accepted'; readonly trusted: TrustedPeer }
  | { readonly kind: 'refuse'; readonly hint: RefusalHint | null }
  /** Proof, sealed key and permit are on disk and the key has been unsealed; `head` is *departing*. */
  | { readonly kind: 'stored'; readonly head: Uint8Array }
  /** libvirt: the CPUs run here, or did. */
  | { readonly kind: 'moved' }
  /** *arrived* is signed and on disk. */
  | { readonly kind: 'arrival-signed'; readonly arrived: Arrived }
  | { readonly kind: 'departure-verified' }
  /** The permit expired, or libvirt let the incoming VM go. */
  | { readonly kind: 'lost' }
  /** libvirt was asked: nothing of the VM came. */
  | { readonly kind: 'not-incoming' }
  /** An administrator states the outcome (SPEC 6.9). */
  | { readonly kind: 'keep' }
  | { readonly kind: 'give-up' }
  /** Nothing of a VM that was given up is left here. */
  | { readonly kind: 'destroyed' }
  | { readonly kind: 'failed' };

/** What the driver has to do. */
export type TargetEffect =
  | { readonly do: 'send'; readonly message: Message }
  | { readonly do: 'attest'; readonly own: Hello; readonly peer: Hello }
  | {
      readonly do: 'appraise';
      readonly own: Hello;
      readonly peer: Hello;
      readonly evidence: EvidenceMessage;
      readonly offer: Offer;
    }
  /** One durable write, then the key into libvirt: may be done for this peer alone. */
  | { readonly do: 'stage'; readonly offer: Offer; readonly trusted: TrustedPeer }
  /** The hook may be answered. */
  | { readonly do: 'admit' }
  | { readonly do: 'sign-arrived' }
  | { readonly do: 'verify-departure'; readonly departed: Departed }
  /** Ask libvirt whether the VM came after all: its outcome is the truth. */
  | { readonly do: 'check-incoming' }
  /** It has left the source: ask libvirt whether it came, and has stopped since. */
  | { readonly do: 'check-arrival' }
  | { readonly do: 'discard' }
  /** Sign and say *aborted* (SPEC 6.10), of the *departing* entry with this hash, or of the one that the offer ends with. */
  | { readonly do: 'disclaim'; readonly of: Uint8Array | Offer }
  /** The source does not believe *arrived*: its administrator has kept the VM there. */
  | { readonly do: 'note-conflict' }
  /** Journal that the copy is given up, then destroy it. */
  | { readonly do: 'give-up' };

type TargetStep = Step<TargetState, TargetEffect>;

export const targetStart: TargetState = { tag: 'idle' };

/** One step of the target. Pure; throws `ProtocolViolation` and leaves the state as it was (SPEC 6.8). */
export function stepTarget(state: TargetState, input: TargetInput): TargetStep {
  if (input.kind === 'refuse') return giveUp(state, { kind: 'refused', hint: input.hint });
  if (input.kind === 'failed' || isRefusal(state, input)) return giveUp(state, null);
  switch (state.tag) {
    case 'idle':
      return fromIdle(input);
    case 'hello-sent':
      return fromHelloSent(state, input);
    case 'greeted':
      if (input.kind !== 'signed') throw unexpected(state.tag, nameOf(input));
      return {
        state: { tag: 'attested', own: state.own, peer: state.peer, evidence: input.evidence },
        effects: [{ do: 'send', message: input.evidence }],
      };
    case 'attested':
      return fromAttested(state, input);
    case 'appraising':
      if (input.kind !== 'accepted') throw unexpected(state.tag, nameOf(input));
      return {
        state: { tag: 'staging', session: state.own.session, offer: state.offer },
        effects: [{ do: 'stage', offer: state.offer, trusted: input.trusted }],
      };
    case 'staging':
      if (input.kind !== 'stored') throw unexpected(state.tag, nameOf(input));
      return {
        state: { tag: 'staged', session: state.session, head: input.head },
        effects: [
          { do: 'send', message: { kind: 'staged', session: state.session, head: input.head } },
          { do: 'admit' },
        ],
      };
    case 'staged':
      return fromStaged(state, input);
    case 'arriving':
      if (input.kind === 'message') return answerLate(state, input.message);
      if (input.kind !== 'arrival-signed') throw unexpected(state.tag, nameOf(input));
      return {
        state: { tag: 'arrived', session: state.session, message: input.arrived },
        effects: [{ do: 'send', message: input.arrived }],
      };
    case 'arrived':
      return fromArrived(state, input);
    case 'giving-up':
      if (input.kind === 'message') requireSession(input.message, state.session);
      else if (input.kind === 'destroyed')
        return { state: { tag: 'given-up', session: state.session }, effects: [] };
      else throw unexpected(state.tag, nameOf(input));
      return { state, effects: [] };
    case 'done':
    case 'aborted':
    case 'resolved':
    case 'given-up':
    case 'refused':
      throw unexpected(state.tag, nameOf(input));
  }
}

function fromIdle(input: TargetInput): TargetStep {
  if (input.kind === 'open') {
    return { state: { tag: 'hello-sent', own: input.own }, effects: [{ do: 'send', message: input.own }] };
  }
  if (input.kind === 'answer') {
    checkPeerHello(input.own, input.peer);
    return {
      state: { tag: 'greeted', own: input.own, peer: input.peer },
      effects: [
        { do: 'send', message: input.own },
        { do: 'attest', own: input.own, peer: input.peer },
      ],
    };
  }
  throw unexpected('idle', nameOf(input));
}

function fromHelloSent(state: Extract<TargetState, { tag: 'hello-sent' }>, input: TargetInput): TargetStep {
  if (input.kind !== 'message' || input.message.kind !== 'hello') throw unexpected(state.tag, nameOf(input));
  checkPeerHello(state.own, input.message);
  return {
    state: { tag: 'greeted', own: state.own, peer: input.message },
    effects: [{ do: 'attest', own: state.own, peer: input.message }],
  };
}

function fromAttested(state: Extract<TargetState, { tag: 'attested' }>, input: TargetInput): TargetStep {
  if (input.kind !== 'message' || input.message.kind !== 'offer') throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, state.own.session);
  const { own, peer, evidence } = state;
  return {
    state: { tag: 'appraising', own, offer: input.message },
    effects: [{ do: 'appraise', own, peer, evidence, offer: input.message }],
  };
}

/** Staged: only libvirt's outcome, or an abort of the source while nothing came in, ends it. */
function fromStaged(state: Extract<TargetState, { tag: 'staged' }>, input: TargetInput): TargetStep {
  const { session, head } = state;
  if (input.kind === 'moved')
    return { state: { tag: 'arriving', session }, effects: [{ do: 'sign-arrived' }] };
  const aborts = input.kind === 'message' && input.message.kind === 'abort';
  if (input.kind === 'message') requireDeparture(input.message, session, head);
  if (aborts || input.kind === 'lost') return { state, effects: [{ do: 'check-incoming' }] };
  if (input.kind === 'not-incoming') {
    return {
      state: { tag: 'aborted', session },
      effects: [{ do: 'discard' }, { do: 'disclaim', of: head }],
    };
  }
  if (input.kind === 'message' && input.message.kind === 'query')
    return { state, effects: [{ do: 'check-arrival' }] };
  throw unexpected(state.tag, nameOf(input));
}

/** A question about the VM that was staged here, and about no other departure. */
function requireDeparture(message: Message, session: Uint8Array, head: Uint8Array): void {
  requireSession(message, session);
  if ((message.kind === 'abort' || message.kind === 'query') && !bytesEqual(message.head, head))
    throw new ProtocolViolation(`${message.kind} for another head`);
}

function fromArrived(state: Extract<TargetState, { tag: 'arrived' }>, input: TargetInput): TargetStep {
  if (input.kind === 'departure-verified') {
    return { state: { tag: 'done', session: state.session }, effects: [] };
  }
  const { session } = state;
  if (input.kind === 'keep') return { state: { tag: 'resolved', session }, effects: [] };
  if (input.kind === 'give-up') return { state: { tag: 'giving-up', session }, effects: [{ do: 'give-up' }] };
  if (input.kind !== 'message') throw unexpected(state.tag, nameOf(input));
  requireSession(input.message, session);
  if (input.message.kind === 'refused') return { state, effects: [{ do: 'note-conflict' }] };
  if (input.message.kind === 'departed') {
    return { state, effects: [{ do: 'verify-departure', departed: input.message }] };
  }
  if (input.message.kind === 'abort' || input.message.kind === 'query') {
    return { state, effects: [{ do: 'send', message: state.message }] };
  }
  throw unexpected(state.tag, nameOf(input));
}

/** The CPUs run here: an abort comes too late, and *arrived* will answer it as soon as it is signed. */
function answerLate(state: Extract<TargetState, { tag: 'arriving' }>, message: Message): TargetStep {
  requireSession(message, state.session);
  if (message.kind === 'abort' || message.kind === 'query') return { state, effects: [] };
  throw unexpected(state.tag, message.kind);
}

/** Before staging the target throws away what it was given; after it, only libvirt's outcome ends the session. */
function giveUp(state: TargetState, tell: Pick<RefusedMessage, 'kind' | 'hint'> | null): TargetStep {
  switch (state.tag) {
    case 'idle':
      return { state: { tag: 'refused', session: null }, effects: [] };
    case 'hello-sent':
    case 'greeted':
    case 'attested':
    case 'appraising':
    case 'staging': {
      const session = state.tag === 'staging' ? state.session : state.own.session;
      const told: TargetEffect[] = tell === null ? [] : [refusal(state, { ...tell, session })];
      return { state: { tag: 'refused', session }, effects: [{ do: 'discard' }, ...told] };
    }
    default:
      return { state, effects: [] };
  }
}

/** Once the key has left the source, it is told nothing that it cannot verify (SPEC 6.10). */
function refusal(state: TargetState, message: RefusedMessage): TargetEffect {
  return 'offer' in state ? { do: 'disclaim', of: state.offer } : { do: 'send', message };
}

/** The peer says no before anything was committed: the session is over, and nothing is owed. */
function isRefusal(state: TargetState, input: TargetInput): boolean {
  if (input.kind !== 'message' || input.message.kind !== 'refused' || !('own' in state)) return false;
  requireSession(input.message, state.own.session);
  return true;
}

function nameOf(input: TargetInput): string {
  return input.kind === 'message' ? input.message.kind : input.kind;
}
