/** `npm run simulate`: many runs, each from its seed; a seed that violates an invariant is made short. */
import { parseArgs } from 'node:util';
import type { Coverage } from './coverage.ts';
import { planOf } from './plan.ts';
import type { Plan } from './plan.ts';
import { Report } from './report.ts';
import { run } from './scenario.ts';
import type { Observer } from './scenario.ts';
import { shrink } from './shrink.ts';

const help = `npm run simulate -- [--migrations N] [--runs N] [--from-seed S] [--actions N] [--report FILE] [--json] [--log]

Runs the shipped protocol, migration and recovery code on simulated hosts, in virtual time, with faults, and checks the invariants of
SPEC 6.8 at every step. Each run comes from a seed; SEED=S (or --from-seed S --runs 1) has one again, with the same --actions.

  --migrations N   go on until N hand-overs were completed (default: not asked for)
  --runs N         runs to make (default 100; without bound with --migrations or --seconds)
  --seconds N      begin no run after N seconds
  --from-seed S    the first seed (default: the environment's SEED, else 1; a report goes on where it ends)
  --actions N      actions per run (default 60; a report goes on with its own)
  --report FILE    go on from this file, and keep it up to date; processes with distinct seeds and files run side by side
  --joined FILE... print several reports as one, and run nothing
  --keep-going     after a violation too: its seed is noted, and not made short
  --log            print what each host's agent logs (for one run)
  --json           the result as one JSON object on the last line

Exit codes: 0 nothing was violated, 1 something was: its seed and its shortest plan are printed.
`;

const { values, positionals } = parseArgs({
  options: {
    migrations: { type: 'string' },
    runs: { type: 'string' },
    seconds: { type: 'string' },
    'from-seed': { type: 'string' },
    actions: { type: 'string', default: '60' },
    report: { type: 'string' },
    joined: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
    log: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  if (values.joined) return conclude(Report.joined(positionals));
  const env = process.env['SEED'];
  const given = values['from-seed'] ?? env;
  const begin = { from: Number(given ?? 1), actions: Number(values.actions) };
  const report = Report.of(values.report, begin);
  const bounded = values.migrations !== undefined || values.seconds !== undefined;
  const single = env !== undefined && values['from-seed'] === undefined;
  const runs = Number(values.runs ?? (single ? 1 : bounded ? Infinity : 100));
  const migrations = Number(values.migrations ?? Infinity);
  const until = performance.now() + 1_000 * Number(values.seconds ?? Infinity);
  // Most errors here are simulated faults, and nobody reads where they were made.
  if (!values.log) Error.stackTraceLimit = 0;
  let said = performance.now();
  for (
    let made = 0;
    made < runs && report.sums.migrations < migrations && performance.now() < until;
    made += 1
  ) {
    const plan = planOf(report.next, report);
    const failure = await once(plan, report);
    if (failure !== null) {
      process.stdout.write(`seed ${plan.seed}: ${failure}\n`);
      if (!values['keep-going']) return shorten(plan, failure);
    }
    if (performance.now() < said + 10_000) continue;
    said = performance.now();
    process.stderr.write(`${report.line}\n`);
    if (values.report !== undefined) report.write(values.report);
  }
  if (values.report !== undefined) report.write(values.report);
  return conclude(report);
}

/** Runs one plan; null where nothing was violated. */
async function once(plan: Plan, report: Report): Promise<string | null> {
  const before = process.cpuUsage();
  const cpuSeconds = (): number => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000_000;
  };
  try {
    report.add(plan.seed, await run(plan, observer(report.coverage, plan.seed)), cpuSeconds());
    return null;
  } catch (error) {
    report.add(plan.seed, null, cpuSeconds());
    return error instanceof Error ? error.message : String(error);
  }
}

function conclude(report: Report): number {
  const unvisited = report.coverage.unvisited();
  process.stdout.write(`${report.line}\n${report.coverage.table()}\n`);
  process.stdout.write(
    unvisited.length === 0 ? 'every row was visited\n' : `${unvisited.length} rows were not visited\n`,
  );
  if (values.json) {
    const { from, next, failed, sums } = report;
    process.stdout.write(`${JSON.stringify({ from, next, failed, ...sums, unvisited })}\n`);
  }
  return report.failed.length === 0 ? 0 : 1;
}

function observer(coverage: Coverage, seed: number): Observer {
  return {
    log: (host, level, fields, message, time) => {
      coverage.note(fields, seed);
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

async function shorten(plan: Plan, failure: string): Promise<number> {
  process.stdout.write('making it short ...\n');
  const kind = invariantOf(failure);
  const shortest = await shrink(plan, async (shorter) =>
    run(shorter).then(
      () => false,
      (error: unknown) => invariantOf(error instanceof Error ? error.message : String(error)) === kind,
    ),
  );
  process.stdout.write(`${shortest.actions.length} of ${plan.actions.length} actions are enough:\n`);
  for (const action of shortest.actions) process.stdout.write(`  ${JSON.stringify(action)}\n`);
  process.stdout.write(
    `again: SEED=${plan.seed} npm run simulate -- --actions ${plan.actions.length} --log\n`,
  );
  if (values.json)
    process.stdout.write(`${JSON.stringify({ failed: plan.seed, invariant: kind, plan: shortest })}\n`);
  return 1;
}

/** A violation begins with the name of what it violates; everything else is a fault of the simulation's own. */
function invariantOf(message: string): string {
  return /^[a-z-]+(?=: )/.exec(message)?.[0] ?? 'fault';
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(3);
  },
);
