import assert from 'node:assert/strict';
import type { Arrived, Departed } from '../../../lib/protocol/messages.ts';
import { ProtocolViolation } from '../../../lib/protocol/step.ts';
import { stepTarget, targetStart } from '../../../lib/protocol/target.ts';
import type { TargetInput, TargetState } from '../../../lib/protocol/target.ts';
import {
  abort,
  bytes,
  evidence,
  foreign,
  head,
  hello,
  offer,
  query,
  session,
  trusted,
} from './session-world.ts';

const own = hello('target');
const peer = hello('source');
const entry = { entry: bytes(100), path: [], attest: bytes(100), signature: bytes(72) };
const arrived: Arrived = { kind: 'arrived', session, entry, certificates: [], policies: [] };
const departed: Departed = { kind: 'departed', session, entry, certificates: [], policies: [] };

const toAttested: readonly TargetInput[] = [
  { kind: 'open', own },
  { kind: 'message', message: peer },
  { kind: 'signed', evidence },
];
const toAppraising: readonly TargetInput[] = [...toAttested, { kind: 'message', message: offer }];
const toStaging: readonly TargetInput[] = [...toAppraising, { kind: 'accepted', trusted }];
const toStaged: readonly TargetInput[] = [...toStaging, { kind: 'stored', head }];
const toArrived: readonly TargetInput[] = [
  ...toStaged,
  { kind: 'moved' },
  { kind: 'arrival-signed', arrived },
];

function after(inputs: readonly TargetInput[]): TargetState {
  return inputs.reduce<TargetState>((state, input) => stepTarget(state, input).state, targetStart);
}

function effectsOf(state: TargetState, input: TargetInput): readonly string[] {
  return stepTarget(state, input).effects.map((effect) =>
    effect.do === 'send' ? `send ${effect.message.kind}` : effect.do,
  );
}

describe('target state machine (SPEC 6.8)', () => {
  it('goes from its own hello to done', () => {
    let state = after(toArrived);
    assert.equal(state.tag, 'arrived');
    assert.deepEqual(effectsOf(state, { kind: 'message', message: departed }), ['verify-departure']);
    state = stepTarget(state, { kind: 'departure-verified' }).state;
    assert.equal(state.tag, 'done');
  });

  it('answers a source that opened with hello and evidence', () => {
    assert.deepEqual(effectsOf(targetStart, { kind: 'answer', own, peer }), ['send hello', 'attest']);
  });

  it('stages only after the source was accepted, and admits only after everything is stored', () => {
    const appraising = after([...toAttested, { kind: 'message', message: offer }]);
    assert.throws(() => stepTarget(appraising, { kind: 'stored', head }), ProtocolViolation);
    assert.deepEqual(effectsOf(appraising, { kind: 'accepted', trusted }), ['stage']);
    assert.deepEqual(effectsOf(after(toStaging), { kind: 'stored', head }), ['send staged', 'admit']);
  });

  it('discards what it was given when it refuses or fails before it is staged', () => {
    assert.deepEqual(effectsOf(after(toAttested), { kind: 'refuse', hint: null }), [
      'discard',
      'send refused',
    ]);
    for (const inputs of [toAttested, toAppraising, toStaging])
      assert.deepEqual(effectsOf(after(inputs), { kind: 'failed' }), ['discard']);
  });

  it('disclaims by its signature what it refuses after the offer (SPEC 6.10)', () => {
    for (const inputs of [toAppraising, toStaging])
      assert.deepEqual(stepTarget(after(inputs), { kind: 'refuse', hint: null }), {
        state: { tag: 'refused', session },
        effects: [{ do: 'discard' }, { do: 'disclaim', of: offer }],
      });
  });

  it('speaks of the departure that it staged, and of no other', () => {
    for (const question of [abort, query]) {
      const other = { ...question, head: bytes(32) };
      const ask = () => stepTarget(after(toStaged), { kind: 'message', message: other });
      assert.throws(ask, ProtocolViolation, question.kind);
    }
  });

  it('is not undone by failure once staged: libvirt’s outcome decides', () => {
    for (const inputs of [toStaged, toArrived]) {
      const state = after(inputs);
      assert.equal(stepTarget(state, { kind: 'failed' }).state, state);
      assert.equal(stepTarget(state, { kind: 'refuse', hint: null }).state, state);
    }
  });

  it('asks libvirt before it gives up a staged VM, and destroys and says so when nothing is here', () => {
    const staged = after(toStaged);
    for (const input of [{ kind: 'lost' } as const, { kind: 'message', message: abort } as const]) {
      const step = stepTarget(staged, input);
      assert.deepEqual(step, { state: staged, effects: [{ do: 'check-incoming' }] });
    }
    assert.deepEqual(stepTarget(staged, { kind: 'not-incoming' }).effects, [
      { do: 'discard' },
      { do: 'disclaim', of: head },
    ]);
  });

  it('answers abort and query with arrived when the CPUs run here', () => {
    for (const message of [abort, query]) {
      const step = stepTarget(after(toArrived), { kind: 'message', message });
      assert.equal(step.state.tag, 'arrived');
      assert.deepEqual(step.effects, [{ do: 'send', message: arrived }]);
      const arriving = after([...toStaged, { kind: 'moved' }]);
      assert.deepEqual(stepTarget(arriving, { kind: 'message', message }), {
        state: arriving,
        effects: [],
      });
    }
  });

  it('takes the source’s refusal before the offer as the end', () => {
    const message = { kind: 'refused', session, hint: null } as const;
    const step = stepTarget(after(toAttested), { kind: 'message', message });
    assert.deepEqual(step, { state: { tag: 'refused', session }, effects: [{ do: 'discard' }] });
    const other = { kind: 'message', message: foreign(message) } as const;
    assert.throws(() => stepTarget(after(toAttested), other), ProtocolViolation);
  });

  it('refuses messages of another session and out of turn', () => {
    const wrong: readonly (readonly [readonly TargetInput[], TargetInput])[] = [
      [[{ kind: 'open', own }], { kind: 'message', message: foreign(peer) }],
      [[{ kind: 'open', own }], { kind: 'message', message: offer }],
      [toAttested, { kind: 'message', message: foreign(offer) }],
      [toAttested, { kind: 'message', message: peer }],
      [toStaged, { kind: 'message', message: foreign(abort) }],
      [toStaged, { kind: 'message', message: offer }],
      [[...toStaged, { kind: 'moved' }], { kind: 'message', message: foreign(abort) }],
      [toArrived, { kind: 'message', message: foreign(departed) }],
    ];
    for (const [inputs, input] of wrong) {
      assert.throws(() => stepTarget(after(inputs), input), ProtocolViolation);
    }
  });

  it('lets an administrator keep or give up what has arrived (SPEC 6.9)', () => {
    const state = after(toArrived);
    assert.deepEqual(stepTarget(state, { kind: 'keep' }), {
      state: { tag: 'resolved', session },
      effects: [],
    });
    const given = stepTarget(state, { kind: 'give-up' });
    assert.deepEqual([given.state.tag, given.effects], ['giving-up', [{ do: 'give-up' }]]);
    assert.deepEqual(effectsOf(given.state, { kind: 'message', message: departed }), []);
    assert.equal(stepTarget(given.state, { kind: 'destroyed' }).state.tag, 'given-up');
  });

  it('has nothing for an administrator to state before it has arrived', () => {
    for (const inputs of [toAttested, toStaging, toStaged, [...toStaged, { kind: 'moved' } as const]])
      for (const kind of ['keep', 'give-up'] as const)
        assert.throws(() => stepTarget(after(inputs), { kind }), ProtocolViolation);
  });

  it('notes a conflict where the source does not believe that it arrived, and stays where it is', () => {
    const state = after(toArrived);
    const refused = { kind: 'refused', session, hint: null } as const;
    assert.deepEqual(stepTarget(state, { kind: 'message', message: refused }), {
      state,
      effects: [{ do: 'note-conflict' }],
    });
    assert.throws(() => stepTarget(state, { kind: 'message', message: foreign(refused) }), ProtocolViolation);
  });
});
