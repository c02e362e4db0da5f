/** A copy of the repository in which one defence at a time is taken out, built and tested; the original is never touched. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { changesOf } from '../../test/mutants/mutant.ts';
import type { Mutant } from '../../test/mutants/mutant.ts';
import { runMocha } from '../test.d/mocha.ts';
import type { TestResult } from '../test.d/mocha.ts';

/** What a mutant needs before its test: nothing, compiled native code, or compiled agents and a lab. */
export type Level = 'unit' | 'native' | 'lab';

const timeoutMs: Readonly<Record<Level, number>> = { unit: 60_000, native: 60_000, lab: 180_000 };
/** A test that a mutant sends into a loop is ended; it counts as failed. */
const deadlineMs: Readonly<Record<Level, number>> = { unit: 180_000, native: 180_000, lab: 600_000 };

export function levelOf({ file, test }: Pick<Mutant, 'file' | 'test'>): Level {
  if (/^test\/(?:attacks|system)\//.test(test.file)) return 'lab';
  return file.startsWith('native/') ? 'native' : 'unit';
}

/** See the head of this file. */
export class Workspace {
  readonly directory: string;

  constructor(repository: string) {
    this.directory = mkdtempSync(join(tmpdir(), 'tvmmp-mutants-'));
    // Attacks of the lab run the program as other users too.
    chmodSync(this.directory, 0o755);
    const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: repository,
      encoding: 'utf8',
    });
    for (const file of listed
      .split('\0')
      .filter((name) => name !== '' && existsSync(join(repository, name)))) {
      mkdirSync(dirname(join(this.directory, file)), { recursive: true });
      cpSync(join(repository, file), join(this.directory, file), { preserveTimestamps: true });
    }
    // What is compiled keeps its times, so that make compiles no more than the mutant.
    cpSync(join(repository, 'build'), join(this.directory, 'build'), {
      recursive: true,
      preserveTimestamps: true,
    });
    symlinkSync(join(repository, 'node_modules'), join(this.directory, 'node_modules'));
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Takes a defence out while `work` runs. Throws where the text is not there exactly once. */
  async without<T>(mutant: Mutant, work: () => Promise<T>): Promise<T> {
    const originals = new Map<string, string>();
    try {
      for (const { file, find, replace } of changesOf(mutant)) {
        const path = join(this.directory, file);
        const text = readFileSync(path, 'utf8');
        if (!originals.has(path)) originals.set(path, text);
        const [before, after, ...more] = text.split(find);
        if (before === undefined || after === undefined || more.length > 0)
          throw new Error(`${mutant.name}: its text is not in ${file} exactly once`);
        writeFileSync(path, before + replace + after);
      }
      return await work();
    } finally {
      for (const [path, text] of originals) writeFileSync(path, text);
    }
  }

  /** Compiles what the tests of this level run. Throws with the compiler's words. */
  build(level: Level): void {
    if (level === 'native') this.#run('node_modules/.bin/node-gyp', 'build');
    if (level === 'lab') this.#run('node_modules/.bin/tsc', '-p', 'tsconfig.build.json', '--noCheck');
  }

  /** Runs tests of these files by their titles; a run that does not come to its end has the results until then. */
  async test(
    files: readonly string[],
    titles: readonly string[],
    level: Level,
  ): Promise<readonly TestResult[]> {
    return runMocha({
      files,
      titles,
      timeoutMs: timeoutMs[level],
      deadlineMs: deadlineMs[level],
      cwd: this.directory,
      output: 'ignore',
      exit: level !== 'lab',
    });
  }

  #run(program: string, ...words: readonly string[]): void {
    try {
      execFileSync(join(this.directory, program), words, { cwd: this.directory, stdio: 'pipe' });
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: Buffer; stderr?: Buffer };
      throw new Error(`${program}: ${String(stdout ?? '')}${String(stderr ?? '')}`, { cause: error });
    }
  }
}
