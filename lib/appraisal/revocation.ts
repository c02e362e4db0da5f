/** Signed revocation lists (SPEC 1.3): which attestation keys hosts do not trust any more. */
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { parseEnvelope, payloadText, signEnvelope } from './dsse.ts';
import { envelopeSigner } from './envelope-signer.ts';
import type { SignerTrust } from './envelope-signer.ts';
import type { PolicyKeys } from './policy.ts';
import { policyError } from './policy-error.ts';
import { formatRevocations, parseRevocations } from './revocation-text.ts';
import type { Revocation, RevocationDocument } from './revocation-text.ts';

export { REVOCATION_REASON } from './revocation-text.ts';
export type { Revocation, RevocationDocument } from './revocation-text.ts';

/** payloadType of the envelope. */
export const REVOCATIONS_PAYLOAD_TYPE = 'application/vnd.tvmmp.revocations+json';

/** A list whose signature and signer were verified. */
export interface RevocationList extends RevocationDocument {
  /** SHA-256 of the signed payload. */
  readonly digest: Uint8Array;
}

/** Reads a list without verifying it: for people. Throws `policy-invalid`. */
export function decodeRevocations(envelopeText: string): RevocationList {
  const envelope = parseEnvelope(envelopeText);
  if (envelope.payloadType !== REVOCATIONS_PAYLOAD_TYPE) {
    throw policyError(
      'wrong-payload-type',
      `the envelope holds ${envelope.payloadType}, not a revocation list`,
    );
  }
  return { ...parseRevocations(payloadText(envelope)), digest: sha256(envelope.payload) };
}

/** Verifies a DSSE envelope and its signer's certificate. Throws `policy-invalid` (details: PolicyReason). */
export function verifySignedRevocations(envelopeText: string, trust: SignerTrust): RevocationList {
  envelopeSigner(parseEnvelope(envelopeText), trust);
  return decodeRevocations(envelopeText);
}

/** Signs a list: the text of a DSSE envelope. */
export function signRevocations(document: RevocationDocument, keys: PolicyKeys): string {
  const text = formatRevocations(document);
  parseRevocations(text);
  return signEnvelope(REVOCATIONS_PAYLOAD_TYPE, Buffer.from(text), keys);
}

/** The revocation of an attestation key, if the list has one. */
export function revocationOf(list: RevocationDocument | null, akName: Uint8Array): Revocation | undefined {
  return list?.hosts.find((revoked) => bytesEqual(revoked.akName, akName));
}

/**
 * How a list stands to the one that a host has (null: none): only a newer one is taken. Throws `policy-invalid` for a lower
 * version (rollback), or the same version with other contents (version-conflict).
 */
export function compareRevocations(current: RevocationList | null, next: RevocationList): 'newer' | 'same' {
  if (current === null || next.version > current.version) return 'newer';
  if (next.version < current.version) {
    throw policyError(
      'rollback',
      `version ${next.version} of the revocation list is below ${current.version}, in force`,
    );
  }
  if (!bytesEqual(next.digest, current.digest)) {
    throw policyError(
      'version-conflict',
      `version ${next.version} of the revocation list is in force with other contents`,
    );
  }
  return 'same';
}
