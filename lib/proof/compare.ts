/**
 * Two verified proofs of one VM side by side. No single proof can show that its tail was dropped or that its holder signed
 * another one as well; two can, and the two entries at the fork convict the hosts that signed them.
 */
import { bytesEqual } from '../bytes/compare.ts';
import type { VerifiedEntry, VerifiedProof } from './verify.ts';

/** How two proofs relate. */
export type Relation =
  | { readonly relation: 'unrelated' }
  /** One begins with a checkpoint after the other's end: no entry is in both, so neither a fork nor its absence shows. */
  | { readonly relation: 'apart' }
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
  const others = new Map(b.entries.map((verified) => [verified.entry.sequence, verified]));
  let shared = 0;
  for (const first of a.entries) {
    const { sequence } = first.entry;
    const second = others.get(sequence);
    if (second === undefined) continue;
    shared += 1;
    if (!bytesEqual(first.hash, second.hash)) return { relation: 'forked', sequence, first, second };
  }
  if (shared === 0) return { relation: 'apart' };
  if (a.head.sequence === b.head.sequence) return { relation: 'equal' };
  return { relation: a.head.sequence > b.head.sequence ? 'first-is-longer' : 'second-is-longer' };
}
