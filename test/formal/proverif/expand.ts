/** Models with switches: one file holds the protocol and, for each defence, the protocol without it. */

/** A line `(* @without NAME *)`, `(* @else *)` or `(* @end *)`, alone on its line. Blocks nest. */
const switchLine = /^\s*\(\* @(?:(without) ([a-z0-9-]+)|(else)|(end)) \*\)\s*$/;

/** A query and what it is for: the comment line before it in the model. */
export interface Query {
  readonly name: string;
  /** `reach` queries show that a good end can be reached, so that no other query holds because nothing happens. */
  readonly kind: 'query' | 'reach';
  readonly says: string;
}

/**
 * The model without the defences that `without` names: for each block the lines before `@else` where its defence is taken away, the
 * lines after it otherwise. Throws an Error for a model whose blocks do not close, or for a defence that it does not have.
 */
export function expand(model: string, without: readonly string[]): string {
  const unknown = without.filter((name) => !switchesOf(model).includes(name));
  if (unknown.length > 0) throw new Error(`the model has no switch ${unknown.join(', ')}`);
  const open: boolean[] = [];
  const kept = model.split('\n').filter((line) => {
    const [matched, , name, otherwise, end] = switchLine.exec(line) ?? [];
    if (matched === undefined) return open.every((keeps) => keeps);
    if (name !== undefined) open.push(without.includes(name));
    else if (open.length === 0) throw new Error(`${matched.trim()} without a block`);
    else if (otherwise !== undefined) open.push(!open.pop());
    else if (end !== undefined) open.pop();
    return false;
  });
  if (open.length > 0) throw new Error('a block of the model is not closed');
  return kept.join('\n');
}

/** The defences that a model can do without. */
export function switchesOf(model: string): readonly string[] {
  const names = model.split('\n').flatMap((line) => switchLine.exec(line)?.[2] ?? []);
  return [...new Set(names)];
}

/** The queries of a model in their order, which is the order of the prover's answers. */
export function queriesOf(model: string): readonly Query[] {
  const found = model.matchAll(/^\(\* @(query|reach) ([a-z0-9-]+): (.+) \*\)$/gm);
  return [...found].map(([, kind, name, says]) => ({
    name: name ?? '',
    kind: kind === 'reach' ? 'reach' : 'query',
    says: says ?? '',
  }));
}
