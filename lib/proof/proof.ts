/** The proof file (SPEC 4): a VM's whole chain with all that is needed to verify it offline. UNVERIFIED until verify.ts. */
import { bytesUpTo, decodeAs, encodeAs, listOf, literal, record, textUpTo } from '../encoding/shape.ts';
import { limits } from '../limits.ts';
import { signedEntryShape } from './entry.ts';
import type { SignedEntry } from './entry.ts';

const proofShape = record({
  format: literal('tvmmp/proof/1'),
  entries: listOf(signedEntryShape, { min: 1, max: limits.proofEntriesMax }),
  departures: listOf(signedEntryShape, { max: limits.proofEntriesMax }),
  certificates: listOf(bytesUpTo(limits.certificateBytesMax), { max: limits.proofCertificatesMax }),
  policies: listOf(textUpTo(limits.policyEnvelopeBytesMax), { max: limits.proofPoliciesMax }),
});

/** A proof's parts. */
export interface Proof {
  /** The chain: the entry at index n has sequence n. */
  readonly entries: readonly SignedEntry[];
  /** *departed* entries, by ascending epoch. */
  readonly departures: readonly SignedEntry[];
  /** DER: AK certificates of the signers, certificates of the policy signers. */
  readonly certificates: readonly Uint8Array[];
  /** DSSE envelopes of the policies that entries name. */
  readonly policies: readonly string[];
}

/** Bytes of a proof file. */
export function encodeProof({ entries, departures, certificates, policies }: Proof): Uint8Array {
  return encodeAs(proofShape, { format: 'tvmmp/proof/1', entries, departures, certificates, policies });
}

/** Reads a proof file; throws `encoding-invalid` or `limit-exceeded`. */
export function decodeProof(bytes: Uint8Array): Proof {
  const { entries, departures, certificates, policies } = decodeAs(proofShape, 'proof', bytes, {
    bytesMax: limits.proofBytesMax,
  });
  return { entries, departures, certificates, policies };
}
