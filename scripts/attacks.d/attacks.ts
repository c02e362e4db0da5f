/** Runs every test that the attack catalogue names, and prints attack, defence and outcome. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Attack } from '../../test/attacks/catalogue/attack.ts';
import { attacks } from '../../test/attacks/catalogue/catalogue.ts';
import { indexPage, withDimensionTable } from '../../test/attacks/catalogue/page.ts';
import { runMocha } from '../test.d/mocha.ts';
import type { TestResult } from '../test.d/mocha.ts';
import { optionsOf } from '../test.d/options.ts';
import { tableText } from '../test.d/table.ts';

type Outcome = 'holds' | 'FAILED' | 'NOT RUN' | 'not defended' | 'out of scope';

const columns = [
  { head: 'Row', width: 3 },
  { head: 'Attack', width: 44 },
  { head: 'Defence', width: 58 },
  { head: 'Outcome', width: 22 },
] as const;

/** Suites that share a lab run together, the others apart: one lab at a time. */
const groups = [
  { name: 'on the lab', holds: (file: string) => file.startsWith('test/attacks/'), timeoutMs: 180_000 },
  {
    name: 'on the real code',
    holds: (file: string) => !/^test\/(?:attacks|system)\//.test(file),
    timeoutMs: 60_000,
  },
  {
    name: 'on labs of their own',
    holds: (file: string) => file.startsWith('test/system/'),
    timeoutMs: 180_000,
  },
] as const;

const usage = `usage: npm run attacks [-- --row N] | npm run attacks -- --write
  Runs every test that the attack catalogue names, and prints attack, defence and outcome. As root.
  --row N   the attacks of one row alone; may be said again
  --write   writes test/attacks/README.md and the index in SECURITY.md anew, and runs nothing
`;
const values = optionsOf(usage, {
  row: { type: 'string', multiple: true },
  write: { type: 'boolean', default: false },
});
if (values.write) write();
else process.exitCode = await attack(values.row?.map(Number));

function write(): void {
  writeFileSync('test/attacks/README.md', indexPage());
  writeFileSync('SECURITY.md', withDimensionTable(readFileSync('SECURITY.md', 'utf8')));
}

/** Exit code: 0 when every test that is named was run and passed, and so did the others of the attack suite. */
async function attack(rows: readonly number[] | undefined): Promise<number> {
  const chosen = attacks.filter(({ row }) => rows === undefined || rows.includes(row));
  if (chosen.length === 0) {
    process.stderr.write('attacks: no such row\n');
    return 2;
  }
  const named = chosen.flatMap(({ tests }) => tests);
  const results: TestResult[] = [];
  for (const { name, holds, timeoutMs } of groups) {
    const here = named.filter(({ file }) => holds(file));
    if (here.length === 0) continue;
    process.stdout.write(`\n== ${name}\n`);
    const whole = rows === undefined && name === 'on the lab';
    const files = whole ? suiteFiles() : [...new Set(here.map(({ file }) => file))];
    const titles = whole ? [] : here.flatMap((tests) => tests.titles);
    results.push(...(await runMocha({ files: [...files].sort(), titles, timeoutMs })));
  }
  const failed = results.filter(({ state }) => state === 'failed');
  const outcomes = chosen.map((one) => ({ one, outcome: outcomeOf(one, results) }));
  const lines = outcomes.map(({ one, outcome }) => [
    String(one.row),
    one.attack,
    one.defence,
    outcomeText(one, outcome),
  ]);
  process.stdout.write(`\n${tableText(columns, lines)}\n`);
  for (const { file, title, error } of failed) process.stdout.write(`${file}: ${title}: ${error ?? ''}\n`);
  const bad = outcomes.filter(({ outcome }) => outcome === 'FAILED' || outcome === 'NOT RUN').length;
  const count = (state: TestResult['state']): number =>
    results.filter((result) => result.state === state).length;
  process.stdout.write(
    `${chosen.length} attacks, ${bad} of them not held; ${count('passed')} tests passed, ${count('failed')} failed, ${count('skipped')} skipped\n`,
  );
  return bad === 0 && failed.length === 0 && count('skipped') === 0 ? 0 : 1;
}

function suiteFiles(): string[] {
  return readdirSync('test/attacks')
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `test/attacks/${name}`);
}

function outcomeOf({ tests, limit = '' }: Attack, results: readonly TestResult[]): Outcome {
  if (tests.length === 0) return limit.startsWith('Out of scope') ? 'out of scope' : 'not defended';
  const states = tests.flatMap(({ file, titles }) =>
    titles.map((title) => results.find((result) => result.file === file && result.title === title)?.state),
  );
  if (states.includes('failed')) return 'FAILED';
  return states.every((state) => state === 'passed') ? 'holds' : 'NOT RUN';
}

function outcomeText({ tests, limit }: Attack, outcome: Outcome): string {
  const count = tests.reduce((sum, { titles }) => sum + titles.length, 0);
  if (count === 0) return outcome;
  return `${outcome} (${count} ${count === 1 ? 'test' : 'tests'})${limit === undefined ? '' : ', with a limit'}`;
}
