/** Every row of the two machines of lib/protocol, found by asking them: each state with each input that it could get. */
import type { TrustedPeer } from '../../lib/appraisal/trusted-peer.ts';
import type {
  Aborted,
  Arrived,
  Departed,
  EvidenceMessage,
  Hello,
  Message,
  Offer,
} from '../../lib/protocol/messages.ts';
import { stepSource } from '../../lib/protocol/source.ts';
import type { SourceInput, SourceState } from '../../lib/protocol/source.ts';
import { ProtocolViolation } from '../../lib/protocol/step.ts';
import type { Step } from '../../lib/protocol/step.ts';
import { stepTarget } from '../../lib/protocol/target.ts';
import type { TargetInput, TargetState } from '../../lib/protocol/target.ts';

const session = new Uint8Array(32);
const head = new Uint8Array(32);
const hello = (role: 'source' | 'target'): Hello => ({
  kind: 'hello',
  version: 1,
  session,
  role,
  vm: '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77',
  nonce: new Uint8Array(32).fill(role.length + role.charCodeAt(0)),
  host: role,
  agent: `${role}:16515`,
  akCertificate: new Uint8Array(),
  akPublic: new Uint8Array(),
  receivePublic: new Uint8Array(),
  policy: { id: 'lab', version: 1, digest: new Uint8Array(32) },
  versions: new Map(),
});
const claim = { attest: head, signature: head, path: [], pcrs: [] };
const signed = { entry: head, path: [], attest: head, signature: head };
const evidence: EvidenceMessage = { kind: 'evidence', session, claim };
const offer: Offer = { kind: 'offer', session, claim, proof: head, sealed: head };
const arrived: Arrived = { kind: 'arrived', session, entry: signed, certificates: [], policies: [] };
const aborted: Aborted = {
  kind: 'aborted',
  session,
  disclaimer: {
    host: { name: 'target', akName: head, certificate: head },
    policy: { id: 'lab', version: 1, digest: head },
    time: 0,
    path: [],
    attest: head,
    signature: head,
  },
  certificates: [],
  policies: [],
};
const departed: Departed = { kind: 'departed', session, entry: signed, certificates: [], policies: [] };
/** No step looks into it. */
const trusted = Object.freeze({}) as TrustedPeer;

const messages = (peer: 'source' | 'target'): readonly Message[] => [
  hello(peer),
  evidence,
  offer,
  { kind: 'staged', session, head },
  arrived,
  departed,
  { kind: 'abort', session, head },
  aborted,
  { kind: 'query', session, head },
  { kind: 'refused', session, hint: null },
];

const [s, t] = [hello('source'), hello('target')];
const sourceStates: readonly SourceState[] = [
  { tag: 'idle' },
  { tag: 'hello-sent', own: s },
  { tag: 'greeted', own: s, peer: t },
  { tag: 'appraising', own: s, peer: t, evidence },
  { tag: 'signing', own: s, peer: t, trusted },
  { tag: 'offered', session, head },
  { tag: 'staged', session, head },
  { tag: 'declined', session },
  { tag: 'aborting', session, head },
  { tag: 'destroying', session, head },
  { tag: 'resolved', session, head },
  { tag: 'giving-up', session },
  { tag: 'departed', session },
  { tag: 'aborted', session },
  { tag: 'given-up', session },
  { tag: 'refused', session },
];
const sourceInputs: readonly SourceInput[] = [
  { kind: 'open', own: s },
  { kind: 'answer', own: s, peer: t },
  ...messages('target').map((message) => ({ kind: 'message', message }) as const),
  { kind: 'accepted', trusted },
  { kind: 'refuse', hint: null },
  { kind: 'signed', offer, head },
  ...(
    [
      'stayed',
      'left',
      'arrival-verified',
      'disclaimer-verified',
      'destroyed',
      'keep',
      'give-up',
      'failed',
    ] as const
  ).map((kind) => ({ kind })),
];
const targetStates: readonly TargetState[] = [
  { tag: 'idle' },
  { tag: 'hello-sent', own: t },
  { tag: 'greeted', own: t, peer: s },
  { tag: 'attested', own: t, peer: s, evidence },
  { tag: 'appraising', own: t, offer },
  { tag: 'staging', session, offer },
  { tag: 'staged', session, head },
  { tag: 'arriving', session },
  { tag: 'arrived', session, message: arrived },
  { tag: 'done', session },
  { tag: 'resolved', session },
  { tag: 'giving-up', session },
  { tag: 'given-up', session },
  { tag: 'aborted', session },
  { tag: 'refused', session },
];
const targetInputs: readonly TargetInput[] = [
  { kind: 'open', own: t },
  { kind: 'answer', own: t, peer: s },
  ...messages('source').map((message) => ({ kind: 'message', message }) as const),
  { kind: 'signed', evidence },
  { kind: 'accepted', trusted },
  { kind: 'refuse', hint: null },
  { kind: 'stored', head },
  { kind: 'arrival-signed', arrived },
  ...(
    ['moved', 'departure-verified', 'lost', 'not-incoming', 'keep', 'give-up', 'destroyed', 'failed'] as const
  ).map((kind) => ({ kind })),
];

/** `role from input to`, as the driver logs each step; for steps that change the state or have an effect. */
export const transitions: readonly string[] = [
  ...rows('source', sourceStates, sourceInputs, stepSource),
  ...rows('target', targetStates, targetInputs, stepTarget),
];

function rows<State extends { readonly tag: string }, Input extends { readonly kind: string }>(
  role: string,
  states: readonly State[],
  inputs: readonly Input[],
  step: (state: State, input: Input) => Step<State, unknown>,
): readonly string[] {
  return states.flatMap((state) =>
    inputs.flatMap((input) => {
      try {
        const next = step(state, input);
        const idle = next.state === state && next.effects.length === 0;
        return idle ? [] : [`${role} ${state.tag} ${nameOf(input)} ${next.state.tag}`];
      } catch (error) {
        if (error instanceof ProtocolViolation) return [];
        throw error;
      }
    }),
  );
}

function nameOf(input: { readonly kind: string; readonly message?: Message }): string {
  return input.message?.kind ?? input.kind;
}

const notAsked =
  'in this state nothing is done but to send, and a message that cannot be sent is a failure, no refusal';
const nothingDone = 'nothing is done in this state that could be refused';
const oneByOne =
  'the driver reads the next message when what it does in this state is done, and then it is in another state';
const noRefusal =
  'attesting oneself fails or succeeds: neither quote nor PCRs nor a ledger that does not answer are a refusal';
const readable =
  'what an agent offers can be read; offers that cannot are in test/unit/migration/offer.test.ts and test/fuzz';

/** Rows that the machines have and agents never make, each with the reason. */
export const unreachable: ReadonlyMap<string, string> = new Map([
  ['source idle refuse refused', nothingDone],
  ['source hello-sent refuse refused', notAsked],
  ['source greeted refuse refused', notAsked],
  ['source appraising refused refused', oneByOne],
  ['source signing refused refused', oneByOne],
  ['target idle refuse refused', nothingDone],
  ['target hello-sent refuse refused', notAsked],
  ['target greeted refused refused', oneByOne],
  ['target greeted refuse refused', noRefusal],
  ['target attested refuse refused', notAsked],
  ['target appraising refused refused', oneByOne],
  ['target appraising failed refused', readable],
]);
