/**
 * Two verified proofs of one VM side by side. No single proof can show that its tail was dropped or that its holder signed
 * another one as well; two can, and the two entries at the fork convict the hosts that signed them.
 */
import { bytesEqual } from '../bytes/compare.ts';
import type { VerifiedEntry, VerifiedProof } from './verify.ts';

/** How two proofs relate. */
export type Relation =
  | { readonly relation: 'unrelated' }
  | { readonly relation: 'equal' | 'first-is-longer' | 'second-is-longer' }
  | {
      readonly relation: 'forked';
      readonly sequence: number;
      readonly first: VerifiedEntry;
      readonly second: VerifiedEntry;
    };

/** Compares two proofs: of different VMs (or births), one continuing the other, or forked at a sequence number. */
export function compareProofs(a: VerifiedProof, b: VerifiedProof): Relation {
  if (a.head.vm !== b.head.vm || !bytesEqual(a.head.birth, b.head.birth)) return { relation: 'unrelated' };
  for (const [sequence, first] of a.entries.entries()) {
    const second = b.entries[sequence];
    if (second === undefined) return { relation: 'first-is-longer' };
    if (!bytesEqual(first.hash, second.hash)) return { relation: 'forked', sequence, first, second };
  }
  return { relation: a.entries.length === b.entries.length ? 'equal' : 'second-is-longer' };
}
