/** First-order clauses with equality for what is shown by a refutation rather than by saturation: axioms, and a conclusion that must follow from them. */

/** Literals of which one holds: atoms, `~atom`, `x=y`, `x!=y`. Variables begin with a capital. */
export type Disjunction = readonly string[];

export interface Sequent {
  readonly axioms: readonly Disjunction[];
  /** Literals that all have to follow. */
  readonly conclusion: readonly string[];
}

/** Head, if all of the body. */
export function implies(head: string, ...body: readonly string[]): Disjunction {
  return [head, ...body.map(negated)];
}

export function negated(literal: string): string {
  if (literal.startsWith('~')) return literal.slice(1);
  return /^[^=!]+!?=[^=]+$/.test(literal)
    ? literal.includes('!=')
      ? literal.replace('!=', '=')
      : literal.replace('=', '!=')
    : `~${literal}`;
}

/** The term with its variables as constants of a name of their own: some value, of which nothing is known. */
export function fixed(term: string, name: string): string {
  return term.replaceAll(/\b[A-Z]\d?\b/g, (variable) => `${name}_${variable.toLowerCase()}`);
}

/** The text for the provers, who look for a contradiction with the conclusion's opposite. */
export function sequentText({ axioms, conclusion }: Sequent): string {
  const line = (name: string, role: string, literals: Disjunction) =>
    `cnf(${name},${role},(${literals.join(' | ')})).`;
  return [
    ...axioms.map((literals, index) => line(`a${index}`, 'axiom', literals)),
    '% what has to follow, all of it',
    line('goal', 'negated_conjecture', conclusion.map(negated)),
    '',
  ].join('\n');
}
