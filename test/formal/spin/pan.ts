/** Runs Spin on a model: one set of switches, exhaustively, in a directory of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTool } from '../tool.ts';

export const modelFile = fileURLToPath(new URL('handover.pml', import.meta.url));

/** How a model is searched. */
export interface Search {
  /** The hand-over's where none is named. */
  readonly model?: string;
  /** Preprocessor switches, such as `FAULTS=2`. */
  readonly switches: readonly string[];
  /** Look for runs that never end instead of states that must not be. */
  readonly cycles?: boolean;
}

/** What an exhaustive search came to. */
export interface Searched {
  /** Name of the property that does not hold, `endless run`, or null. */
  readonly violated: string | null;
  readonly states: number;
  readonly seconds: number;
}

const timeoutMs = 600_000;
const depthMax = 1_000_000;

/** Searches all states, or until the first error. Throws `MissingTool`, and for a search that could not be completed. */
export async function search({ model = modelFile, switches, cycles = false }: Search): Promise<Searched> {
  const began = performance.now();
  const directory = await mkdtemp(join(tmpdir(), 'tvmmp-spin-'));
  try {
    const options = { timeoutMs, cwd: directory };
    const defines = switches.map((name) => `-D${name}`);
    succeeded('spin', await runTool('spin', ['-a', ...defines, model], options));
    const kind = cycles ? ['-DNP'] : ['-DSAFETY'];
    // Most searches are shorter than an optimised compilation.
    const gcc = ['-O0', '-w', '-DNOREDUCE', ...kind, '-o', 'pan', 'pan.c'];
    succeeded('gcc', await runTool('gcc', gcc, options));
    const args = [`-m${depthMax}`, ...(cycles ? ['-l'] : [])];
    const { stdout } = succeeded('pan', await runTool(join(directory, 'pan'), args, options));
    return { ...verdict(stdout), seconds: (performance.now() - began) / 1000 };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function succeeded(program: string, run: Awaited<ReturnType<typeof runTool>>): typeof run {
  if (run.timedOut) throw new Error(`${program} took longer than ${timeoutMs / 1000} s`);
  if (run.code !== 0) throw new Error(`${program} failed: ${(run.stderr || run.stdout).slice(-200)}`);
  return run;
}

/** Reads pan's report. A search that was cut off proves nothing. */
export function verdict(report: string): Pick<Searched, 'violated' | 'states'> {
  const errors = /errors: (\d+)/.exec(report)?.[1];
  const states = /^ *(\d+) states, stored/m.exec(report)?.[1];
  if (errors === undefined || states === undefined)
    throw new Error('pan said nothing about errors or states');
  if (errors !== '0') {
    const property =
      /assertion violated +!\((\w+)\)/.exec(report)?.[1] ??
      /pan:\d+: (non-progress cycle|invalid end state)/.exec(report)?.[1] ??
      'unknown error';
    return { violated: property.replaceAll('_', ' '), states: Number(states) };
  }
  if (/max search depth too small|Search not completed|out of memory/i.test(report))
    throw new Error('pan did not search everything');
  return { violated: null, states: Number(states) };
}
