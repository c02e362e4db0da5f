/** The attacks that TVMMP is tested against, in 24 rows, collected from papers and advisories. */
import { control } from './control.ts';
import { peers } from './peers.ts';
import { state } from './state.ts';
import type { Attack } from './attack.ts';

export const rowsMax = 24;

/** All attacks, by row. */
export const attacks: readonly Attack[] = [...peers, ...state, ...control].sort((a, b) => a.row - b.row);
