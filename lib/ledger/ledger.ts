import { bytesEqual } from '../bytes/compare.ts';
import { decodeRow } from './ledger-row.ts';
import type { LedgerRow } from './ledger-row.ts';

/** What came of a compare-and-swap; `found` is what stood in its way. */
export type Swapped =
  { readonly written: true } | { readonly written: false; readonly found: LedgerRow | null };

/** What came of a swap that a store did not make, having found this; `asked` are the bytes that were to be written. */
export function notSwapped(vm: string, asked: Uint8Array, found: Uint8Array | null): Swapped {
  // An answer that was lost: it was written when it was asked for the first time.
  if (found !== null && bytesEqual(found, asked)) return { written: true };
  return { written: false, found: found === null ? null : decodeRow(vm, found) };
}

/** A change that a watch saw; `row` is null where the row was removed or cannot be read. */
export interface LedgerChange {
  readonly vm: string;
  readonly row: LedgerRow | null;
}

/** A watch that is under way; a lost connection is taken up again without it. */
export interface LedgerWatch {
  close(): Promise<void>;
}

/** A ledger in the journal's own database: what is done within a transaction of the journal is one durable write with it. */
export interface LocalLedger {
  readNow(vm: string): LedgerRow | null;
  swapNow(expected: LedgerRow | null, next: LedgerRow): Swapped;
}

/**
 * Who holds each VM (SPEC 8.6): one row a VM, replaced only by compare-and-swap. A ledger can stop a move or a start and can allow
 * none: proofs decide what is true. Adapters: SQLite in the host's journal, and etcd for a fleet; test/conformance/ledger.ts holds
 * what both must do. Errors: `ledger-unavailable` within `limits.ledgerDeadlineMs`, `ledger-invalid` for a row that cannot be read,
 * `ledger-conflict` for one that must not follow.
 */
export interface Ledger {
  readonly kind: 'sqlite' | 'etcd';
  /** Null where the ledger is not in this host's journal. */
  readonly local: LocalLedger | null;
  /** Where it is, for people. */
  readonly place: string;
  /** The row as of now: never one that was replaced before this was asked. */
  read(vm: string): Promise<LedgerRow | null>;
  /** Puts `next` in the place of exactly `expected` (null: no row). Asking again after a lost answer is safe. */
  compareAndSwap(expected: LedgerRow | null, next: LedgerRow): Promise<Swapped>;
  /**
   * Calls `seen` for each change after now, in order; for one VM, or for all (null). What happened while the connection was lost is
   * caught up with; where the ledger has forgotten how it came about, with the rows as they are.
   */
  watch(vm: string | null, seen: (change: LedgerChange) => void): Promise<LedgerWatch>;
  /** Rejects with `ledger-unavailable` where the ledger cannot answer now. */
  probe(): Promise<void>;
  close(): Promise<void>;
}
