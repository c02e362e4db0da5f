import type { Journal } from '../ledger/journal.ts';
import type { VmRecord } from '../ledger/records.ts';
import { decodeEntry, decodeSignedEntry } from '../proof/entry.ts';
import type { EntryKind } from '../proof/entry.ts';
import type { ProtectedDomain } from './domain.ts';
import { Refused } from './refused.ts';

/** Entries that begin a run of a VM: its number is theirs (SPEC 8.7). */
const beginnings: readonly EntryKind[] = ['started', 'restored', 'arrived'];

/** Which numbers the memory of a VM's latest run may carry, and whether the last of them is surely in its definition. */
interface Runs {
  /** Null: none, as at boot. */
  readonly numbers: readonly (number | null)[];
  readonly written: boolean;
}

/** Throws `Refused` where memory of another run than the last one would come back, and the vTPM with it. */
export function requireLatestRun(
  journal: Journal,
  record: VmRecord,
  { name, run }: ProtectedDomain,
  operation: 'prepare' | 'restore',
): void {
  if (run === null && operation === 'prepare') return;
  if (run !== null && adoptedRun(journal, record.uuid) === run) return;
  const known = runsOf(journal, record.uuid);
  if (record.state === 'saved' && (known === null || known.numbers.includes(run))) return;
  const which = run === null ? '' : `, that of run ${run}`;
  const adopt = run === null ? '' : `, or take this memory up (tvmmp vm adopt ${name} --run ${run})`;
  throw new Refused(
    `vtpm-state-changed: this memory of ${name} is an old one${which}: a saved state or a snapshot of before, and its vTPM would go ` +
      `back with it; start the VM without it${adopt}`,
  );
}

/** swtpm is let start: what was adopted is used up, and the definition of this run carries the number that it came with. */
export function beginRun(journal: Journal, vm: string, run: number | null): void {
  journal.transaction(() => {
    journal.putSetting(adoptedName(vm), '');
    putRuns(journal, vm, { numbers: [run], written: false });
  });
}

/** Number that the definition of a VM that runs has still to get; null where it has it. */
export function runToWrite(journal: Journal, { uuid, sequence }: VmRecord): number | null {
  const known = runsOf(journal, uuid);
  if (known?.written === true) return null;
  const number = latestBeginning(journal, uuid, sequence);
  if (number === null) return null;
  const numbers = (known?.numbers ?? [null]).filter((other) => other !== number);
  putRuns(journal, uuid, { numbers: [...numbers, number], written: false });
  return number;
}

export function runIsWritten(journal: Journal, vm: string, number: number): void {
  putRuns(journal, vm, { numbers: [number], written: true });
}

/** Lets the memory of one earlier run come back once. Throws `Refused` where there was no such run. */
export function adoptRun(journal: Journal, vm: VmRecord, run: number): void {
  if (!beginsRun(journal, vm.uuid, run))
    throw new Refused(`entry ${run} of the proof of ${vm.name} does not begin a run (tvmmp proof show)`);
  journal.putSetting(adoptedName(vm.uuid), String(run));
}

export function adoptedRun(journal: Journal, vm: string): number | null {
  const text = journal.setting(adoptedName(vm));
  return text === null || text === '' ? null : Number(text);
}

function latestBeginning(journal: Journal, vm: string, head: number): number | null {
  for (let sequence = head; sequence >= 0; sequence -= 1) {
    if (journal.entry(vm, sequence) === null) return null;
    if (beginsRun(journal, vm, sequence)) return sequence;
  }
  return null;
}

function beginsRun(journal: Journal, vm: string, sequence: number): boolean {
  const signed = journal.entry(vm, sequence);
  return signed !== null && beginnings.includes(decodeEntry(decodeSignedEntry(signed).entry).kind);
}

function runsOf(journal: Journal, vm: string): Runs | null {
  const text = journal.setting(runsName(vm));
  return text === null ? null : (JSON.parse(text) as Runs);
}

function putRuns(journal: Journal, vm: string, runs: Runs): void {
  journal.putSetting(runsName(vm), JSON.stringify(runs));
}

const runsName = (vm: string): string => `runs/${vm}`;
const adoptedName = (vm: string): string => `adopted-run/${vm}`;
