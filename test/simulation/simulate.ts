/** `npm run simulate`: many runs, each from its seed; stops at the first that violates an invariant, and makes it short. */
import { parseArgs } from 'node:util';
import { Coverage } from './coverage.ts';
import { planOf, run } from './scenario.ts';
import type { Observer, Plan } from './scenario.ts';
import { shrink } from './shrink.ts';

const help = `npm run simulate -- [--migrations N] [--runs N] [--seed S] [--actions N] [--json] [--log]

Runs the shipped protocol, migration and recovery code on simulated hosts, in virtual time, with faults, and checks the invariants of
SPEC 6.8 at every step. Each run comes from a seed; SEED=S (or --seed S --runs 1) has one again.

  --migrations N  go on until N hand-overs were completed (default: not asked for)
  --runs N        runs to make (default 100; without bound with --migrations)
  --seed S        the first seed (default: the environment's SEED, else 1)
  --actions N     actions per run (default 40)
  --log           print what each host's agent logs (for one run)
  --json          the result as one JSON object on the last line

Exit codes: 0 nothing was violated, 1 something was: its seed and its shortest plan are printed.
`;

const { values } = parseArgs({
  options: {
    migrations: { type: 'string' },
    runs: { type: 'string' },
    seed: { type: 'string' },
    actions: { type: 'string', default: '40' },
    log: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const seed = Number(values.seed ?? process.env['SEED'] ?? 1);
  const wanted = Number(values.migrations ?? 0);
  const one = process.env['SEED'] !== undefined && values.seed === undefined && values.runs === undefined;
  const runs = Number(values.runs ?? (one ? 1 : wanted > 0 ? Infinity : 100));
  const coverage = new Coverage();
  const done = { runs: 0, migrations: 0, attempts: 0, doubled: 0, virtualMs: 0 };
  const began = performance.now();
  let said = began;
  while (done.runs < runs && (wanted === 0 || done.migrations < wanted)) {
    const plan = planOf(seed + done.runs, { actions: Number(values.actions) });
    try {
      const outcome = await run(plan, observer(coverage));
      done.migrations += outcome.migrations;
      done.attempts += outcome.attempts;
      done.doubled += outcome.doubled;
      done.virtualMs += outcome.virtualMs;
    } catch (error) {
      return await report(plan, error);
    }
    done.runs += 1;
    if (performance.now() > said + 10_000) {
      said = performance.now();
      process.stderr.write(`${done.runs} runs, ${done.migrations} hand-overs\n`);
    }
  }
  const seconds = (performance.now() - began) / 1000;
  process.stdout.write(
    `${done.runs} runs: ${done.migrations} hand-overs of ${done.attempts} attempts, ${(done.virtualMs / 3_600_000).toFixed(1)} hours of virtual time in ` +
      `${seconds.toFixed(0)} s; nothing violated\n${coverage.table()}\n`,
  );
  if (values.json)
    process.stdout.write(`${JSON.stringify({ ...done, seconds, unvisited: coverage.unvisited() })}\n`);
  return 0;
}

function observer(coverage: Coverage): Observer {
  return {
    log: (host, level, fields, message, time) => {
      coverage.note(fields);
      if (values.log)
        process.stdout.write(
          `${(time / 1000).toFixed(3)} ${host} ${level} ${message} ${JSON.stringify(fields)}\n`,
        );
    },
    ...(values.log
      ? {
          action: (action, time) =>
            void process.stdout.write(`${(time / 1000).toFixed(3)} ACTION ${JSON.stringify(action)}\n`),
        }
      : {}),
  };
}

async function report(plan: Plan, error: unknown): Promise<number> {
  process.stdout.write(`seed ${plan.seed}: ${error instanceof Error ? error.message : String(error)}\n`);
  process.stdout.write('making it short ...\n');
  const kind = invariantOf(error);
  const shortest = await shrink(plan, async (shorter) =>
    run(shorter).then(
      () => false,
      (other: unknown) => invariantOf(other) === kind,
    ),
  );
  process.stdout.write(`${shortest.actions.length} of ${plan.actions.length} actions are enough:\n`);
  for (const action of shortest.actions) process.stdout.write(`  ${JSON.stringify(action)}\n`);
  process.stdout.write(`again: SEED=${plan.seed} npm run simulate -- --log\n`);
  if (values.json)
    process.stdout.write(`${JSON.stringify({ failed: plan.seed, invariant: kind, plan: shortest })}\n`);
  return 1;
}

function invariantOf(error: unknown): string {
  return error instanceof Error && 'invariant' in error ? String(error.invariant) : 'fault';
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(3);
  },
);
