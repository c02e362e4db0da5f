/** The proof file (SPEC 4): a VM's whole chain with all that is needed to verify it offline. UNVERIFIED until verify.ts. */
import { decode } from '../encoding/cbor.ts';
import { bytesUpTo, encodeAs, formatted, listOf, textUpTo } from '../encoding/shape.ts';
import { limits } from '../limits.ts';
import { signedEntryShape } from './entry.ts';
import type { SignedEntry } from './entry.ts';

const parts = {
  entries: listOf(signedEntryShape, { min: 1, max: limits.proofEntriesMax }),
  departures: listOf(signedEntryShape, { max: limits.proofEntriesMax }),
  certificates: listOf(bytesUpTo(limits.certificateBytesMax), { max: limits.proofCertificatesMax }),
  policies: listOf(textUpTo(limits.policyEnvelopeBytesMax), { max: limits.proofPoliciesMax }),
};
const fromBirth = formatted('tvmmp/proof/1', parts);
const fromCheckpoint = formatted('tvmmp/proof/2', {
  summary: bytesUpTo(limits.summaryBytesMax),
  ...parts,
});

/** A proof's parts. */
export interface Proof {
  /** What the chain was before a proof that begins with a checkpoint (SPEC 4.1); null for one from birth. */
  readonly summary: Uint8Array | null;
  /** The chain, without a gap: from birth on, or from the checkpoint that names the summary. */
  readonly entries: readonly SignedEntry[];
  /** *departed* entries, by ascending epoch. */
  readonly departures: readonly SignedEntry[];
  /** DER: AK certificates of the signers, certificates of the policy signers. */
  readonly certificates: readonly Uint8Array[];
  /** DSSE envelopes of the policies that entries name. */
  readonly policies: readonly string[];
}

/** Bytes of a proof file. */
export function encodeProof({ summary, ...rest }: Proof): Uint8Array {
  return summary === null ? encodeAs(fromBirth, rest) : encodeAs(fromCheckpoint, { summary, ...rest });
}

/** Reads a proof file; throws `encoding-invalid` or `limit-exceeded`. */
export function decodeProof(bytes: Uint8Array): Proof {
  const value = decode(bytes, { bytesMax: limits.proofBytesMax });
  const short = Array.isArray(value) && value[0] === 'tvmmp/proof/2';
  return short ? fromCheckpoint.read(value, 'proof') : { summary: null, ...fromBirth.read(value, 'proof') };
}
