/** In which machine a TPM sits, by its manufacturer's word (SPEC 1.4): platform certificates at enrolment. */
import { X509Certificate } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { isAttribute } from '../certificates/attributes.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { certificateError } from '../certificates/certificate-error.ts';
import { assertValidAt } from '../certificates/leaf.ts';
import { parsePlatformCertificate } from '../certificates/platform-certificate.ts';
import type { PlatformIdentity } from '../certificates/platform-certificate.ts';
import { KEY_USAGE, parseCertificate } from '../certificates/untrusted-certificate.ts';
import { enrolmentError } from './enrolment-error.ts';
import { signersNamed } from './endorsement.ts';
import type { EndorsementTrust } from './endorsement.ts';

/** What the authority's operator wants of platform certificates. */
export interface PlatformTerms {
  /** Certificates of the manufacturers of machines whose word counts. */
  readonly trust: EndorsementTrust;
  /** Put manufacturer, model and version into the host's attributes. */
  readonly attributes: boolean;
}

/**
 * Verifies that a platform certificate is about this EK certificate, is valid at `at`, and was signed by one whom the roots lead to. Throws
 * `certificate-invalid` with a CertificateReason.
 */
export function verifyPlatformCertificate(
  der: Uint8Array,
  ekCertificate: Uint8Array,
  trust: EndorsementTrust,
  at: Date,
): PlatformIdentity {
  const platform = parsePlatformCertificate(der);
  const { manufacturer, model, version, serial, holder } = platform;
  const ek = new X509Certificate(ekCertificate);
  const ekSerial = ek.serialNumber.toLowerCase().replace(/^0+/, '');
  if (holder.serial !== ekSerial || !bytesEqual(holder.issuer, parseCertificate(ekCertificate).issuer))
    throw certificateError(
      'wrong-holder',
      'it is about the EK certificate of another TPM, or of another key of this one',
    );
  assertValidAt(platform, at, 'platform certificate');
  const signers = signersNamed(platform.issuer, trust, at);
  if (signers.length === 0)
    throw certificateError('wrong-issuer', 'its signer is not among the roots that were given');
  const signed = signers.filter(({ publicKey }) => platform.signedBy(publicKey));
  if (signed.length === 0)
    throw certificateError('bad-signature', 'its signature is not that of the signer that it names');
  if (
    signed.every(({ keyUsage = KEY_USAGE.digitalSignature }) => (keyUsage & KEY_USAGE.digitalSignature) === 0)
  )
    throw certificateError('wrong-usage', 'its signer may sign certificates of keys alone');
  return { manufacturer, model, version, serial };
}

/** As attributes of a host (SPEC 1.1). Throws `enrolment-refused` for texts that these cannot hold. */
export function platformAttributes({ manufacturer, model, version }: PlatformIdentity): HostAttributes {
  const attributes = new Map(
    Object.entries({ manufacturer, model, version }).map(([name, text]) => [`platform_${name}`, text]),
  );
  for (const [name, text] of attributes)
    if (!isAttribute(name, text))
      throw enrolmentError('platform-untrusted', `the platform's ${name} cannot be an attribute: ${text}`);
  return attributes;
}
