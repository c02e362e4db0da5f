/** What is fuzzed: one parser of bytes that somebody else wrote, and what must hold for every input. */
import type { ErrorCode } from '../../lib/errors.ts';
import type { Form } from './trees.ts';

export interface Target {
  /** Kebab-case; names its seeds and findings too. */
  readonly name: string;
  /** One line: what is parsed, whose bytes they are. */
  readonly about: string;
  /** Valid inputs to start from, beside `corpus/NAME.txt` and `found/NAME/`. */
  readonly seeds: () => readonly Uint8Array[];
  readonly form: Form;
  /** Codes of `TvmmpError` by which the parser may refuse. Whatever else is thrown is a finding. */
  readonly refusals: readonly ErrorCode[];
  /** How many inputs are tried in CI: a few seconds' worth. */
  readonly executions: number;
  /** Longest input that is tried. */
  readonly bytesMax: number;
  /** Parses, and throws where a property does not hold. */
  readonly run: (bytes: Uint8Array) => void | Promise<void>;
}
