import assert from 'node:assert/strict';
import { Coverage, transitions } from './coverage.ts';
import { planOf, run } from './scenario.ts';
import { shrink } from './shrink.ts';

/** Runs that found something, each with what it was; the code has changed since, so they are further seeds rather than the same runs. */
const found: readonly [number, string][] = [
  [3, 'a connection over which nothing came any more kept arrived from being said again'],
  [11, 'the ledger heard of an arrival before its source did, which took that for a contradiction'],
  [29, 'a departed that nobody had heard yet was forgotten when the VM came back'],
  [68, 'a refusal that a full disk kept out of the journal left the source waiting for ever'],
  [
    77,
    'a VM that came, and stopped before the agent saw it run, was taken for one that never came: its vTPM was thrown away',
  ],
  [213, 'a key that a killed agent had given to libvirt for a start stayed there'],
];

const actions = 40;

describe('simulation of hosts, migrations and faults', function () {
  this.timeout(300_000);
  const coverage = new Coverage();
  const observer = {
    log: (_host: string, _level: string, fields: object): void => {
      coverage.note(fields);
    },
  };

  it('violates no invariant in any of these runs', async () => {
    let migrations = 0;
    for (let seed = 1; seed <= 80; seed += 1) {
      const outcome = await run(planOf(seed, { actions }), observer).catch((error: unknown) => {
        throw new Error(`seed ${seed} (SEED=${seed} npm run simulate): ${String(error)}`);
      });
      migrations += outcome.migrations;
    }
    assert.ok(migrations > 30, `${migrations} hand-overs`);
  });

  for (const [seed, what] of found) {
    it(`violates nothing where it once found this: ${what}`, async () => {
      await run(planOf(seed, { actions }), observer);
    });
  }

  it('goes through most rows of both state machines', () => {
    const visited = transitions.length - coverage.unvisited().length;
    assert.ok(visited > 0.75 * transitions.length, `unvisited: ${coverage.unvisited().join('; ')}`);
  });

  it('sees a VM that runs twice where neither hook nor key hold a copy back, and makes the run that shows it short', async () => {
    const sabotage = {
      sabotage: (hosts: readonly { machine: { unlocked: boolean } }[]): void => {
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
      assert.ok(seed < 40, 'no run shows it');
      plan = planOf(seed, { actions });
    }
    const shortest = await shrink(plan, async (shorter) => (await violates(shorter)) === 'one-runs');
    assert.ok(shortest.actions.length < 8, `${shortest.actions.length} actions`);
  });

  it('does the same again for the same seed', async () => {
    const plan = planOf(3, { actions });
    assert.deepEqual(await run(plan), await run(plan));
  });
});
