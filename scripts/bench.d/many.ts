/** What the benches of many VMs share: labs with guests, and what hosts say of themselves. */
import { cpus, loadavg, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../lab.d/lab.ts';

/** The hosts of a bench's lab. */
export const hosts = ['alpha', 'beta'] as const;
export type Host = (typeof hosts)[number];

/** `statistics` of lib/agent/methods.ts, as far as it is used here. */
export interface Statistics {
  readonly quotes: number;
  readonly keyEnvelopes: number;
}

/** A file beside this one. */
export function here(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

/** A line for people. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Ends the process with the usage error unless each option is a whole number above 0. */
export function positive(names: readonly string[], values: readonly string[]): readonly number[] {
  const numbers = values.map(Number);
  if (numbers.every((number) => Number.isInteger(number) && number > 0)) return numbers;
  note(`bench: ${names.join(', ')} want numbers above 0`);
  process.exit(2);
}

/** The machine, and how busy it is: what else runs on it is in every figure. */
export function machine(): string {
  const load = loadavg().map((value) => value.toFixed(1));
  return `${cpus().length} x ${cpus()[0]?.model ?? '?'}, ${Math.round(totalmem() / 2 ** 30)} GiB; load ${load.join(' ')}`;
}

/** What the agent of a host says of itself. */
export async function statistics(lab: Lab, host: Host): Promise<Statistics> {
  return JSON.parse(await lab.on(host, process.execPath, here('statistics.mjs'))) as Statistics;
}

/** Waits until no hand-over is under way on either host. */
export async function settled(lab: Lab): Promise<void> {
  for (const host of hosts) {
    for (;;) {
      const status = JSON.parse(await lab.on(host, 'tvmmp', 'status', '--json')) as {
        readonly migrations: readonly unknown[];
      };
      if (status.migrations.length === 0) break;
      await sleep(100);
    }
  }
}
