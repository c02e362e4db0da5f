/** Who signed an envelope: the key of a policy signer that the authority's root has certified (SPEC 1.1, 10). */
import { bytesEqual } from '../bytes/compare.ts';
import { verifyPolicySignerCertificate } from '../certificates/policy-signer-certificate.ts';
import type { PolicySigner } from '../certificates/policy-signer-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { TvmmpError } from '../errors.ts';
import { verifyEnvelope } from './dsse.ts';
import type { UntrustedEnvelope } from './dsse.ts';
import { policyError } from './policy-error.ts';

/** Whom to believe, and when: certificates of policy signers (DER, untrusted) and the root they must chain to. */
export interface SignerTrust {
  readonly root: RootCertificate;
  readonly signers: readonly Uint8Array[];
  readonly at: Date;
}

/**
 * The signer whose key made the envelope's signature, with a certificate that is good; `known` is the SPKI of the key that was found to have made it
 * before. Throws `policy-invalid`:
 * untrusted-signer, bad-signature.
 */
export function envelopeSigner(
  envelope: UntrustedEnvelope,
  trust: SignerTrust,
  known?: Uint8Array,
): PolicySigner {
  const causes: unknown[] = [];
  const signers = trust.signers.flatMap((der) => {
    try {
      return [verifyPolicySignerCertificate(der, trust.root, trust.at)];
    } catch (cause) {
      if (!(cause instanceof TvmmpError)) throw cause;
      causes.push(cause);
      return [];
    }
  });
  if (signers.length === 0) {
    throw policyError('untrusted-signer', 'no certificate of a policy signer is good', causes[0]);
  }
  const signer =
    signers.find(({ spki }) => known !== undefined && bytesEqual(spki, known)) ??
    signers.find(({ publicKey }) => verifyEnvelope(envelope, publicKey));
  if (signer === undefined) throw policyError('bad-signature', 'no known policy key signed it');
  return signer;
}
