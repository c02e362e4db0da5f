/** What one line of the list of mutants holds. */

/** A defence taken out of the code: what it was, how it is taken out, and the test that must then fail. */
export interface Mutant {
  /** Unique, of the form `area/what`. */
  readonly name: string;
  /** What holds as long as the defence is there. */
  readonly defence: string;
  /** Section of SPEC.md. */
  readonly spec: string;
  readonly file: string;
  /** Occurs once in the file. */
  readonly find: string;
  readonly replace: string;
  /** A second place of the same file, where the defence has two halves. */
  readonly and?: { readonly find: string; readonly replace: string };
  readonly test: { readonly file: string; readonly title: string };
}

type Line = Omit<Mutant, 'file' | 'test'> & { readonly title: string; readonly test?: string };

/** Mutants of one file, tested by one test file unless a line says otherwise. */
export function mutantsOf(file: string, test: string, lines: readonly Line[]): readonly Mutant[] {
  return lines.map(({ title, test: other, ...rest }) => ({
    ...rest,
    file,
    test: { file: other ?? test, title },
  }));
}
