import assert from 'node:assert/strict';
import { Coverage } from './coverage.ts';
import { planOf } from './plan.ts';
import { run } from './scenario.ts';
import type { Observer } from './scenario.ts';
import { shrink } from './shrink.ts';
import { found } from './seeds.ts';
import { transitions, unreachable } from './transitions.ts';

const actions = 200;
const runs = 16;

describe('simulation of hosts, migrations and faults', function () {
  this.timeout(300_000);
  const coverage = new Coverage();
  const observing = (seed: number): Observer => ({
    log: (_host, _level, fields) => {
      coverage.note(fields, seed);
    },
  });

  it('violates no invariant in any of these runs', async () => {
    let migrations = 0;
    for (let seed = 1; seed <= runs; seed += 1) {
      const outcome = await run(planOf(seed, { actions }), observing(seed)).catch((error: unknown) => {
        throw new Error(
          `seed ${seed} (SEED=${seed} npm run simulate -- --actions ${actions}): ${String(error)}`,
        );
      });
      migrations += outcome.migrations;
    }
    assert.ok(migrations > 5 * runs, `${migrations} hand-overs`);
  });

  for (const { seed, actions: count, what } of found) {
    it(`violates nothing where it once found this: ${what}`, async () => {
      await run(planOf(seed, { actions: count }), observing(seed));
    });
  }

  it('goes through most rows of both state machines', () => {
    const unvisited = coverage.unvisited();
    const reachable = transitions.length - unreachable.size;
    assert.ok(unvisited.length < 0.25 * reachable, `unvisited: ${unvisited.join('; ')}`);
  });

  it('and through none that the driver is said never to make', () => {
    assert.deepEqual(
      [...unreachable.keys()].filter((row) => !transitions.includes(row)),
      [],
    );
    assert.deepEqual(
      [...unreachable.keys()].filter((row) => coverage.count(row) > 0),
      [],
    );
  });

  it('sees a VM that runs twice where neither hook nor key hold a copy back, and makes the run that shows it short', async () => {
    const sabotage: Observer = {
      sabotage: (hosts) => {
        for (const { machine } of hosts) machine.unlocked = true;
      },
    };
    const violates = (plan: ReturnType<typeof planOf>): Promise<string | null> =>
      run(plan, sabotage).then(
        () => null,
        (error: unknown) => (error as { invariant?: string }).invariant ?? null,
      );
    let plan = planOf(1, { actions });
    for (let seed = 1; (await violates(plan)) !== 'one-runs'; seed += 1) {
      assert.ok(seed < 60, 'no run shows it');
      plan = planOf(seed, { actions });
    }
    const shortest = await shrink(plan, async (shorter) => (await violates(shorter)) === 'one-runs');
    assert.ok(shortest.actions.length < 8, `${shortest.actions.length} actions`);
  });

  it('does the same again for the same seed, also with the shipped journal and codec', async () => {
    for (const seed of [3, 8]) {
      const plan = planOf(seed, { actions });
      assert.deepEqual(await run(plan), await run(plan));
    }
  });
});
