/** Which rows of the machines' tables (SPEC 6.8, 6.9) the runs went through, and which seed first did. */
import { transitions, unreachable } from './transitions.ts';

/** Visits of a row, and the first seed that made one. */
export interface Visits {
  readonly count: number;
  readonly seed: number;
}

export class Coverage {
  readonly #visits = new Map<string, Visits>();

  constructor(visits: Readonly<Record<string, Visits>> = {}) {
    this.add(visits);
  }

  /** Takes note of what an agent logged, if it is a step of a machine. */
  note(fields: object, seed: number): void {
    const { role, from, input, to } = fields as Record<string, string | undefined>;
    if (from === undefined) return;
    this.add({ [`${role ?? ''} ${from} ${input ?? ''} ${to ?? ''}`]: { count: 1, seed } });
  }

  /** Those of another count. */
  add(visits: Readonly<Record<string, Visits>>): void {
    for (const [transition, { count, seed }] of Object.entries(visits)) {
      const known = this.#visits.get(transition);
      this.#visits.set(transition, {
        count: (known?.count ?? 0) + count,
        seed: Math.min(known?.seed ?? seed, seed),
      });
    }
  }

  /** Everything, by row. */
  get visits(): Readonly<Record<string, Visits>> {
    return Object.fromEntries(this.#visits);
  }

  count(transition: string): number {
    return this.#visits.get(transition)?.count ?? 0;
  }

  unvisited(): readonly string[] {
    return transitions.filter((transition) => this.count(transition) === 0 && !unreachable.has(transition));
  }

  /** All rows with their visits and first seed, and what was seen beside them. */
  table(): string {
    const line = (transition: string): string => {
      const { count, seed } = this.#visits.get(transition) ?? { count: 0, seed: '-' };
      const why = unreachable.get(transition);
      const note = why === undefined ? '' : `  (never: ${why})`;
      return `${String(count).padStart(10)} ${String(seed).padStart(8)}  ${transition.replace(/ (\S+)$/, ' -> $1')}${note}`;
    };
    const others = [...this.#visits.keys()].filter((transition) => !transitions.includes(transition)).sort();
    return [
      '    visits     seed  transition',
      ...transitions.map(line),
      'without effect:',
      ...others.map(line),
    ].join('\n');
  }
}
