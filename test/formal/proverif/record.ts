/**
 * Runs ProVerif on every case whose expanded model is not yet recorded, and writes recorded.json:
 * `npx tsx test/formal/proverif/record.ts [MODEL]`, with `proverif` on the PATH.
 */
import { writeFileSync } from 'node:fs';
import { format } from 'prettier';
import { cases, readRecorded } from './cases.ts';
import type { Case } from './cases.ts';
import { prove, proverVersion } from './prover.ts';
import type { Proof } from './prover.ts';

async function record(only: string | undefined): Promise<void> {
  const version = await proverVersion();
  if (version === null) throw new Error('proverif is not on the PATH');
  const prover = `ProVerif ${version}`;
  const before = readRecorded();
  const runs: Record<string, Record<string, Proof & { sha256: string }>> = {};
  for (const one of cases()) {
    const known = before.prover === prover ? before.runs[one.model]?.[one.variant] : undefined;
    const keep = known?.sha256 === one.sha256 || (only !== undefined && only !== one.model);
    const proof = keep ? known : await proveCase(one);
    if (proof !== undefined) (runs[one.model] ??= {})[one.variant] = { ...proof };
  }
  const text = await format(JSON.stringify({ prover, runs }), { parser: 'json', printWidth: 110 });
  writeFileSync(new URL('recorded.json', import.meta.url), text);
}

async function proveCase(one: Case): Promise<Proof & { sha256: string }> {
  const { found, seconds } = await prove(one.text);
  const wrong = Object.keys(one.expected).filter((query) => one.expected[query] !== found[query]);
  const notes = wrong.map(
    (query) => `${query} ${found[query] ?? 'unknown'}, not ${one.expected[query] ?? ''}`,
  );
  console.log(
    `${one.model} ${one.variant}: ${seconds} s${notes.length === 0 ? '' : `; ${notes.join('; ')}`}`,
  );
  return { sha256: one.sha256, found, seconds };
}

await record(process.argv[2]);
