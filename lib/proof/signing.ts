/**
 * Signing entries by a TPM quote (SPEC 4, *Signing*): everything but the quote itself, which the caller asks its TPM for
 * with `qualifyingData` and the PCR selection of the policy that the entries name.
 */
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import { leafHash, merkle } from '../evidence/merkle.ts';
import type { MerklePath } from '../evidence/merkle.ts';
import { parseAttest } from '../tpm/attest.ts';
import { entryLeaf } from './entry.ts';
import type { SignedEntry } from './entry.ts';

/** What one quote signed, in the order of what was given. */
export interface SignedBatch {
  readonly entries: readonly SignedEntry[];
  /** For each statement, the path of its claim. */
  readonly statementPaths: readonly MerklePath[];
}

/** A batch that waits for its quote. */
export interface PreparedBatch {
  /** The quote's qualifying data, 32 bytes. */
  readonly qualifyingData: Uint8Array;
  /**
   * Joins the quote to what it signs. Throws `tpm-structure-invalid` for an attestation that is not a quote with this
   * qualifying data; whether signature and PCRs are good is for the verifier.
   */
  finish(attest: Uint8Array, signature: Uint8Array): SignedBatch;
}

/**
 * Prepares entries (their encoded bytes) and evidence statements (`evidenceStatement`, 32 bytes each) to be signed by one
 * quote. Leaves: statements first, then entries. A single leaf is the qualifying data itself.
 */
export function prepareBatch(
  entries: readonly Uint8Array[],
  statements: readonly Uint8Array[] = [],
): PreparedBatch {
  const { root, paths } = merkle([...statements.map(leafHash), ...entries.map(entryLeaf)]);
  return {
    qualifyingData: root,
    finish: (attest, signature) => {
      const quote = parseAttest(attest);
      if (quote.type !== 'quote' || !bytesEqual(quote.extraData, root)) {
        throw new TvmmpError('tpm-structure-invalid', 'the TPM quoted something other than it was asked to');
      }
      return {
        entries: entries.map((entry, index) => ({
          entry,
          path: paths[statements.length + index] ?? [],
          attest,
          signature,
        })),
        statementPaths: paths.slice(0, statements.length),
      };
    },
  };
}
