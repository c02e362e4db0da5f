/** Every state and every kind of input of the two shipped state machines. The compiler holds that none is missing. */
import type { Message, MessageKind } from '../../../lib/protocol/messages.ts';
import type { SourceInput, SourceState } from '../../../lib/protocol/source.ts';
import type { TargetInput, TargetState } from '../../../lib/protocol/target.ts';
import {
  abort,
  aborted,
  bytes,
  evidence,
  head,
  hello,
  offer,
  query,
  session,
  trusted,
} from '../../unit/protocol/session-world.ts';

export { head };
export const own = { source: hello('source'), target: hello('target') } as const;
const entry = { entry: bytes(100), path: [], attest: bytes(100), signature: bytes(72) };
export const arrived = { kind: 'arrived', session, entry, certificates: [], policies: [] } as const;
export const departed = { kind: 'departed', session, entry, certificates: [], policies: [] } as const;

type Places<State extends { readonly tag: string }> = {
  readonly [Tag in State['tag']]: Extract<State, { tag: Tag }>;
};

export const sourcePlaces: Places<SourceState> = {
  idle: { tag: 'idle' },
  'hello-sent': { tag: 'hello-sent', own: own.source },
  greeted: { tag: 'greeted', own: own.source, peer: own.target },
  appraising: { tag: 'appraising', own: own.source, peer: own.target, evidence },
  signing: { tag: 'signing', own: own.source, peer: own.target, trusted },
  offered: { tag: 'offered', session, head },
  staged: { tag: 'staged', session, head },
  declined: { tag: 'declined', session },
  aborting: { tag: 'aborting', session, head },
  destroying: { tag: 'destroying', session, head },
  departed: { tag: 'departed', session },
  aborted: { tag: 'aborted', session },
  resolved: { tag: 'resolved', session, head },
  'giving-up': { tag: 'giving-up', session },
  'given-up': { tag: 'given-up', session },
  refused: { tag: 'refused', session },
};

export const targetPlaces: Places<TargetState> = {
  idle: { tag: 'idle' },
  'hello-sent': { tag: 'hello-sent', own: own.target },
  greeted: { tag: 'greeted', own: own.target, peer: own.source },
  attested: { tag: 'attested', own: own.target, peer: own.source, evidence },
  appraising: { tag: 'appraising', own: own.target, offer },
  staging: { tag: 'staging', session, offer },
  staged: { tag: 'staged', session, head },
  arriving: { tag: 'arriving', session },
  arrived: { tag: 'arrived', session, message: arrived },
  done: { tag: 'done', session },
  aborted: { tag: 'aborted', session },
  resolved: { tag: 'resolved', session },
  'giving-up': { tag: 'giving-up', session },
  'given-up': { tag: 'given-up', session },
  refused: { tag: 'refused', session },
};

/** One message of each kind, as the named side sends it. */
function messagesFrom(role: 'source' | 'target'): readonly Message[] {
  const each: { readonly [Kind in MessageKind]: Extract<Message, { kind: Kind }> } = {
    hello: own[role],
    evidence,
    offer,
    staged: { kind: 'staged', session, head },
    arrived,
    departed,
    refused: { kind: 'refused', session, hint: null },
    abort,
    aborted,
    query,
    revocations: { kind: 'revocations', session, list: '{}' },
    log: { kind: 'log', session, log: 'event-log', from: 0, data: Uint8Array.of(0) },
    attested: { kind: 'attested', session },
  };
  return Object.values(each);
}

type Inputs<Input extends { readonly kind: string }> = {
  readonly [Kind in Exclude<Input['kind'], 'message'>]: Extract<Input, { kind: Kind }>;
};

const sourceInputs: Inputs<SourceInput> = {
  open: { kind: 'open', own: own.source },
  answer: { kind: 'answer', own: own.source, peer: own.target },
  accepted: { kind: 'accepted', trusted },
  refuse: { kind: 'refuse', hint: null },
  signed: { kind: 'signed', offer, head },
  stayed: { kind: 'stayed' },
  left: { kind: 'left' },
  'arrival-verified': { kind: 'arrival-verified' },
  'disclaimer-verified': { kind: 'disclaimer-verified' },
  destroyed: { kind: 'destroyed' },
  keep: { kind: 'keep' },
  'give-up': { kind: 'give-up' },
  failed: { kind: 'failed' },
};

const targetInputs: Inputs<TargetInput> = {
  open: { kind: 'open', own: own.target },
  answer: { kind: 'answer', own: own.target, peer: own.source },
  signed: { kind: 'signed', evidence },
  accepted: { kind: 'accepted', trusted },
  refuse: { kind: 'refuse', hint: null },
  stored: { kind: 'stored', head },
  moved: { kind: 'moved' },
  'arrival-signed': { kind: 'arrival-signed', arrived },
  'departure-verified': { kind: 'departure-verified' },
  lost: { kind: 'lost' },
  'not-incoming': { kind: 'not-incoming' },
  destroyed: { kind: 'destroyed' },
  keep: { kind: 'keep' },
  'give-up': { kind: 'give-up' },
  failed: { kind: 'failed' },
};

export const placesOfSource: readonly SourceState[] = Object.values(sourcePlaces);
export const placesOfTarget: readonly TargetState[] = Object.values(targetPlaces);
export const inputsOfSource: readonly SourceInput[] = [
  ...Object.values(sourceInputs),
  ...messagesFrom('target').map((message) => ({ kind: 'message', message }) as const),
];
export const inputsOfTarget: readonly TargetInput[] = [
  ...Object.values(targetInputs),
  ...messagesFrom('source').map((message) => ({ kind: 'message', message }) as const),
];
