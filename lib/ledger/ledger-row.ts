import { bytesEqual } from '../bytes/compare.ts';
import {
  decodeAs,
  encodeAs,
  formatted,
  hash,
  hostName,
  nullable,
  numbered,
  record,
  tpmName,
  uintUpTo,
  uuid,
} from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';

const host = record({ name: hostName, akName: tpmName });
const place = record({ epoch: uintUpTo(), sequence: uintUpTo(), head: hash });

/** `ledger-row` of SPEC 8.6. Members in the order of the encoding. */
const rowShape = formatted('tvmmp/ledger/1', {
  vm: uuid,
  birth: hash,
  epoch: uintUpTo(),
  sequence: uintUpTo(),
  head: hash,
  holder: host,
  leaving: nullable(record({ to: host, session: hash })),
  withdrawn: nullable(place),
  life: numbered({ held: 0, ended: 1 }),
});

/** A host as the ledger names it: certificates may be renewed, name and AK may not change. */
export type LedgerHost = Of<typeof host>;

/** A place in a chain: the entry with this hash. */
export type Place = Of<typeof place>;

/**
 * What the ledger says of one VM: how far its chain is known to have come, and who holds it. `leaving`: its holder has begun to hand
 * it over. `withdrawn`: its holder gave it up, and the chain goes on from that place. `life` is `ended` after *destroyed*.
 */
export type LedgerRow = Of<typeof rowShape>;

/** Bytes of a row: equal rows have equal bytes, so that a store compares whole values. */
export function encodeRow(row: LedgerRow): Uint8Array {
  return encodeAs(rowShape, row);
}

/** Reads what a ledger has for a VM: bytes that anybody with access to it may have written. Throws `ledger-invalid`. */
export function decodeRow(vm: string, bytes: Uint8Array): LedgerRow {
  try {
    const row = decodeAs(rowShape, 'ledger row', bytes, { bytesMax: limits.ledgerRowBytesMax });
    if (row.vm === vm) return row;
    throw new TvmmpError('ledger-invalid', `the ledger's row of VM ${vm} is of VM ${row.vm}`);
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'ledger-invalid') throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new TvmmpError('ledger-invalid', `the ledger's row of VM ${vm} cannot be read: ${reason}`, {
      cause: error,
    });
  }
}

export function sameRow(a: LedgerRow | null, b: LedgerRow | null): boolean {
  return a === null || b === null ? a === b : bytesEqual(encodeRow(a), encodeRow(b));
}

/** Where a chain has to have been for its row to take this one's place. */
export function placeOf(row: LedgerRow): Place {
  const { epoch, sequence, head } = row.withdrawn ?? row;
  return { epoch, sequence, head };
}

/**
 * What no writer may do, whatever it believes (SPEC 8.6): an epoch and a sequence number never go back, but to the place that their
 * holder withdrew to; within an epoch the holder stays; after *destroyed* only another birth follows. Throws `ledger-conflict`.
 */
export function requireFollows(before: LedgerRow | null, after: LedgerRow): void {
  if (before === null) return;
  const fault = faultOf(before, after);
  if (fault !== null)
    throw new TvmmpError('ledger-conflict', `the ledger's row of VM ${after.vm} would not follow: ${fault}`);
}

function faultOf(before: LedgerRow, after: LedgerRow): string | null {
  if (before.vm !== after.vm) return 'another VM';
  if (!bytesEqual(before.birth, after.birth)) {
    if (before.life !== 'ended') return 'another birth, and the VM before has not ended';
    return after.sequence === 0 ? null : 'after an end only a birth follows';
  }
  if (before.life === 'ended') return sameRow(before, after) ? null : 'the VM has ended';
  const from = placeOf(before);
  if (after.epoch < from.epoch) return `epoch ${after.epoch} after ${from.epoch}`;
  if (after.sequence < from.sequence) return `entry ${after.sequence} after ${from.sequence}`;
  if (after.sequence === from.sequence && !bytesEqual(after.head, from.head)) return 'another entry';
  const stayed = before.withdrawn === null && after.epoch === before.epoch;
  return stayed && !sameLedgerHost(before.holder, after.holder) ? 'another holder of one epoch' : null;
}

export function sameLedgerHost(a: LedgerHost, b: LedgerHost): boolean {
  return a.name === b.name && bytesEqual(a.akName, b.akName);
}
