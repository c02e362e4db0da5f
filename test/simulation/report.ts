/** What runs found, in a file that the next runs go on from and that can be joined with others. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Coverage } from './coverage.ts';
import type { Visits } from './coverage.ts';
import type { Outcome } from './scenario.ts';

/** Sums over runs. */
interface Sums extends Outcome {
  readonly runs: number;
  readonly cpuSeconds: number;
}

interface File extends Sums {
  readonly format: 'tvmmp-simulation/1';
  /** First seed that was run, and the first that was not. */
  readonly from: number;
  readonly next: number;
  readonly actions: number;
  readonly failed: readonly number[];
  readonly visits: Readonly<Record<string, Visits>>;
}

const nothing: Sums = {
  runs: 0,
  migrations: 0,
  attempts: 0,
  doubled: 0,
  resolved: 0,
  steps: 0,
  virtualMs: 0,
  cpuSeconds: 0,
};

export class Report {
  readonly coverage: Coverage;
  readonly from: number;
  readonly actions: number;
  next: number;
  sums: Sums;
  failed: readonly number[];

  constructor(begin: { readonly from: number; readonly actions: number }, file?: File) {
    this.from = file?.from ?? begin.from;
    this.next = file?.next ?? begin.from;
    this.actions = file?.actions ?? begin.actions;
    this.failed = file?.failed ?? [];
    this.sums = file ?? nothing;
    this.coverage = new Coverage(file?.visits);
  }

  /** The report in a file, or a new one. */
  static of(path: string | undefined, begin: { readonly from: number; readonly actions: number }): Report {
    return new Report(begin, path === undefined || !existsSync(path) ? undefined : read(path));
  }

  /** Several reports as one. */
  static joined(paths: readonly string[]): Report {
    const files = paths.map(read);
    const joined = new Report({
      from: Math.min(...files.map(({ from }) => from)),
      actions: files[0]?.actions ?? 0,
    });
    joined.next = Math.max(...files.map(({ next }) => next));
    for (const file of files) {
      joined.sums = sum(joined.sums, file);
      joined.failed = [...joined.failed, ...file.failed];
      joined.coverage.add(file.visits);
    }
    return joined;
  }

  /** A run that is over; null: it violated something. */
  add(seed: number, outcome: Outcome | null, cpuSeconds: number): void {
    this.sums = sum(this.sums, { ...nothing, ...outcome, runs: 1, cpuSeconds });
    this.next = seed + 1;
    if (outcome === null) this.failed = [...this.failed, seed];
  }

  write(path: string): void {
    const { from, next, actions, failed } = this;
    const file: File = {
      format: 'tvmmp-simulation/1',
      ...{ from, next, actions, failed },
      ...sum(this.sums, nothing),
      visits: this.coverage.visits,
    };
    writeFileSync(`${path}.part`, `${JSON.stringify(file, null, 1)}\n`);
    renameSync(`${path}.part`, path);
  }

  /** One line about it. */
  get line(): string {
    const { runs, migrations, attempts, resolved, doubled, steps, virtualMs, cpuSeconds } = this.sums;
    const each = migrations === 0 ? 0 : (1_000 * cpuSeconds) / migrations;
    return (
      `seeds ${this.from} to ${this.next - 1}, ${runs} runs: ${migrations} hand-overs of ${attempts} migrations asked for one by one and those of evacuations, ` +
      `${resolved} outcomes stated by administrators, libvirt ran a guest twice ${doubled} times; invariants checked ${steps} times in ` +
      `${(virtualMs / 3_600_000).toFixed(1)} hours of virtual time; ${cpuSeconds.toFixed(0)} s of CPU, ${each.toFixed(1)} ms a hand-over; ` +
      (this.failed.length === 0 ? 'nothing violated' : `VIOLATED by seeds ${this.failed.join(', ')}`)
    );
  }
}

function read(path: string): File {
  const file = JSON.parse(readFileSync(path, 'utf8')) as File;
  if ((file as { format: string }).format !== 'tvmmp-simulation/1')
    throw new Error(`${path} is no report of a simulation`);
  return file;
}

function sum(a: Sums, b: Sums): Sums {
  const keys = Object.keys(nothing) as (keyof Sums)[];
  return Object.fromEntries(keys.map((key) => [key, a[key] + b[key]])) as unknown as Sums;
}
