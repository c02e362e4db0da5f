/** The state machine of SPEC 2 as a table: what each kind of entry leads from and to, and which members it has. */
import type { Entry, EntryKind } from './entry.ts';
import { demand } from './fault.ts';

/** Where the chain says that a VM stands. `staged` and `gone` are a host's own views and never a chain's. */
export type LifeState = 'stopped' | 'running' | 'paused' | 'saved' | 'departing' | 'destroyed';

/** Kinds that form the chain; *departed* stands beside it (SPEC 2). */
export type ChainKind = Exclude<EntryKind, 'departed'>;

/** One row. `as-departed` is the state, running or paused, that *departing* found; `same` is the one before. */
export interface Transition {
  readonly from: readonly (LifeState | 'unborn')[];
  readonly to: LifeState | 'as-departed' | 'same';
}

export const transitions: Readonly<Record<ChainKind, Transition>> = {
  created: { from: ['unborn'], to: 'stopped' },
  started: { from: ['stopped'], to: 'running' },
  suspended: { from: ['running'], to: 'paused' },
  resumed: { from: ['paused'], to: 'running' },
  saved: { from: ['running', 'paused'], to: 'saved' },
  restored: { from: ['saved'], to: 'running' },
  departing: { from: ['running', 'paused'], to: 'departing' },
  arrived: { from: ['departing'], to: 'as-departed' },
  aborted: { from: ['departing'], to: 'as-departed' },
  resolved: { from: ['departing'], to: 'as-departed' },
  stopped: { from: ['running', 'paused', 'saved'], to: 'stopped' },
  checkpoint: { from: ['stopped', 'running', 'paused', 'saved'], to: 'same' },
  adopted: { from: ['stopped', 'saved'], to: 'same' },
  bound: { from: ['stopped', 'running', 'paused', 'saved'], to: 'same' },
  quarantined: { from: ['stopped', 'running', 'paused', 'saved'], to: 'same' },
  released: { from: ['stopped', 'running', 'paused', 'saved'], to: 'same' },
  recovered: { from: ['stopped', 'running', 'paused', 'saved'], to: 'stopped' },
  destroyed: { from: ['stopped'], to: 'destroyed' },
};

type Member = 'peer' | 'session' | 'verdict';

/** Which of the members that may be null each kind must have; all others must be null. */
const members: Readonly<Partial<Record<EntryKind, readonly Member[]>>> = {
  departing: ['peer', 'session', 'verdict'],
  arrived: ['peer', 'session', 'verdict'],
  departed: ['peer', 'session'],
  aborted: ['session'],
  resolved: ['peer', 'session'],
  checkpoint: ['verdict'],
  adopted: ['verdict'],
  bound: ['verdict'],
  quarantined: ['verdict'],
  recovered: ['peer', 'verdict'],
};

/** Kinds that an entry without the name of the vTPM's EK cannot have: a VM that moves has a vTPM that moves with it. */
const needVtpm: readonly EntryKind[] = ['departing', 'arrived', 'departed', 'recovered'];

/** Throws CheckFailed unless the entry has exactly the members of its kind. */
export function demandMembers(entry: Entry): void {
  const wanted = members[entry.kind] ?? [];
  for (const member of ['peer', 'session', 'verdict'] as const) {
    const should = wanted.includes(member);
    demand(
      (entry[member] !== null) === should,
      'members',
      `${entry.kind} ${should ? 'lacks' : 'has'} a ${member}`,
    );
  }
  const named = entry.vtpm !== null || !needVtpm.includes(entry.kind);
  demand(named, 'members', `${entry.kind} does not name the vTPM`);
}
