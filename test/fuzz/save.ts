/** What fuzzing leaves on disk: inputs that it learnt, findings, and the small corpus that is committed. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { campaign } from './campaign.ts';
import type { Finding } from './engine.ts';
import { corpusFile, readCorpus } from './inputs.ts';
import type { Target } from './target.ts';

const cache = new URL('../../.cache/fuzz/', import.meta.url);
/** Of a committed corpus; the largest inputs are left out beyond it. */
const CORPUS_BYTES_MAX = 24 * 1024;

const learntFile = (target: string): URL => new URL(`${target}.txt`, cache);
const lines = (inputs: readonly Uint8Array[]): string =>
  inputs.map((input) => `${Buffer.from(input).toString('base64')}\n`).join('');

/** What earlier runs have learnt, smallest first. */
export function learnt(target: Target): readonly Uint8Array[] {
  return readCorpus(learntFile(target.name)).toSorted((a, b) => a.length - b.length);
}

export function saveLearnt(target: Target, kept: readonly Uint8Array[]): void {
  if (kept.length === 0) return;
  mkdirSync(cache, { recursive: true });
  writeFileSync(learntFile(target.name), lines(kept));
}

/** Writes a finding's input, and returns the path of the file. */
export function saveFinding({ target, input }: Finding): string {
  const folder = new URL(`found/${target}/`, cache);
  mkdirSync(folder, { recursive: true });
  const file = new URL(createHash('sha256').update(input).digest('hex').slice(0, 16), folder);
  writeFileSync(file, input);
  return fileURLToPath(file);
}

/** Writes the committed corpus anew: of all that is known, the smallest inputs which together reach everything that the seeds do not. */
export async function keepSmallest(target: Target): Promise<void> {
  const seeds = new Set(target.seeds().map(textOf));
  const { kept } = await campaign(
    target,
    { executions: 0, seconds: 0, seed: 1, fresh: false, coarse: true, hangSeconds: 60 },
    () => undefined,
  );
  writeCorpus(
    target.name,
    kept.filter((input) => !seeds.has(textOf(input))),
  );
}

/** The smallest of these inputs, as many as there is room for. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  let room = CORPUS_BYTES_MAX;
  const chosen = inputs
    .filter((input) => input.length > 0)
    .toSorted((a, b) => a.length - b.length || Buffer.compare(a, b))
    .filter((input) => (room -= input.length) >= 0);
  mkdirSync(new URL('./', corpusFile(target)), { recursive: true });
  writeFileSync(corpusFile(target), lines(chosen));
}

function textOf(input: Uint8Array): string {
  return Buffer.from(input).toString('base64');
}
