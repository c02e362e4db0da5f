/**
 * Recovery statements (SPEC 15.4): the authority's word that the host that holds a VM is lost, and which other one takes the VM up. The
 * proof carries it: without one nobody becomes the holder of a VM that its holder did not give away.
 */
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { sha256 } from '../encoding/hash.ts';
import { parseEnvelope, payloadText, signEnvelope } from './dsse.ts';
import { envelopeSigner } from './envelope-signer.ts';
import { policyError } from './policy-error.ts';
import type { PolicyKeys } from './policy.ts';
import { formatRecovery, parseRecovery } from './recovery-text.ts';
import type { RecoveryDocument } from './recovery-text.ts';

export type { RecoveryDocument } from './recovery-text.ts';

/** payloadType of the envelope. */
export const RECOVERY_PAYLOAD_TYPE = 'application/vnd.tvmmp.recovery+json';

/** A statement whose signature and signer were verified. */
export interface RecoveryStatement extends RecoveryDocument {
  /** SHA-256 of the signed payload: what *recovered* names. */
  readonly digest: Uint8Array;
  /** SPKI DER of the key that signed it. */
  readonly signerSpki: Uint8Array;
}

/** Verifies a statement: signed at its own time by a policy signer of this root. Throws `policy-invalid`. */
export function verifyRecovery(
  envelopeText: string,
  trust: { readonly root: RootCertificate; readonly signers: readonly Uint8Array[] },
): RecoveryStatement {
  const envelope = parseEnvelope(envelopeText);
  if (envelope.payloadType !== RECOVERY_PAYLOAD_TYPE)
    throw policyError(
      'wrong-payload-type',
      `the envelope holds ${envelope.payloadType}, not a recovery statement`,
    );
  const document = parseRecovery(payloadText(envelope));
  const { spki } = envelopeSigner(envelope, { ...trust, at: document.issuedAt });
  return { ...document, digest: sha256(envelope.payload), signerSpki: spki };
}

/** Signs a statement: the text of a DSSE envelope. */
export function signRecovery(document: RecoveryDocument, keys: PolicyKeys): string {
  const text = formatRecovery(document);
  parseRecovery(text);
  return signEnvelope(RECOVERY_PAYLOAD_TYPE, Buffer.from(text), keys);
}
