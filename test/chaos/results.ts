/** Results of cells, in a file, so that a table that was interrupted goes on where it was. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname } from 'node:path';
import type { CellOutcome } from './cell.ts';

/** What became of one cell. */
export type CellResult =
  ({ readonly state: 'holds' } & CellOutcome) | { readonly state: 'fails'; readonly error: string };

/** The machine and the software that a table comes from. */
export interface Origin {
  readonly machine: string;
  readonly software: string;
}

interface Stored {
  readonly origin: Origin;
  readonly cells: Readonly<Record<string, CellResult>>;
}

/** Results by the names of cells. */
export class Results {
  readonly origin: Origin;
  readonly #file: string;
  readonly #cells: Map<string, CellResult>;

  /** Reads what is there; `fresh` forgets it. Results from another machine or other software are not mixed with ours: throws. */
  constructor(file: string, fresh: boolean) {
    this.#file = file;
    this.origin = originHere();
    const stored = !fresh && existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Stored) : null;
    if (stored !== null && JSON.stringify(stored.origin) !== JSON.stringify(this.origin))
      throw new Error(`${file} is of another machine or other software; --fresh forgets it`);
    this.#cells = new Map(Object.entries(stored?.cells ?? {}));
  }

  of(cell: string): CellResult | null {
    return this.#cells.get(cell) ?? null;
  }

  put(cell: string, result: CellResult): void {
    this.#cells.set(cell, result);
    mkdirSync(dirname(this.#file), { recursive: true });
    const stored: Stored = { origin: this.origin, cells: Object.fromEntries(this.#cells) };
    writeFileSync(`${this.#file}.new`, `${JSON.stringify(stored, null, 1)}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function originHere(): Origin {
  const packages = ['libvirt-daemon-system', 'qemu-system-x86', 'swtpm'].map((name) => {
    const version = execFileSync('dpkg-query', ['--show', '--showformat', '${Version}', name], {
      encoding: 'utf8',
    });
    return `${name} ${version}`;
  });
  return {
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    software: `Node ${process.versions.node}, ${packages.join(', ')}; guests under the accelerator that scripts/guest/accelerator finds`,
  };
}
