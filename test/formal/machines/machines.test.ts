/** Every reachable state of the two shipped state machines, joined by a faulty channel and stores that crash (SPEC 6.8). */
import assert from 'node:assert/strict';
import type { Message } from '../../../lib/protocol/messages.ts';
import { stepSource } from '../../../lib/protocol/source.ts';
import { stepTarget } from '../../../lib/protocol/target.ts';
import { session } from '../../unit/protocol/session-world.ts';
import { shipped } from './rules.ts';
import type { Rules } from './rules.ts';
import { search } from './search.ts';
import type { Property } from './search.ts';
import { keyOf } from './world.ts';

/** What comes of a message whose session number nobody looks at. */
function taken<Input extends { readonly kind: string }>(input: Input): Input {
  const { message } = input as { message?: Message };
  return message === undefined ? input : { ...input, message: { ...message, session } };
}

const mutants: readonly {
  readonly without: string;
  readonly rules: Partial<Rules>;
  readonly breaks: Property;
}[] = [
  {
    without: 'the target’s word before aborted is signed',
    rules: {
      stepSource: (state, input) =>
        input.kind === 'stayed' && (state.tag === 'offered' || state.tag === 'staged')
          ? { state: { tag: 'aborted', session }, effects: [{ do: 'sign-aborted' }] }
          : stepSource(state, input),
    },
    breaks: 'two runnable',
  },
  {
    without: 'the target’s signature under aborted',
    rules: {
      stepSource: (state, input) => {
        const step = stepSource(state, input);
        const unverified = step.effects.some((effect) => effect.do === 'verify-disclaimer');
        return unverified ? stepSource(state, { kind: 'disclaimer-verified' }) : step;
      },
    },
    breaks: 'two runnable',
  },
  {
    without: 'the staged copy on disk before it is acknowledged',
    rules: { stagesDurably: false },
    breaks: 'current lost',
  },
  {
    without: 'a look at libvirt before the target gives up',
    rules: {
      stepTarget: (state, input) =>
        state.tag === 'staged' && input.kind === 'lost'
          ? stepTarget(state, { kind: 'not-incoming' })
          : stepTarget(state, input),
    },
    breaks: 'current lost',
  },
  {
    without: 'the session number of every message',
    rules: {
      stepSource: (state, input) => stepSource(state, taken(input)),
      stepTarget: (state, input) => stepTarget(state, taken(input)),
    },
    breaks: 'two runnable',
  },
  { without: 'the definition that libvirt left', rules: { definitionCounts: false }, breaks: 'current lost' },
  {
    without: 'one durable write of departing and session',
    rules: { commitsAtOnce: false },
    breaks: 'no good end',
  },
  { without: 'the sweep at start', rules: { sweeps: false }, breaks: 'no good end' },
  {
    without: 'libvirt’s word before arrived is believed',
    rules: { asksLibvirt: false },
    breaks: 'copy destroyed while it runs',
  },
  { without: 'taking left keys out of libvirt', rules: { forgetsLeftKeys: false }, breaks: 'no good end' },
  { without: 'saying it again', rules: { repeats: false }, breaks: 'no good end' },
];

describe('the shipped state machines, every reachable state', function () {
  this.timeout(600_000);

  it('hold one runnable copy, one chain, the current state and a way to a good end, whatever two faults do', () => {
    const { states, violated } = search(shipped, 2);
    console.log(`      ${states.toLocaleString('en-US')} states with two faults`);
    assert.equal(violated && `${violated.property}: ${keyOf(violated.world)}`, null);
    assert.ok(states > 100_000);
  });

  for (const { without, rules, breaks } of mutants)
    it(`do not without ${without}: ${breaks}`, () => {
      assert.equal(search({ ...shipped, ...rules }, 1).violated?.property, breaks);
    });
});
