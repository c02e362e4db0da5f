/**
 * Horn clauses in the syntax of TPTP (clause normal form), which E and SPASS both read. Terms and atoms are written as text: variables begin with a capital,
 * constants and functions with a small letter. All clauses are definite but the goal, so that a goal is refuted exactly where it can be derived.
 */

/** Head if all of the body; what it carries out says `why`, with the section of SPEC.md. */
export interface Clause {
  readonly why: string;
  readonly head: string;
  readonly body: readonly string[];
}

/** Clauses, and goals: conjunctions that a prover tries to derive, any one of them. */
export interface Theory {
  readonly clauses: readonly Clause[];
  readonly goals: readonly (readonly string[])[];
}

/** One clause. */
export function clause(why: string, head: string, ...body: readonly string[]): Clause {
  return { why, head, body };
}

/** Several conclusions of one body, each a clause of its own. */
export function clauses(
  why: string,
  heads: readonly string[],
  ...body: readonly string[]
): readonly Clause[] {
  return heads.map((head) => clause(why, head, ...body));
}

/** The same fact for several values. */
export function facts(why: string, heads: readonly string[]): readonly Clause[] {
  return clauses(why, heads);
}

/** A sort of terms for `differs`: its constants, and its functions with the number of their arguments. */
export type Sort = Readonly<Record<string, number>>;

/**
 * `differs(x, y)` for terms of each sort: different symbols, or one symbol with an argument that differs. Terms are free (no two different terms are equal), so this is all there is.
 */
export function differences(sorts: readonly Sort[]): readonly Clause[] {
  return sorts.flatMap((sort) => {
    const symbols = Object.entries(sort);
    const apart = symbols.flatMap(([one, n]) =>
      symbols
        .filter(([other]) => other !== one)
        .map(([other, m]) =>
          clause('different symbols', `differs(${call(one, n, 'X')},${call(other, m, 'Y')})`),
        ),
    );
    const inside = symbols.flatMap(([symbol, arity]) =>
      Array.from({ length: arity }, (_, index) =>
        clause(
          'an argument differs',
          `differs(${call(symbol, arity, 'X')},${call(symbol, arity, 'Y')})`,
          `differs(X${index},Y${index})`,
        ),
      ),
    );
    return [...apart, ...inside];
  });
}

function call(symbol: string, arity: number, variable: string): string {
  const args = Array.from({ length: arity }, (_, index) => `${variable}${index}`);
  return arity === 0 ? symbol : `${symbol}(${args.join(',')})`;
}

/** The text for the provers. */
export function tptp({ clauses: all, goals }: Theory): string {
  const line = (name: string, role: string, literals: readonly string[]) =>
    `cnf(${name},${role},(${literals.join(' | ')})).`;
  const negated = (atoms: readonly string[]) => atoms.map((atom) => `~${atom}`);
  return [
    ...all.flatMap(({ why, head, body }, index) => [
      `% ${why}`,
      line(`c${index}`, 'axiom', [head, ...negated(body)]),
    ]),
    '% what must not be derivable, or must be: any of these',
    ...goals.map((goal, index) => line(`g${index}`, 'negated_conjecture', negated(goal))),
    '',
  ].join('\n');
}
