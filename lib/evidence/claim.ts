/**
 * What a host claims about itself (SPEC 6), UNVERIFIED: a TPM quote, the path from its statement to the quote's
 * qualifying data, and the PCR values that it says it has. Only lib/appraisal believes any of it, after its checks.
 */
import { bytesUpTo, listOf, record, textUpTo, uintUpTo } from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { merklePath } from './merkle.ts';

/** Largest TPMS_ATTEST of a quote that we read, in bytes. */
const ATTEST_BYTES_MAX = 1024;
/** Largest TPMT_SIGNATURE that we read, in bytes: RSA 4096 fits. */
const SIGNATURE_BYTES_MAX = 1024;

/** `attest: bstr`: TPMS_ATTEST wire bytes. */
export const attestBytes = bytesUpTo(ATTEST_BYTES_MAX);
/** `signature: bstr`: TPMT_SIGNATURE wire bytes. */
export const signatureBytes = bytesUpTo(SIGNATURE_BYTES_MAX);

/** `[bank: tstr, index: uint, value: bstr]`: one PCR as its host tells it; for explanations, since the digest decides. */
export const claimedPcr = record({ bank: textUpTo(16), index: uintUpTo(23), value: bytesUpTo(64) });
export type ClaimedPcr = Of<typeof claimedPcr>;

/** `claim` of SPEC 6. */
export const claim = record({
  attest: attestBytes,
  signature: signatureBytes,
  path: merklePath,
  pcrs: listOf(claimedPcr, { max: 96 }),
});
export type Claim = Of<typeof claim>;
