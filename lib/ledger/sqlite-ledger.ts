import type { Journal } from './journal.ts';
import { notSwapped } from './ledger.ts';
import type { Ledger, LedgerChange, LedgerWatch, LocalLedger, Swapped } from './ledger.ts';
import { decodeRow, encodeRow, requireFollows } from './ledger-row.ts';
import type { LedgerRow } from './ledger-row.ts';

/**
 * The ledger of a host that has none to share: rows in the journal's own database, so that a decision and its row are one durable
 * write (`swapNow` inside of `Journal.transaction`).
 */
export class SqliteLedger implements Ledger, LocalLedger {
  readonly kind = 'sqlite';
  readonly local = this;
  readonly place = "this host's journal";
  readonly #journal: Journal;
  readonly #watches = new Set<(change: LedgerChange) => void>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  readNow(vm: string): LedgerRow | null {
    const bytes = this.#journal.ledgerRow(vm);
    return bytes === null ? null : decodeRow(vm, bytes);
  }

  /** As `compareAndSwap`, within the caller's transaction; watches are not told. */
  swapNow(expected: LedgerRow | null, next: LedgerRow): Swapped {
    requireFollows(expected, next);
    const before = expected === null ? null : encodeRow(expected);
    const bytes = encodeRow(next);
    if (this.#journal.swapLedgerRow(next.vm, before, bytes)) return { written: true };
    return notSwapped(next.vm, bytes, this.#journal.ledgerRow(next.vm));
  }

  read(vm: string): Promise<LedgerRow | null> {
    return attempt(() => this.readNow(vm));
  }

  compareAndSwap(expected: LedgerRow | null, next: LedgerRow): Promise<Swapped> {
    return attempt(() => {
      const swapped = this.swapNow(expected, next);
      if (swapped.written) for (const seen of this.#watches) seen({ vm: next.vm, row: next });
      return swapped;
    });
  }

  watch(vm: string | null, seen: (change: LedgerChange) => void): Promise<LedgerWatch> {
    const own = (change: LedgerChange): void => {
      if (vm === null || change.vm === vm) seen(change);
    };
    this.#watches.add(own);
    const close = (): Promise<void> => {
      this.#watches.delete(own);
      return Promise.resolve();
    };
    return Promise.resolve({ close });
  }

  probe(): Promise<void> {
    return attempt(() => {
      this.#journal.ledgerRow('');
    });
  }

  close(): Promise<void> {
    this.#watches.clear();
    return Promise.resolve();
  }
}

/** A throw becomes a rejection, as callers of a port expect it. */
function attempt<T>(work: () => T): Promise<T> {
  return new Promise((resolve) => {
    resolve(work());
  });
}
