/** All that is asked of ProVerif: each model as it is and without defences, with what is expected, from expected.json. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expand, queriesOf } from './expand.ts';
import type { Proof, Verdict } from './prover.ts';

/** One model without the defences of its variant. */
export interface Case {
  readonly model: string;
  /** `base`, or the defences that are taken away, joined by `+`. */
  readonly variant: string;
  /** The expanded model. */
  readonly text: string;
  readonly sha256: string;
  readonly expected: Readonly<Record<string, Verdict>>;
  /** What the prover then finds, in a sentence; null for the base. */
  readonly finding: string | null;
}

/** recorded.json: what ProVerif said, and of which text. */
export interface Recorded {
  readonly prover: string;
  readonly runs: Readonly<Record<string, Readonly<Record<string, Proof & { readonly sha256: string }>>>>;
}

interface Expectation {
  /** Queries that are broken; all others hold, and what is to be reached is reached. */
  readonly broken: readonly string[];
  /** Ends that can no more be reached. */
  readonly unreached?: readonly string[];
  readonly finding: string | null;
}

const folder = new URL('./', import.meta.url);

/** Text of a model with its switches. */
export function modelText(model: string): string {
  return readFileSync(new URL(`${model}.pv`, folder), 'utf8');
}

/** Every case of every model. */
export function cases(): readonly Case[] {
  const models = readJson('expected.json') as Record<string, Record<string, Expectation>>;
  return Object.entries(models).flatMap(([model, variants]) =>
    Object.entries(variants).map(([variant, expectation]) => makeCase(model, variant, expectation)),
  );
}

/** recorded.json. */
export function readRecorded(): Recorded {
  return readJson('recorded.json') as Recorded;
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
}

function makeCase(model: string, variant: string, { broken, unreached = [], finding }: Expectation): Case {
  const text = expand(modelText(model), variant === 'base' ? [] : variant.split('+'));
  const queries = queriesOf(text);
  const unknown = [...broken, ...unreached].filter((name) => !queries.some((query) => query.name === name));
  if (unknown.length > 0) throw new Error(`${model} has no query ${unknown.join(', ')}`);
  const expected = Object.fromEntries(
    queries.map(({ name, kind }): [string, Verdict] => {
      if (kind === 'reach') return [name, unreached.includes(name) ? 'never reached' : 'reached'];
      return [name, broken.includes(name) ? 'broken' : 'holds'];
    }),
  );
  return { model, variant, text, sha256: createHash('sha256').update(text).digest('hex'), expected, finding };
}
