/**
 * What a verifier of a TPM quote must check, one function per check, in their order: signature, kind, binding, PCR
 * selection, PCR values told beside it, PCR state. Peers (SPEC 6.5) and proofs (SPEC 4) are judged by the same functions.
 */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { TvmmpError } from '../errors.ts';
import type { ClaimedPcr } from '../evidence/claim.ts';
import { rootFromPath } from '../evidence/merkle.ts';
import type { MerklePath } from '../evidence/merkle.ts';
import { parseAttest } from '../tpm/attest.ts';
import type { QuoteAttest } from '../tpm/attest.ts';
import type { PcrSelection } from '../tpm/port.ts';
import { parseSignature, verifySignature } from '../tpm/signature.ts';
import type { Policy, PolicyState } from './policy.ts';

/** `quote-signature`: the AK signed exactly these TPMS_ATTEST bytes. False too for a signature that cannot be read. */
export function signedBy(key: KeyObject, attest: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verifySignature(key, attest, parseSignature(signature));
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'tpm-structure-invalid') return false;
    throw error;
  }
}

/**
 * `quote-type`: the bytes begin with TPM_GENERATED_VALUE, which the TPM puts before nothing from outside, and are a
 * TPM_ST_ATTEST_QUOTE; otherwise why not.
 */
export function quoteOf(attest: Uint8Array): QuoteAttest | { readonly type: 'none'; readonly why: string } {
  try {
    const parsed = parseAttest(attest);
    return parsed.type === 'quote' ? parsed : { type: 'none', why: 'an attestation of another kind' };
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'tpm-structure-invalid') {
      return { type: 'none', why: error.message };
    }
    throw error;
  }
}

/** `quote-binding`: the qualifying data is the root that this leaf and path lead to. */
export function boundTo(quote: QuoteAttest, leaf: Uint8Array, path: MerklePath): boolean {
  return bytesEqual(quote.extraData, rootFromPath(leaf, path));
}

/** `pcr-selection`: the quote covers the same PCRs of the same banks, in the same order. */
export function selects(quote: QuoteAttest, selection: PcrSelection): boolean {
  return selectionText(quote.pcrSelection) === selectionText(selection);
}

/** `pcr-values`: the values told beside the quote are those that it covers, in its order, and digest to what it says. */
export function tellsTrue(quote: QuoteAttest, told: readonly ClaimedPcr[]): boolean {
  const covered = quote.pcrSelection.flatMap(({ bank, pcrs }) => pcrs.map((pcr) => `${bank}:${pcr}`));
  const named = told.map(({ bank, index }) => `${bank}:${index}`);
  return (
    covered.join() === named.join() && bytesEqual(quote.pcrDigest, sha256(...told.map(({ value }) => value)))
  );
}

/** `pcr-state`: the state of the policy whose PCR digest is the quote's. */
export function approvedState(quote: QuoteAttest, policy: Policy): PolicyState | undefined {
  return policy.states.find((state) => bytesEqual(state.pcrDigest, quote.pcrDigest));
}

/** A selection for the operator's eyes, such as `sha256:0,2,4,7`. */
export function selectionText(selection: PcrSelection): string {
  return selection.map(({ bank, pcrs }) => `${bank}:${[...pcrs].sort((a, b) => a - b).join(',')}`).join('+');
}
