import { prepareBatch } from '../proof/signing.ts';
import type { SignedEntry } from '../proof/entry.ts';
import type { MerklePath } from '../evidence/merkle.ts';
import type { PcrSelection, Tpm } from '../tpm/port.ts';
import { AK_HANDLE } from '../tpm/handles.ts';
import type { Timers } from './timers.ts';

/** What one request had signed. */
export interface Signed {
  readonly entries: readonly SignedEntry[];
  readonly statementPaths: readonly MerklePath[];
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

interface Request {
  readonly selection: PcrSelection;
  readonly entries: readonly Uint8Array[];
  readonly statements: readonly Uint8Array[];
  readonly resolve: (signed: Signed) => void;
  readonly reject: (error: unknown) => void;
}

/** Requests joined into one quote at the most: paths stay within `merkleDepthMax`. */
const batchMax = 1024;

/**
 * Signs entries and evidence statements by TPM quotes. What waits while the TPM is busy shares the next quote (SPEC 4):
 * with a TPM of 200 ms a command, 32 VMs leave in the time of one.
 */
export class Quotes {
  readonly #tpm: Tpm;
  readonly #timers: Timers;
  readonly #turn: () => Promise<void>;
  #waiting: Request[] = [];
  #busy = false;
  /** Quotes made so far. */
  count = 0;
  /** How long the last one took, milliseconds: what a command of this TPM takes. */
  lastMs = 0;

  /** `turn` resolves when the TPM has done what else it was asked: who comes until then takes part. */
  constructor(tpm: Tpm, timers: Timers, turn: () => Promise<void> = () => Promise.resolve()) {
    this.#tpm = tpm;
    this.#timers = timers;
    this.#turn = turn;
  }

  /** Whether the TPM is asked for a quote now. */
  get busy(): boolean {
    return this.#busy;
  }

  sign(
    selection: PcrSelection,
    entries: readonly Uint8Array[],
    statements: readonly Uint8Array[] = [],
  ): Promise<Signed> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ selection, entries, statements, resolve, reject });
      if (!this.#busy) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    try {
      // What is asked for in the same turn of the event loop travels together.
      await new Promise<void>((resolve) => {
        this.#timers.soon(resolve);
      });
      while (this.#waiting.length > 0) {
        await this.#turn();
        await this.#quote(this.#take());
      }
    } finally {
      this.#busy = false;
    }
  }

  /** The oldest request and all others with its PCR selection. */
  #take(): readonly Request[] {
    const [first] = this.#waiting;
    if (first === undefined) return [];
    const key = JSON.stringify(first.selection);
    const same = this.#waiting
      .filter((request) => JSON.stringify(request.selection) === key)
      .slice(0, batchMax);
    this.#waiting = this.#waiting.filter((request) => !same.includes(request));
    return same;
  }

  async #quote(batch: readonly Request[]): Promise<void> {
    try {
      const entries = batch.flatMap((request) => request.entries);
      const statements = batch.flatMap((request) => request.statements);
      const prepared = prepareBatch(entries, statements);
      const began = this.#timers.elapsed();
      const { attest, signature } = await this.#tpm.quote(
        AK_HANDLE,
        prepared.qualifyingData,
        batch[0]?.selection ?? [],
      );
      this.lastMs = this.#timers.elapsed() - began;
      this.count += 1;
      const signed = prepared.finish(attest, signature);
      let entry = 0;
      let statement = 0;
      for (const request of batch) {
        request.resolve({
          entries: signed.entries.slice(entry, (entry += request.entries.length)),
          statementPaths: signed.statementPaths.slice(statement, (statement += request.statements.length)),
          attest,
          signature,
        });
      }
    } catch (error) {
      for (const request of batch) request.reject(error);
    }
  }
}
