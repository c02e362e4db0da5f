import { bytesEqual } from '../bytes/compare.ts';
import type { Journal } from '../ledger/journal.ts';
import { placeOf } from '../ledger/ledger-row.ts';
import type { LedgerHost, LedgerRow } from '../ledger/ledger-row.ts';
import type { HostId } from '../evidence/identity.ts';
import type { ChainState } from '../proof/chain.ts';
import { decodeSignedEntry, entryHash } from '../proof/entry.ts';

/** A chain as the ledger is compared with it: where it stands, and the hash of an entry where this host has it. */
export interface Lineage {
  readonly state: ChainState;
  readonly hashAt: (sequence: number) => Uint8Array | null;
}

/** The chain that this host has of a VM. */
export function lineageOf(journal: Journal, state: ChainState): Lineage {
  return {
    state,
    hashAt: (sequence) => {
      const bytes = journal.entry(state.vm, sequence);
      return bytes === null ? null : entryHash(decodeSignedEntry(bytes).entry);
    },
  };
}

/** What the ledger says of a chain that stands there (SPEC 8.6): a function of the chain alone, so that all who know it say the same. */
export function rowOf(state: ChainState): LedgerRow {
  const { vm, birth, epoch, sequence, head, departure } = state;
  return {
    ...{ vm, birth, epoch, sequence, head },
    holder: ledgerHostOf(state.holder),
    leaving: departure === null ? null : { to: ledgerHostOf(departure.to), session: departure.session },
    withdrawn: null,
    life: state.state === 'destroyed' ? 'ended' : 'held',
  };
}

export function ledgerHostOf({ name, akName }: HostId): LedgerHost {
  return { name, akName };
}

/**
 * Whether a chain has been where the ledger last saw its VM, and so may take that row's place. An entry that is older than all that is known of the chain is
 * believed to be in it where its epoch is over, as `known-head` does (SPEC 4.1): the signer of the checkpoint has vouched for it.
 */
export function continues({ state, hashAt }: Lineage, row: LedgerRow): boolean {
  if (row.vm !== state.vm) return false;
  if (!bytesEqual(row.birth, state.birth)) return row.life === 'ended' && state.sequence === 0;
  const at = placeOf(row);
  if (at.sequence > state.sequence || at.epoch > state.epoch) return false;
  if (at.sequence === state.sequence) return bytesEqual(at.head, state.head);
  const known = hashAt(at.sequence);
  if (known !== null) return bytesEqual(known, at.head);
  const mark = state.marks.find(({ sequence }) => sequence === at.sequence);
  return mark === undefined ? at.epoch < state.epoch : bytesEqual(mark.hash, at.head);
}

/** In words how a row of the ledger contradicts the chain of the VM called `name` on the host `self`. */
export function contradiction(self: string, name: string, state: ChainState, row: LedgerRow): string {
  const says = `ledger-conflict: the ledger says that ${row.holder.name} holds ${name} in epoch ${row.epoch}, entry ${row.sequence}`;
  const has = `and the proof here ends with epoch ${state.epoch}, entry ${state.sequence}`;
  return row.holder.name === self && state.holder.name === self
    ? `${says}, ${has}: this host's journal is older than the ledger; was its disk put back to an earlier state?`
    : `${says}, ${has}: what is here is an old copy`;
}
