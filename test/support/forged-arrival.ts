import { decodeEntry, encodeEntry, entryHash } from '../../lib/proof/entry.ts';
import type { Entry, HostId } from '../../lib/proof/entry.ts';
import { decodeProof } from '../../lib/proof/proof.ts';

/** *arrived* of a host after a proof that ends with *departing*, not signed yet: whether the VM came or not. */
export function arrivedAfter(proof: Uint8Array, host: HostId, change: Partial<Entry> = {}): Uint8Array {
  const last = decodeProof(proof).entries.at(-1);
  if (last === undefined) throw new Error('an empty proof');
  const departing = decodeEntry(last.entry);
  return encodeEntry({
    ...departing,
    kind: 'arrived',
    epoch: departing.epoch + 1,
    sequence: departing.sequence + 1,
    previous: entryHash(last.entry),
    host,
    peer: departing.host,
    ...change,
  });
}
