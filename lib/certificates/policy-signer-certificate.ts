import type { KeyObject } from 'node:crypto';
import { certificateError } from './certificate-error.ts';
import { POLICY_SIGNING_USAGE } from './identifiers.ts';
import { verifyLeaf } from './leaf.ts';
import type { LeafProfile } from './leaf.ts';
import { spkiOf } from './public-key.ts';
import type { RootCertificate } from './root-certificate.ts';

/** A verified policy signer (SPEC 1.1): its key may sign policies and the approvals in them. */
export interface PolicySigner {
  readonly publicKey: KeyObject;
  /** SubjectPublicKeyInfo DER of the key. */
  readonly spki: Uint8Array;
  /** SHA-256 of the certificate's DER. */
  readonly digest: Uint8Array;
}

const profile: LeafProfile<PolicySigner> = {
  what: 'policy signer certificate',
  usages: [POLICY_SIGNING_USAGE],
  read: ({ publicKey, digest }) => {
    if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
      throw certificateError('wrong-usage', 'the policy key is not on the curve P-256');
    }
    return { publicKey, spki: spkiOf(publicKey), digest };
  },
};

/** Verifies a policy signer's certificate at a time. Throws `certificate-invalid` (details: CertificateReason). */
export function verifyPolicySignerCertificate(
  der: Uint8Array,
  root: RootCertificate,
  at: Date,
): PolicySigner {
  return verifyLeaf(der, root, at, profile);
}
