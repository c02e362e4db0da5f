import assert from 'node:assert/strict';
import { sourceStart, stepSource } from '../../../lib/protocol/source.ts';
import type { SourceInput, SourceState } from '../../../lib/protocol/source.ts';
import { ProtocolViolation } from '../../../lib/protocol/step.ts';
import {
  abort,
  aborted,
  bytes,
  evidence,
  foreign,
  head,
  hello,
  offer,
  session,
  trusted,
} from './session-world.ts';

const own = hello('source');
const entry = { entry: bytes(100), path: [], attest: bytes(100), signature: bytes(72) };
const peer = hello('target');

const toGreeted: readonly SourceInput[] = [{ kind: 'answer', own, peer }];
const toOffered: readonly SourceInput[] = [
  ...toGreeted,
  { kind: 'message', message: evidence },
  { kind: 'accepted', trusted },
  { kind: 'signed', offer, head },
];

function after(inputs: readonly SourceInput[]): SourceState {
  return inputs.reduce<SourceState>((state, input) => stepSource(state, input).state, sourceStart);
}

function effectsOf(state: SourceState, input: SourceInput): readonly string[] {
  return stepSource(state, input).effects.map((effect) =>
    effect.do === 'send' ? `send ${effect.message.kind}` : effect.do,
  );
}

describe('source state machine (SPEC 6.8)', () => {
  it('goes from the target-opened hello to departed', () => {
    let state = after(toOffered);
    assert.equal(state.tag, 'offered');
    state = stepSource(state, { kind: 'message', message: { kind: 'staged', session, head } }).state;
    assert.equal(state.tag, 'staged');
    state = stepSource(state, { kind: 'arrival-verified' }).state;
    assert.equal(state.tag, 'destroying');
    assert.deepEqual(effectsOf(state, { kind: 'destroyed' }), ['sign-departed']);
  });

  it('goes on without staged: libvirt’s outcome decides', () => {
    assert.equal(stepSource(after(toOffered), { kind: 'arrival-verified' }).state.tag, 'destroying');
  });

  it('opens itself and waits for the target’s hello', () => {
    const sent = stepSource(sourceStart, { kind: 'open', own });
    assert.equal(sent.state.tag, 'hello-sent');
    assert.equal(stepSource(sent.state, { kind: 'message', message: peer }).state.tag, 'greeted');
  });

  it('commits only after the target was accepted', () => {
    const appraising = after([...toGreeted, { kind: 'message', message: evidence }]);
    assert.throws(() => stepSource(appraising, { kind: 'signed', offer, head }), ProtocolViolation);
    assert.deepEqual(effectsOf(appraising, { kind: 'accepted', trusted }), ['commit']);
    assert.deepEqual(effectsOf(appraising, { kind: 'refuse', hint: null }), ['send refused']);
  });

  const refused = { kind: 'refused', session, hint: null } as const;

  it('signs aborted on the target’s word alone, and asks for it again', () => {
    const aborting = stepSource(after(toOffered), { kind: 'stayed' });
    assert.equal(aborting.state.tag, 'aborting');
    assert.deepEqual(aborting.effects, [{ do: 'send', message: abort }]);
    assert.deepEqual(effectsOf(aborting.state, { kind: 'stayed' }), ['send abort']);
    const told = stepSource(aborting.state, { kind: 'message', message: aborted });
    assert.deepEqual(told, { state: aborting.state, effects: [{ do: 'verify-disclaimer', aborted }] });
    const verified = stepSource(aborting.state, { kind: 'disclaimer-verified' });
    assert.deepEqual(verified, { state: { tag: 'aborted', session }, effects: [{ do: 'sign-aborted' }] });
  });

  it('takes nothing that the target has not signed for its word', () => {
    const offered = after(toOffered);
    const staged = stepSource(offered, { kind: 'message', message: { kind: 'staged', session, head } }).state;
    const aborting = stepSource(offered, { kind: 'stayed' }).state;
    for (const state of [offered, staged, aborting]) {
      assert.deepEqual(stepSource(state, { kind: 'message', message: refused }), { state, effects: [] });
      const told = stepSource(state, { kind: 'message', message: aborted });
      assert.deepEqual(told, { state, effects: [{ do: 'verify-disclaimer', aborted }] });
    }
    assert.throws(() => stepSource(after(toGreeted), { kind: 'disclaimer-verified' }), ProtocolViolation);
  });

  it('takes arrived instead of aborted: the VM went after all', () => {
    const { state } = stepSource(after(toOffered), { kind: 'stayed' });
    assert.deepEqual(effectsOf(state, { kind: 'arrival-verified' }), ['destroy-copy']);
  });

  it('takes arrived again, of its own session, while departed is on its way, and nothing else then', () => {
    const destroying = stepSource(after(toOffered), { kind: 'arrival-verified' }).state;
    const departed = stepSource(destroying, { kind: 'destroyed' }).state;
    const again = { kind: 'arrived', session, entry, certificates: [], policies: [] } as const;
    for (const state of [destroying, departed]) {
      assert.deepEqual(stepSource(state, { kind: 'message', message: again }), { state, effects: [] });
      for (const message of [foreign(again), aborted, refused, { kind: 'staged', session, head } as const])
        assert.throws(
          () => stepSource(state, { kind: 'message', message }),
          ProtocolViolation,
          `${message.kind} in ${state.tag}`,
        );
    }
  });

  it('does not take the target’s disclaimer for libvirt’s outcome', () => {
    const step = stepSource(after(toOffered), { kind: 'disclaimer-verified' });
    assert.deepEqual(step, { state: { tag: 'declined', session }, effects: [{ do: 'check-outcome' }] });
    for (const message of [refused, aborted])
      assert.deepEqual(effectsOf(step.state, { kind: 'message', message }), []);
    assert.deepEqual(effectsOf(step.state, { kind: 'stayed' }), ['sign-aborted']);
    assert.throws(() => stepSource(step.state, { kind: 'arrival-verified' }), ProtocolViolation);
  });

  it('ends in refused on failure before the offer, and stays committed after it', () => {
    assert.equal(stepSource(after(toGreeted), { kind: 'failed' }).state.tag, 'refused');
    assert.equal(stepSource(after(toOffered), { kind: 'failed' }).state.tag, 'offered');
    assert.equal(stepSource(after(toOffered), { kind: 'refuse', hint: null }).state.tag, 'offered');
  });

  it('refuses a hello of its own role, of another VM, with its own nonce, of its own host', () => {
    const cases = [
      hello('target', { role: 'source' }),
      hello('target', { vm: '00000000-0000-0000-0000-000000000000' }),
      hello('target', { nonce: own.nonce }),
      hello('target', { host: own.host }),
      foreign(hello('target')),
    ];
    for (const wrong of cases) {
      assert.throws(() => stepSource(sourceStart, { kind: 'answer', own, peer: wrong }), ProtocolViolation);
    }
  });

  it('takes the target’s refusal before the offer as the end, of its own session alone', () => {
    const greeted = after(toGreeted);
    assert.deepEqual(stepSource(greeted, { kind: 'message', message: refused }), {
      state: { tag: 'refused', session },
      effects: [],
    });
    assert.throws(
      () => stepSource(greeted, { kind: 'message', message: foreign(refused) }),
      ProtocolViolation,
    );
  });

  it('refuses messages of another session in every state', () => {
    const greeted = after(toGreeted);
    assert.throws(
      () => stepSource(greeted, { kind: 'message', message: foreign(evidence) }),
      ProtocolViolation,
    );
    const offered = after(toOffered);
    const aborting = stepSource(offered, { kind: 'stayed' }).state;
    const declined = stepSource(offered, { kind: 'disclaimer-verified' }).state;
    assert.deepEqual([aborting.tag, declined.tag], ['aborting', 'declined']);
    for (const state of [offered, aborting, declined])
      for (const message of [{ kind: 'staged', session, head } as const, aborted, refused])
        assert.throws(
          () => stepSource(state, { kind: 'message', message: foreign(message) }),
          ProtocolViolation,
          `${message.kind} in ${state.tag}`,
        );
  });

  it('refuses staged for another head', () => {
    const message = { kind: 'staged', session, head: bytes(32) } as const;
    assert.throws(() => stepSource(after(toOffered), { kind: 'message', message }), ProtocolViolation);
  });

  it('refuses every message out of its turn', () => {
    const messages = [peer, evidence, offer, { kind: 'staged', session, head } as const];
    const places: readonly (readonly [SourceState, string])[] = [
      [sourceStart, ''],
      [after(toGreeted), 'evidence'],
      [after(toOffered), 'staged'],
    ];
    for (const [state, allowed] of places) {
      for (const message of messages.filter(({ kind }) => kind !== allowed)) {
        assert.throws(
          () => stepSource(state, { kind: 'message', message }),
          ProtocolViolation,
          `${state.tag} ${message.kind}`,
        );
      }
    }
  });

  const offered = after(toOffered);
  const aborting = stepSource(offered, { kind: 'stayed' }).state;
  for (const state of [offered, aborting]) {
    it(`lets an administrator keep or give up what is ${state.tag} (SPEC 6.9)`, () => {
      const kept = stepSource(state, { kind: 'keep' });
      assert.deepEqual([kept.state.tag, kept.effects], ['resolved', [{ do: 'sign-resolved' }]]);
      const given = stepSource(state, { kind: 'give-up' });
      assert.deepEqual([given.state.tag, given.effects], ['giving-up', [{ do: 'give-up' }]]);
      assert.deepEqual(stepSource(given.state, { kind: 'message', message: aborted }), {
        state: given.state,
        effects: [],
      });
      assert.equal(stepSource(given.state, { kind: 'destroyed' }).state.tag, 'given-up');
    });
  }

  it('gives up what was kept, where both hosts have it, and believes no message after it', () => {
    const kept = stepSource(offered, { kind: 'keep' }).state;
    assert.equal(stepSource(kept, { kind: 'give-up' }).state.tag, 'giving-up');
    for (const message of [aborted, abort])
      assert.throws(() => stepSource(kept, { kind: 'message', message }), ProtocolViolation);
    assert.throws(() => stepSource(kept, { kind: 'stayed' }), ProtocolViolation);
  });

  it('has nothing for an administrator to state before the offer, after the end, or while the target has declined', () => {
    const declined = stepSource(offered, { kind: 'disclaimer-verified' }).state;
    const destroying = stepSource(offered, { kind: 'arrival-verified' }).state;
    assert.deepEqual([declined.tag, destroying.tag], ['declined', 'destroying']);
    for (const state of [sourceStart, after(toGreeted), declined, destroying]) {
      for (const kind of ['keep', 'give-up'] as const)
        assert.throws(() => stepSource(state, { kind }), ProtocolViolation, `${state.tag} ${kind}`);
    }
  });
});
