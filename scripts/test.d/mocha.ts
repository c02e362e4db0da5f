/** Runs mocha in a process of its own and gives what became of each test: for tables that name tests one by one. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What became of one test or hook. */
export interface TestResult {
  /** Relative to the repository. */
  readonly file: string;
  readonly title: string;
  readonly kind: 'test' | 'hook';
  readonly state: 'passed' | 'failed' | 'skipped';
  readonly error: string | null;
}

/** Which tests to run, and how. */
export interface MochaRun {
  readonly files: readonly string[];
  /** Exact titles; all of the files' tests when empty. */
  readonly titles?: readonly string[];
  readonly timeoutMs: number;
  /** Directory of the repository or of a copy of it. */
  readonly cwd?: string;
  /** Where mocha's own words go: to the user, or nowhere. */
  readonly output?: 'inherit' | 'ignore';
  /** Ends the run when this passes: a test that hangs beyond its own timeout. */
  readonly deadlineMs?: number;
  /** Ends the run with its last test, whatever that has left running. */
  readonly exit?: boolean;
}

/** Runs tests of these files; a run that died is what it had noted until then. */
export async function runMocha(run: MochaRun): Promise<readonly TestResult[]> {
  const directory = mkdtempSync(join(tmpdir(), 'tvmmp-mocha-'));
  const results = join(directory, 'results');
  try {
    await mocha(run, [
      '--reporter',
      join(root, 'scripts/test.d/results-reporter.cjs'),
      '--reporter-option',
      `results=${results}`,
    ]);
    const lines = readLines(results);
    return lines.map((line) => JSON.parse(line) as TestResult);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function mocha(run: MochaRun, reporter: readonly string[]): Promise<void> {
  const { files, titles = [], timeoutMs, cwd = root, output = 'inherit', deadlineMs, exit = false } = run;
  const grep = titles.length === 0 ? [] : ['--grep', `(^|\\s)(${titles.map(escaped).join('|')})$`];
  const child = spawn(
    process.execPath,
    [
      join(cwd, 'node_modules/mocha/bin/mocha.js'),
      ...['--no-config', '--import=tsx', '--timeout', String(timeoutMs), ...(exit ? ['--exit'] : [])],
      ...[...reporter, ...grep, ...files],
    ],
    { cwd, stdio: ['ignore', output, output] },
  );
  const timer = deadlineMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), deadlineMs);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
