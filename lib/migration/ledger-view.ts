import { TvmmpError } from '../errors.ts';
import type { Ledger, LedgerChange, LedgerWatch, Swapped } from '../ledger/ledger.ts';
import type { LedgerRow } from '../ledger/ledger-row.ts';
import { KeyedMutex } from './mutex.ts';

/** Others may write the same row meanwhile; more often than so in a row they do not. */
export const attemptsMax = 8;

/** The ledger as this host sees it (SPEC 8.6): asks it, remembers what it said last, and knows why it does not answer. */
export class LedgerView {
  readonly #ledger: Ledger;
  /** Rows as they were last seen: what a compare-and-swap expects. */
  readonly #rows = new Map<string, LedgerRow>();
  /** One writer of a row at a time. */
  readonly turns = new KeyedMutex();
  #problem = '';

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Why the ledger does not answer; '' where it does. */
  get problem(): string {
    return this.#problem;
  }

  read(vm: string): Promise<LedgerRow | null> {
    return this.#ask(() => this.#ledger.read(vm));
  }

  probe(): Promise<void> {
    return this.#ask(() => this.#ledger.probe());
  }

  watch(seen: (change: LedgerChange) => void): Promise<LedgerWatch> {
    return this.#ledger.watch(null, seen);
  }

  /** Puts a row in place of the one that is expected there; what is written is remembered. */
  async swap(expected: LedgerRow | null, next: LedgerRow): Promise<Swapped> {
    const swapped = await this.#ask(() => this.#ledger.compareAndSwap(expected, next));
    if (swapped.written) this.remember(next.vm, next);
    return swapped;
  }

  /** The row as it was last seen; undefined where it has to be read. */
  lastSeen(vm: string): LedgerRow | undefined {
    return this.#rows.get(vm);
  }

  remember(vm: string, row: LedgerRow | null): void {
    if (row === null) this.#rows.delete(vm);
    else this.#rows.set(vm, row);
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      const answer = await question();
      this.#problem = '';
      return answer;
    } catch (error) {
      if (error instanceof TvmmpError && error.code === 'ledger-unavailable') this.#problem = error.message;
      throw error;
    }
  }
}
