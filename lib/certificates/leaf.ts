/** What all certificates of the authority have in common (SPEC 1.1), verified once and remembered. */
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { hex } from '../encoding/hex.ts';
import { Remembered } from '../encoding/remembered.ts';
import { limits } from '../limits.ts';
import { certificateError } from './certificate-error.ts';
import { ATTRIBUTES_EXTENSION, EXTENSION, HOST_KEYS_EXTENSION } from './identifiers.ts';
import type { RootCertificate } from './root-certificate.ts';
import { KEY_USAGE, parseCertificate } from './untrusted-certificate.ts';
import type { UntrustedCertificate } from './untrusted-certificate.ts';

/** One kind of certificate: which extended key usages it must have, no more and no fewer. */
export interface LeafProfile<T> {
  readonly what: string;
  readonly usages: readonly string[];
  /** Reads what is special to the kind; runs after issuer, signature and usage were verified. */
  readonly read: (certificate: UntrustedCertificate) => T;
}

/** Extensions that this code takes into account; any other one must not be critical (RFC 5280 4.2). */
const KNOWN = new Set<string>([...Object.values(EXTENSION), HOST_KEYS_EXTENSION, ATTRIBUTES_EXTENSION]);

interface Accepted {
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly value: unknown;
}

/** Accepted certificates by profile, root and digest. What is remembered depends on the key alone, never on the time. */
const accepted = new Remembered<Accepted>(limits.certificatesRememberedMax);

/**
 * Verifies that `der` was issued by `root`, is valid at `at`, and is of the kind of `profile`. Throws
 * `certificate-invalid` with a CertificateReason.
 */
export function verifyLeaf<T>(der: Uint8Array, root: RootCertificate, at: Date, profile: LeafProfile<T>): T {
  const key = `${profile.what}/${hex(root.digest)}/${hex(sha256(der))}`;
  const remembered = accepted.get(key, () => {
    const certificate = parseCertificate(der);
    assertIssued(certificate, root, profile);
    const { notBefore, notAfter } = certificate;
    return { notBefore, notAfter, value: profile.read(certificate) };
  });
  assertValidAt(remembered, at, profile.what);
  assertValidAt(root, at, 'root certificate');
  return remembered.value as T;
}

function assertIssued(
  certificate: UntrustedCertificate,
  root: RootCertificate,
  { what, usages }: LeafProfile<unknown>,
): void {
  if (!bytesEqual(certificate.issuer, root.subject)) {
    throw certificateError('wrong-issuer', `the ${what} was not issued by this authority`);
  }
  if (certificate.signatureHash !== 'SHA-256' || !certificate.signedBy(root.publicKey)) {
    throw certificateError('bad-signature', `the signature on the ${what} is not the authority's`);
  }
  assertCritical(certificate, KNOWN, what);
  const { keyUsage = 0, extendedKeyUsages = [] } = certificate;
  const signsOnly =
    (keyUsage & KEY_USAGE.digitalSignature) !== 0 &&
    (keyUsage & (KEY_USAGE.keyCertSign | KEY_USAGE.crlSign)) === 0 &&
    certificate.basicConstraints?.ca !== true;
  if (!signsOnly || !sameMembers(extendedKeyUsages, usages)) {
    throw certificateError('wrong-usage', `the ${what} has the key usages of another kind of certificate`);
  }
}

/** Refuses an extension that is critical and not among those taken into account (RFC 5280 4.2). */
export function assertCritical(
  { extensions }: UntrustedCertificate,
  known: ReadonlySet<string>,
  what: string,
): void {
  for (const [oid, { critical }] of extensions) {
    if (critical && !known.has(oid)) {
      throw certificateError('unknown-critical-extension', `the ${what} has a critical extension ${oid}`);
    }
  }
}

/** Refuses what is not valid at a time, both ends included. */
export function assertValidAt(validity: { notBefore: Date; notAfter: Date }, at: Date, what: string): void {
  const time = at.getTime();
  if (!(time >= validity.notBefore.getTime())) {
    throw certificateError('not-yet-valid', `the ${what} is valid from ${validity.notBefore.toISOString()}`);
  }
  if (!(time <= validity.notAfter.getTime())) {
    throw certificateError('expired', `the ${what} was valid until ${validity.notAfter.toISOString()}`);
  }
}

function sameMembers(found: readonly string[], wanted: readonly string[]): boolean {
  return found.length === wanted.length && wanted.every((oid) => found.includes(oid));
}
