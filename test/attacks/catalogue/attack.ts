/** What one line of the attack catalogue holds. */

/** Security dimensions of ITU-T X.805, in its order. */
export const dimensions = [
  'access control',
  'authentication',
  'non-repudiation',
  'data confidentiality',
  'communication security',
  'data integrity',
  'availability',
  'privacy',
] as const;
export type Dimension = (typeof dimensions)[number];

/** Tests of one file by their exact titles, as mocha has them without the titles of their suites. */
export interface NamedTests {
  readonly file: string;
  readonly titles: readonly string[];
}

/** One attack, what stands against it, and what shows that it does. */
export interface Attack {
  /** Row of the catalogue, 1 to 24; a row may have several attacks. */
  readonly row: number;
  readonly attack: string;
  readonly dimensions: readonly Dimension[];
  readonly defence: string;
  /** Sections of SPEC.md. */
  readonly spec: string;
  /** Without tests only where `limit` says why there are none. */
  readonly tests: readonly NamedTests[];
  /** Queries of the models in test/formal, as `FILE: QUERY`. */
  readonly queries?: readonly string[];
  /** What is not defended or out of scope (SPEC 13), in a sentence. */
  readonly limit?: string;
}

/** Names tests of one file. */
export function tests(file: string, ...titles: readonly string[]): NamedTests {
  return { file, titles };
}
