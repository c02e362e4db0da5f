/** Takes each defence of test/mutants out of a copy of the code, one at a time, and runs the one test that has to notice. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Mutant } from '../../test/mutants/mutant.ts';
import { mutants } from '../../test/mutants/mutants.ts';
import { outcomesPage, readOutcomes } from '../../test/mutants/page.ts';
import type { Outcome } from '../../test/mutants/page.ts';
import type { TestResult } from '../test.d/mocha.ts';
import { optionsOf } from '../test.d/options.ts';
import { tableText } from '../test.d/table.ts';
import { Workspace, levelOf } from './workspace.ts';
import type { Level } from './workspace.ts';

const page = 'test/mutants/README.md';
const columns = [
  { head: 'Mutant', width: 30 },
  { head: 'Defence that it takes away', width: 52 },
  { head: 'Test that has to fail', width: 64 },
  { head: 'Outcome', width: 10 },
] as const;

const usage = `usage: npm run mutants [-- --unit] [--native] [--lab] [--only NAME] [--write]
  Takes each defence of test/mutants out of a copy of the code, one at a time, and runs the one test that has to notice.
  --unit, --native, --lab   mutants of these levels (default: all); those of the lab need root, and a minute each
  --only NAME               mutants of this name, or whose names begin with it; may be said again
  --write                   puts the outcomes into test/mutants/README.md
`;
const values = optionsOf(usage, {
  unit: { type: 'boolean', default: false },
  native: { type: 'boolean', default: false },
  lab: { type: 'boolean', default: false },
  only: { type: 'string', multiple: true },
  write: { type: 'boolean', default: false },
});
process.exitCode = await main();

async function main(): Promise<number> {
  const levels = (['unit', 'native', 'lab'] as const).filter((level) => values[level]);
  const chosen = mutants
    .filter((mutant) => levels.length === 0 || levels.includes(levelOf(mutant)))
    .filter(({ name }) => values.only === undefined || values.only.some((only) => name.startsWith(only)));
  if (chosen.length === 0) {
    process.stderr.write('mutants: no such mutant\n');
    return 2;
  }
  const workspace = new Workspace(process.cwd());
  try {
    const outcomes = await tryAll(workspace, chosen);
    const lines = chosen.map((mutant) => [
      mutant.name,
      mutant.defence,
      `${mutant.test.file}: ${mutant.test.title}`,
      outcomes.get(mutant.name) ?? 'not run',
    ]);
    process.stdout.write(`\n${tableText(columns, lines)}\n`);
    const count = (outcome: Outcome): number =>
      [...outcomes.values()].filter((one) => one === outcome).length;
    process.stdout.write(
      `${count('killed')} killed, ${count('survived')} survived, ${count('broken')} broken, of ${chosen.length}\n`,
    );
    return count('killed') === chosen.length ? 0 : 1;
  } finally {
    workspace.close();
  }
}

async function tryAll(
  workspace: Workspace,
  chosen: readonly Mutant[],
): Promise<ReadonlyMap<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const sound = await soundTests(workspace, chosen);
  for (const mutant of chosen) {
    const outcome = sound.has(keyOf(mutant.test)) ? await tryOne(workspace, mutant) : 'broken';
    outcomes.set(mutant.name, outcome);
    process.stdout.write(`${outcome.padEnd(9)} ${mutant.name}\n`);
    if (values.write) write(outcomes);
  }
  return outcomes;
}

/** The tests that pass while nothing is taken away. */
async function soundTests(workspace: Workspace, chosen: readonly Mutant[]): Promise<ReadonlySet<string>> {
  const sound = new Set<string>();
  for (const level of ['unit', 'native', 'lab'] as const) {
    const here = chosen.filter((mutant) => levelOf(mutant) === level);
    if (here.length > 0) workspace.build(level);
    // Tests of the lab share one, as they do in their suite.
    const files = [...new Set(here.map(({ test }) => test.file))];
    for (const group of level === 'lab' && files.length > 0 ? [files] : files.map((file) => [file])) {
      const tests = here.map(({ test }) => test).filter(({ file }) => group.includes(file));
      const results = await workspace.test(group, [...new Set(tests.map(({ title }) => title))], level);
      for (const key of passed(results, tests)) sound.add(key);
    }
  }
  return sound;
}

function passed(results: readonly TestResult[], tests: readonly Mutant['test'][]): readonly string[] {
  for (const { file, title, error } of results.filter(({ state }) => state !== 'passed'))
    process.stdout.write(`not sound: ${file}: ${title}: ${error ?? 'skipped'}\n`);
  const good = new Set(results.filter(({ state }) => state === 'passed').map(keyOf));
  return tests.map(keyOf).filter((key) => good.has(key));
}

/** Killed by the named test alone: a copy that does not compile, or whose tests do not begin, is broken. */
async function tryOne(workspace: Workspace, mutant: Mutant): Promise<Outcome> {
  const level: Level = levelOf(mutant);
  const { file, title } = mutant.test;
  return workspace.without(mutant, async () => {
    try {
      workspace.build(level);
    } catch (error) {
      process.stdout.write(`${String(error)}\n`);
      return 'broken';
    }
    const results = await workspace.test([file], [title], level);
    const own = results.filter((result) => result.title === title);
    if (own.some(({ state }) => state === 'failed')) return 'killed';
    return own.some(({ state }) => state === 'passed') ? 'survived' : 'broken';
  });
}

function keyOf({ file, title }: { readonly file: string; readonly title: string }): string {
  return `${file}: ${title}`;
}

function write(outcomes: ReadonlyMap<string, Outcome>): void {
  const before = readOutcomes(readFileSync(page, 'utf8'));
  const date = new Date().toISOString().slice(0, 10);
  const now = new Map([...outcomes].map(([name, outcome]) => [name, { outcome, date }]));
  writeFileSync(page, outcomesPage(new Map([...before, ...now])));
}
