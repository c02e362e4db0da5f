import { strict as assert } from 'node:assert';
import { OPEN_HANDOVERS_MAX, stepChain } from '../../../lib/proof/chain.ts';
import type { ChainState } from '../../../lib/proof/chain.ts';
import { summaryDigest } from '../../../lib/proof/checkpoint.ts';
import { decodeEntry, entryHash } from '../../../lib/proof/entry.ts';
import type { Entry, SignedEntry } from '../../../lib/proof/entry.ts';
import { transitions } from '../../../lib/proof/life-cycle.ts';
import type { ChainKind, LifeState } from '../../../lib/proof/life-cycle.ts';
import { ChainBuilder, freshSession, makeWorld } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';

const replay = (signed: readonly SignedEntry[]): ChainState =>
  signed.reduce<ChainState | null>(
    (state, { entry }) => stepChain(state, decodeEntry(entry), entryHash(entry)),
    null,
  )!;

/** Entries that lead to each state. */
const ways: Readonly<Record<LifeState, (c: ChainBuilder) => ChainBuilder>> = {
  stopped: (c) => c.live('created'),
  running: (c) => c.live('created', 'started'),
  paused: (c) => c.live('created', 'started', 'suspended'),
  saved: (c) => c.live('created', 'started', 'saved'),
  departing: (c) => c.live('created', 'started').departing(c.world.beta),
  destroyed: (c) => c.live('created', 'destroyed'),
};

describe('the chain', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });

  /** An entry of this kind with all the members that it needs. */
  const next = (c: ChainBuilder, kind: ChainKind): Entry => {
    const { state } = replay(c.entries);
    const { session } = c;
    const verdict = freshSession();
    if (kind === 'departing') return c.draft(kind, { peer: world.gamma.id, session, verdict });
    if (kind === 'checkpoint')
      return c.draft(kind, {
        verdict: state === 'departing' || state === 'destroyed' ? verdict : summaryDigest(c.summary()),
      });
    if (kind === 'adopted' || kind === 'bound' || kind === 'quarantined') return c.draft(kind, { verdict });
    if (kind === 'aborted') return c.draft(kind, { session });
    if (kind === 'resolved') return c.draft(kind, { session, peer: world.beta.id });
    const there = { epoch: c.epoch + 1, host: world.beta.id, peer: c.holder.id, verdict };
    if (kind === 'recovered') return c.draft(kind, there);
    if (kind !== 'arrived') return c.draft(kind);
    return c.draft(kind, { ...there, session });
  };

  for (const [state, lead] of Object.entries(ways) as [LifeState, (c: ChainBuilder) => ChainBuilder][]) {
    for (const [kind, row] of Object.entries(transitions) as [ChainKind, (typeof transitions)[ChainKind]][]) {
      const allowed = row.from.includes(state);
      it(`${allowed ? 'allows' : 'refuses'} ${kind} of a VM that is ${state}`, () => {
        const c = lead(new ChainBuilder(world));
        if (allowed && kind === 'released') c.add('quarantined', { verdict: freshSession() });
        const head = replay(c.entries);
        assert.equal(head.state, state);
        const step = (): ChainState => stepChain(head, next(c, kind), freshSession());
        const after = { 'as-departed': 'running', same: state } as const;
        const { to } = row;
        if (allowed) assert.equal(step().state, to === 'as-departed' || to === 'same' ? after[to] : to);
        else assert.throws(step, { check: 'life-cycle' });
      });
    }
  }

  it('keeps a state of bounded size however many old holders were never heard of again', () => {
    const c = new ChainBuilder(world).live('created', 'started');
    for (let n = 0; n < OPEN_HANDOVERS_MAX + 5; n += 1) {
      const to = c.holder === world.alpha ? world.beta : world.alpha;
      c.departing(to).arrived(to);
    }
    const { handovers, epoch } = replay(c.entries);
    assert.equal(handovers.length, OPEN_HANDOVERS_MAX);
    assert.equal(handovers.at(-1)?.epoch, epoch - 1);
  });

  it('leaves the state as it was when a step fails', () => {
    const c = ways.running(new ChainBuilder(world));
    const head = replay(c.entries);
    const before = structuredClone(head);
    assert.throws(() => stepChain(head, next(c, 'resumed'), freshSession()));
    assert.deepEqual(head, before);
  });
});
