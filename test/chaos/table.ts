/** The table of phases and faults: which cells there are. */
import type { Cell } from './cell.ts';
import { faults } from './faults.ts';
import { phases } from './phases.ts';

/** What to keep of the table; nothing given keeps all. */
export interface CellFilter {
  readonly faults?: readonly string[];
  readonly phases?: readonly string[];
  readonly sides?: readonly string[];
}

/** Every cell in which there is something to strike: fault by fault, each through all phases. */
export const allCells: readonly Cell[] = faults.flatMap((fault) =>
  fault.sides.flatMap((side) =>
    phases.filter((phase) => fault.applies(phase, side)).map((phase) => ({ phase, fault, side })),
  ),
);

/** What a cell is called in results and messages, such as `agent-kill/source/offered`. */
export function cellName({ fault, side, phase }: Cell): string {
  return `${fault.name}/${side}/${phase.name}`;
}

/** The cells that a filter keeps. A name that is in no cell is an error of its user's: throws. */
export function chosenCells(filter: CellFilter): readonly Cell[] {
  const known = {
    faults: faults.map(({ name }) => name),
    phases: phases.map(({ name }) => name),
    sides: ['source', 'destination'],
  };
  for (const kind of ['faults', 'phases', 'sides'] as const) {
    for (const name of filter[kind] ?? []) {
      if (!known[kind].includes(name)) throw new Error(`${kind} are ${known[kind].join(', ')}; not ${name}`);
    }
  }
  return allCells.filter(
    ({ fault, side, phase }) =>
      (filter.faults?.includes(fault.name) ?? true) &&
      (filter.sides?.includes(side) ?? true) &&
      (filter.phases?.includes(phase.name) ?? true),
  );
}
