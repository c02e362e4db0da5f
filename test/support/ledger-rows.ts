/** Rows of the ledger for tests: a chain whose entry n has a hash of its own. */
import { createHash, randomUUID } from 'node:crypto';
import type { LedgerHost, LedgerRow } from '../../lib/ledger/ledger-row.ts';

export function ledgerHost(name: string): LedgerHost {
  return { name, akName: Buffer.concat([Buffer.from([0, 11]), digest(`ak of ${name}`)]) };
}

export function digest(text: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update(text).digest());
}

/** A VM's row as its birth leaves it; `change` says what is otherwise. */
export function ledgerRow(change: Partial<LedgerRow> = {}): LedgerRow {
  const vm = change.vm ?? randomUUID();
  const sequence = change.sequence ?? 0;
  return {
    vm,
    birth: digest(`${vm} 0`),
    epoch: 0,
    sequence,
    head: digest(`${vm} ${sequence}`),
    holder: ledgerHost('alpha'),
    leaving: null,
    withdrawn: null,
    life: 'held',
    ...change,
  };
}

/** The row some entries later. */
export function later(row: LedgerRow, change: Partial<LedgerRow> = {}): LedgerRow {
  const sequence = change.sequence ?? row.sequence + 1;
  return { ...row, sequence, head: digest(`${row.vm} ${sequence}`), ...change };
}
