/**
 * What every folder of formal models offers to the table of `npm run formal`: checks. A folder test/formal/NAME has a `suite.ts` that exports
 * `checks(): Promise<readonly Check[]>`; test/formal/suites.ts finds it.
 */

/** What a tool said about one query of one model. */
export interface CheckResult {
  /** In the words of `expected`. */
  readonly found: string;
  /** Of this check's own work, when it was done; 0 where another check's run answered it too. */
  readonly seconds: number;
  /** The tool is not here and in no package: `found` is its committed output for this very model. */
  readonly recorded?: boolean;
}

/** A text that a check gives to its tool, for `--dump`. */
export interface ModelText {
  /** A file name, unique in its folder of models. */
  readonly name: string;
  readonly text: string;
}

/** One row of the table: one query to one model by one tool. */
export interface Check {
  /** Program that decides, such as `eprover`. */
  readonly tool: string;
  /** The model or its variant, in a few words: `protocol`, `without the nonces`. */
  readonly model: string;
  /** What is asked, in a few words. */
  readonly query: string;
  /** The answer with which this check passes, in the tool's words: `true`, `false`, `attack`, `no error`. */
  readonly expected: string;
  /** Of a mutant: the attack that must be found, in a sentence. Told by `--list` and `--json`. */
  readonly attack?: string;
  /** The generated text that the tool reads, where it is not a committed file. */
  readonly text?: ModelText;
  /** Asks the tool. Throws `MissingTool` where it is not installed; whatever it throws fails this check alone. */
  run(): Promise<CheckResult>;
}
