/**
 * `npm run fuzz -- [TARGET...] [--seconds N] [--executions N] [--seed S] [--json] [--keep] [--ci] [--hang-seconds N] [--list]`
 *
 * Fuzzes each target for so long (60 s unless told), or for so many executions (`--ci`: the target's own number). What it finds goes to
 * .cache/fuzz/found, what it learns to .cache/fuzz, where the next run takes it up; `--keep` writes the smallest inputs that reach everything
 * into test/fuzz/corpus. `--ci` neither reads nor writes any of it. An input that takes longer than --hang-seconds (60) is a finding. Exit codes: 0 nothing found, 1 something found, 2 usage.
 */
import { parseArgs } from 'node:util';
import { campaign } from './campaign.ts';
import type { Outcome, Plan } from './campaign.ts';
import { buildNative, keepNative, nativeCampaign, nativeTargets } from './native.ts';
import type { NativeTarget } from './native.ts';
import { keepSmallest, saveFinding, saveLearnt } from './save.ts';
import type { Target } from './target.ts';
import { canaries } from './targets/canary.ts';
import { targets } from './targets.ts';

const SECONDS = 60;
/** One execution takes milliseconds; one that takes so long on the busiest machine does not end. */
const HANG_SECONDS = 60;
const USAGE =
  'npm run fuzz -- [TARGET...] [--seconds N] [--executions N] [--seed S] [--json] [--keep] [--ci] [--hang-seconds N] [--list]';

function usage(text: string): never {
  process.stderr.write(`fuzz: ${text}; ${USAGE}\n`);
  process.exit(2);
}

function numberOf(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) && number >= 0 ? number : usage(`--${name} wants a number`);
}

function parse() {
  const options = {
    seconds: { type: 'string' },
    executions: { type: 'string' },
    seed: { type: 'string' },
    json: { type: 'boolean' },
    keep: { type: 'boolean' },
    ci: { type: 'boolean' },
    'hang-seconds': { type: 'string' },
    list: { type: 'boolean' },
  } as const;
  try {
    return parseArgs({ allowPositionals: true, options });
  } catch (error) {
    return usage((error as Error).message);
  }
}

/** A line that is written over on a terminal, and one at the end elsewhere. */
function tell(outcome: Outcome, end: boolean): void {
  if (!end && !process.stderr.isTTY) return;
  const { target, executions, accepted, blocks, corpus, findings } = outcome;
  const found = findings.length === 0 ? 'nothing found' : `${findings.length} FOUND`;
  const text = `${target.padEnd(20)} ${executions} executions, ${accepted} accepted, ${blocks} blocks, ${corpus} inputs: ${found}`;
  process.stderr.write(process.stderr.isTTY ? `\r${text}\x1b[K${end ? '\n' : ''}` : `${text}\n`);
}

async function fuzz(target: Target | NativeTarget, plan: Plan, keep: boolean): Promise<Outcome> {
  const outcome =
    'run' in target
      ? await campaign(target, plan, (now) => {
          tell(now, false);
        })
      : await nativeCampaign(target, plan);
  tell(outcome, true);
  for (const finding of outcome.findings) {
    const place = plan.fresh ? '' : `\n  input: ${saveFinding(finding)}`;
    process.stderr.write(`${finding.stack || finding.message}${place}\n`);
  }
  if ('run' in target) {
    if (!plan.fresh) saveLearnt(target, outcome.kept);
    if (keep) await keepSmallest(target);
  } else if (keep) await keepNative(target);
  return outcome;
}

function jsonOf({ kept, findings, ...rest }: Outcome): unknown {
  const inputs = findings.map(({ message, input }) => ({
    message,
    input: Buffer.from(input).toString('base64'),
  }));
  return { ...rest, kept: kept.length, findings: inputs };
}

async function main(): Promise<number> {
  const { values, positionals } = parse();
  const known = [...targets, ...nativeTargets, ...canaries];
  const unknown = positionals.find((name) => !known.some((target) => target.name === name));
  if (unknown !== undefined) usage(`no target ${unknown}`);
  if (values.list === true) {
    for (const { name, about } of [...targets, ...nativeTargets])
      process.stdout.write(`${name.padEnd(20)} ${about}\n`);
    return 0;
  }
  const chosen = known.filter((target) =>
    positionals.length === 0
      ? !canaries.some(({ name }) => name === target.name)
      : positionals.includes(target.name),
  );
  if (chosen.some((target) => !('run' in target))) buildNative();
  const executions = numberOf(values.executions, 'executions');
  const seconds = numberOf(values.seconds, 'seconds');
  const seed = numberOf(values.seed, 'seed') ?? 1;
  const hangSeconds = numberOf(values['hang-seconds'], 'hang-seconds') ?? HANG_SECONDS;
  const fresh = values.ci === true;
  const outcomes: Outcome[] = [];
  for (const target of chosen) {
    const most = executions ?? (fresh ? target.executions : Infinity);
    const duration = seconds ?? (most === Infinity ? SECONDS : Infinity);
    const plan = { executions: most, seconds: duration, seed, fresh, hangSeconds };
    outcomes.push(await fuzz(target, plan, values.keep === true));
  }
  if (values.json === true) process.stdout.write(`${JSON.stringify(outcomes.map(jsonOf))}\n`);
  return outcomes.some(({ findings }) => findings.length > 0) ? 1 : 0;
}

process.exitCode = await main();
