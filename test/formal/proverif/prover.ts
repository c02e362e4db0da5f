/** Runs ProVerif (Blanchet; 2.05 was used) and reads its answers. It is in no Debian package: see test/formal/README.md. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MissingTool, runTool } from '../tool.ts';
import { queriesOf } from './expand.ts';

/** Longest run that is accepted: a model that needs more is too large to be maintained. */
const runDeadlineMs = 30 * 60_000;

/**
 * What became of a query. `holds` and `broken` (with a trace) are proofs of either; `unproved` is neither. For a `reach` query:
 * `reached`, or `never reached`.
 */
export type Verdict = 'holds' | 'broken' | 'unproved' | 'reached' | 'never reached';

/** Verdicts by query, and how long the prover took. */
export interface Proof {
  readonly found: Readonly<Record<string, Verdict>>;
  readonly seconds: number;
}

/** ProVerif's version, such as `2.05`, or null where it is not on the PATH. */
export async function proverVersion(): Promise<string | null> {
  try {
    const { stdout } = await runTool('proverif', ['-help'], { timeoutMs: 10_000 });
    return /^Proverif (\d+\.\d+\w*)/i.exec(stdout)?.[1] ?? 'unknown';
  } catch (error) {
    if (error instanceof MissingTool) return null;
    throw error;
  }
}

/** Proves or breaks every query of an expanded model. Throws an Error where the prover does not answer all of them. */
export async function prove(model: string): Promise<Proof> {
  const directory = await mkdtemp(join(tmpdir(), 'tvmmp-proverif-'));
  try {
    const file = join(directory, 'model.pv');
    await writeFile(file, model);
    const { stdout, seconds } = await runTool('proverif', [file], { timeoutMs: runDeadlineMs });
    return { found: readAnswers(model, stdout), seconds: Math.round(seconds * 10) / 10 };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The prover's `RESULT` lines, one per query in the model's order; those in parentheses say more about the one before. */
export function readAnswers(model: string, output: string): Readonly<Record<string, Verdict>> {
  const queries = queriesOf(model);
  const [query, ...others] = queries;
  if (query !== undefined && others.length === 0 && output.includes('RESULT Observational equivalence'))
    return { [query.name]: equivalenceOf(output) };
  const answers = output.split('\n').filter((line) => /^RESULT [^(]/.test(line));
  if (answers.length !== queries.length) {
    throw new Error(`${answers.length} answers to ${queries.length} queries`);
  }
  return Object.fromEntries(
    queries.map(({ name, kind }, index) => {
      const verdict = verdictOf(answers[index] ?? '');
      if (kind === 'query') return [name, verdict];
      // ProVerif is asked whether the event never happens.
      return [name, ({ holds: 'never reached', broken: 'reached', unproved: 'unproved' } as const)[verdict]];
    }),
  );
}

/** Of two worlds: `broken` where the prover has a run whose outcome differs. It may try more than once; the last answer counts. */
function equivalenceOf(output: string): Verdict {
  if (/RESULT Observational equivalence is true\.\s/.test(output)) return 'holds';
  const differs =
    /in the left-hand side is different from .* in the right-hand side\.\nA trace has been found\.\n/;
  return differs.test(output) ? 'broken' : 'unproved';
}

function verdictOf(answer: string): 'holds' | 'broken' | 'unproved' {
  if (answer.endsWith(' is true.')) return 'holds';
  return answer.endsWith(' is false.') ? 'broken' : 'unproved';
}
