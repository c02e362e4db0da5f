/** Inputs that are committed: `corpus/TARGET.txt` (base64, one a line) and `found/TARGET/*` (each what was once broken). */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import type { Target } from './target.ts';

const here = new URL('./', import.meta.url);

/** File of a target's corpus. */
export function corpusFile(target: string): URL {
  return new URL(`corpus/${target}.txt`, here);
}

/** Inputs that broke a target once, by file name. */
export function foundInputs(target: string): ReadonlyMap<string, Uint8Array> {
  const folder = new URL(`found/${target}/`, here);
  if (!existsSync(folder)) return new Map();
  return new Map(
    readdirSync(folder).map((file) => [file, new Uint8Array(readFileSync(new URL(file, folder)))]),
  );
}

/** Inputs of one file of base64 lines; none where there is no file. */
export function readCorpus(file: URL): readonly Uint8Array[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.slice(0, -1).map((line) => new Uint8Array(Buffer.from(line, 'base64')));
}

/** All that fuzzing of a target starts from. */
export function inputsOf(target: Target): readonly Uint8Array[] {
  return [...target.seeds(), ...readCorpus(corpusFile(target.name)), ...foundInputs(target.name).values()];
}
