/** What one line of the list of mutants holds. */

/** A text of a file, and what stands in its place. */
export interface Change {
  readonly file: string;
  /** Occurs once in the file. */
  readonly find: string;
  readonly replace: string;
}

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
  /** Further places, of the same file unless they say otherwise, where the defence has several halves or backs. */
  readonly and?: readonly (Omit<Change, 'file'> & { readonly file?: string })[];
  readonly test: { readonly file: string; readonly title: string };
}

type Line = Omit<Mutant, 'file' | 'test'> & { readonly title: string; readonly test?: string };

/** All that a mutant changes. */
export function changesOf({ file, find, replace, and = [] }: Mutant): readonly Change[] {
  return [{ file, find, replace }, ...and.map((change) => ({ file, ...change }))];
}

/** Mutants of one file, tested by one test file unless a line says otherwise. */
export function mutantsOf(file: string, test: string, lines: readonly Line[]): readonly Mutant[] {
  return lines.map(({ title, test: other, ...rest }) => ({
    ...rest,
    file,
    test: { file: other ?? test, title },
  }));
}
