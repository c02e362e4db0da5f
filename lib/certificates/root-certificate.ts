/** The authority's root certificate (SPEC 1.1): the one thing that hosts, auditors and tenants trust to begin with. */
import { bytesEqual } from '../bytes/compare.ts';
import type { KeyObject } from 'node:crypto';
import { certificateError } from './certificate-error.ts';
import { certificateFromPem } from './pem.ts';
import { KEY_USAGE, parseCertificate } from './untrusted-certificate.ts';

/** A root that somebody chose to trust; its own signature, usage and constraints are checked, its validity is not. */
export interface RootCertificate {
  readonly der: Uint8Array;
  /** SHA-256 of `der`. */
  readonly digest: Uint8Array;
  /** DER of the subject. */
  readonly subject: Uint8Array;
  readonly publicKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Reads the root certificate from DER, or from a PEM text that holds it alone. Throws `certificate-invalid`. */
export function parseRootCertificate(source: Uint8Array | string): RootCertificate {
  const certificate = parseCertificate(typeof source === 'string' ? certificateFromPem(source) : source);
  if (certificate.basicConstraints?.ca !== true || !allows(certificate.keyUsage, KEY_USAGE.keyCertSign)) {
    throw certificateError('wrong-usage', 'the root certificate is not one of a certificate authority');
  }
  if (!bytesEqual(certificate.subject, certificate.issuer)) {
    throw certificateError('wrong-issuer', 'the root certificate was issued by another');
  }
  const curve = certificate.publicKey.asymmetricKeyDetails?.namedCurve;
  if (curve !== 'prime256v1') throw certificateError('wrong-usage', 'the root key is not on the curve P-256');
  if (!certificate.signedBy(certificate.publicKey)) {
    throw certificateError('bad-signature', "the root certificate's signature is not its own key's");
  }
  const { der, digest, subject, publicKey, notBefore, notAfter } = certificate;
  return { der, digest, subject, publicKey, notBefore, notAfter };
}

function allows(usage: number | undefined, flag: number): boolean {
  return usage !== undefined && (usage & flag) !== 0;
}
