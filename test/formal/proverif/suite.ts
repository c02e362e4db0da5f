/** What ProVerif has to say about the protocol, for `npm run formal`. */
import type { Check } from '../check.ts';
import { cases, readRecorded } from './cases.ts';
import type { Case, Recorded } from './cases.ts';
import { prove, proverVersion } from './prover.ts';
import type { Proof } from './prover.ts';

/**
 * One check per model, variant and query. Where ProVerif is on the PATH it runs, once per variant; elsewhere its recorded answer is
 * given, provided that it is about exactly this text.
 */
export async function checks(): Promise<readonly Check[]> {
  const recorded = (await proverVersion()) === null;
  const { runs } = readRecorded();
  return cases().flatMap((one) => {
    const proof = once(() => (recorded ? recall(one, runs) : prove(one.text)));
    return Object.entries(one.expected).map(([query, expected], index) => ({
      tool: 'proverif',
      model: one.variant === 'base' ? one.model : `${one.model} without ${one.variant.replaceAll('+', ', ')}`,
      query,
      expected,
      text: { name: `${one.model}.${one.variant}.pv`, text: one.text },
      async run() {
        const { found, seconds } = await proof();
        return { found: found[query] ?? 'no answer', seconds: index === 0 ? seconds : 0, recorded };
      },
    }));
  });
}

function recall({ model, variant, sha256 }: Case, runs: Recorded['runs']): Promise<Proof> {
  const run = runs[model]?.[variant];
  if (run?.sha256 !== sha256) return Promise.reject(new Error('the recorded answer is about another text'));
  return Promise.resolve(run);
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => (made ??= make());
}
