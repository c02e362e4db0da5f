/**
 * Endorsement key certificates (TCG EK Credential Profile for TPM 2.0, 3): a manufacturer's word that a key is in a genuine
 * TPM. Whose word counts is what the operator put into a directory: roots, and intermediates between them and EKs.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bytesEqual } from '../bytes/compare.ts';
import { certificateError } from '../certificates/certificate-error.ts';
import { EK_USAGE, EXTENSION } from '../certificates/identifiers.ts';
import { assertCritical } from '../certificates/leaf.ts';
import { certificatesFromPem } from '../certificates/pem.ts';
import { KEY_USAGE, parseCertificate } from '../certificates/untrusted-certificate.ts';
import type { UntrustedCertificate } from '../certificates/untrusted-certificate.ts';
import { TvmmpError } from '../errors.ts';

/** Certificates of TPM manufacturers. */
export interface EndorsementTrust {
  readonly roots: readonly UntrustedCertificate[];
  readonly intermediates: readonly UntrustedCertificate[];
}

/** Longest chain: this many issuers above an EK certificate. */
const ISSUERS_MAX = 4;
/** keyEncipherment and keyAgreement (RFC 5280 4.2.1.3), for RSA and ECC EKs. */
const EK_KEY_USAGE = 4 | 16;
const CERTIFICATE_POLICIES = '2.5.29.32';
/** Critical extensions taken into account; certificate policies do not constrain us, since we ask for none. */
const KNOWN = new Set<string>([...Object.values(EXTENSION), CERTIFICATE_POLICIES]);
const STRONG = new Set(['SHA-256', 'SHA-384', 'SHA-512']);

/**
 * Reads the certificates in all `.pem`, `.crt` and `.cer` files of a directory (PEM, several in one file allowed, or DER);
 * self-signed ones are roots. PEM files without a certificate are passed over: swtpm's CA keeps its keys in the same place.
 */
export function loadEndorsementTrust(directory: string): EndorsementTrust {
  const files = readDirectory(directory).filter((name) => /\.(?:pem|crt|cer)$/.test(name));
  const certificates = files.flatMap((name) => readCertificates(join(directory, name)));
  const isRoot = (certificate: UntrustedCertificate): boolean =>
    bytesEqual(certificate.subject, certificate.issuer) && certificate.signedBy(certificate.publicKey);
  const roots = certificates.filter(isRoot);
  if (roots.length === 0) {
    throw new TvmmpError('config-invalid', `no root certificate of a manufacturer in ${directory}`);
  }
  return { roots, intermediates: certificates.filter((certificate) => !isRoot(certificate)) };
}

/**
 * Verifies that an EK certificate chains to one of the roots, that every certificate on the way is valid at `at`, and that it
 * is one of an EK. Returns the certificate. Throws `certificate-invalid`.
 */
export function verifyEkCertificate(
  der: Uint8Array,
  trust: EndorsementTrust,
  at: Date,
): UntrustedCertificate {
  const certificate = parseCertificate(der);
  const { keyUsage = EK_KEY_USAGE, extendedKeyUsages = [EK_USAGE], basicConstraints } = certificate;
  if (
    (keyUsage & EK_KEY_USAGE) === 0 ||
    !extendedKeyUsages.includes(EK_USAGE) ||
    basicConstraints?.ca === true
  ) {
    throw certificateError('wrong-usage', 'the certificate is not one of an endorsement key');
  }
  assertCriticalKnown(certificate);
  assertChains(certificate, trust, at, 0);
  return certificate;
}

/** Those of the given certificates that have this name, are good at `at`, and chain to one of the roots or are one. Throws `certificate-invalid`. */
export function signersNamed(
  name: Uint8Array,
  trust: EndorsementTrust,
  at: Date,
): readonly UntrustedCertificate[] {
  const named = [...trust.roots, ...trust.intermediates].filter(({ subject }) => bytesEqual(subject, name));
  for (const certificate of named) {
    assertCriticalKnown(certificate);
    if (trust.roots.includes(certificate)) assertValid(certificate, at);
    else assertChains(certificate, trust, at, 0);
  }
  return named;
}

/** Finds an issuer, and one for it, up to a root. Several certificates of one name are tried in turn. */
function assertChains(
  certificate: UntrustedCertificate,
  trust: EndorsementTrust,
  at: Date,
  below: number,
): void {
  assertValid(certificate, at);
  const named = (issuer: UntrustedCertificate): boolean => bytesEqual(issuer.subject, certificate.issuer);
  const root = trust.roots.find((issuer) => named(issuer) && issued(issuer, certificate, below));
  if (root !== undefined) {
    assertCriticalKnown(root);
    assertValid(root, at);
    return;
  }
  const issuers = trust.intermediates.filter((issuer) => named(issuer) && issued(issuer, certificate, below));
  if (issuers.length === 0 || below + 1 >= ISSUERS_MAX) {
    throw certificateError('wrong-issuer', 'the certificate does not chain to a root that was given');
  }
  let failure: unknown;
  for (const issuer of issuers) {
    try {
      assertCriticalKnown(issuer);
      assertChains(issuer, trust, at, below + 1);
      return;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** RFC 5280 6.1: a CA that may sign certificates, with at most the allowed number of CAs below it. */
function issued(issuer: UntrustedCertificate, certificate: UntrustedCertificate, below: number): boolean {
  const { basicConstraints, keyUsage = KEY_USAGE.keyCertSign } = issuer;
  return (
    basicConstraints?.ca === true &&
    (basicConstraints.pathLength === undefined || basicConstraints.pathLength >= below) &&
    (keyUsage & KEY_USAGE.keyCertSign) !== 0 &&
    STRONG.has(certificate.signatureHash ?? '') &&
    certificate.signedBy(issuer.publicKey)
  );
}

function assertValid({ notBefore, notAfter }: UntrustedCertificate, at: Date): void {
  if (!(at >= notBefore))
    throw certificateError('not-yet-valid', 'the certificate, or one above it, is not valid yet');
  if (!(at <= notAfter)) throw certificateError('expired', 'the certificate, or one above it, has expired');
}

function assertCriticalKnown(certificate: UntrustedCertificate): void {
  assertCritical(certificate, KNOWN, "certificate's chain");
}

function readDirectory(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch (cause) {
    throw new TvmmpError(
      'config-invalid',
      `the directory of manufacturers’ roots cannot be read: ${directory}`,
      {
        cause,
      },
    );
  }
}

function readCertificates(file: string): readonly UntrustedCertificate[] {
  try {
    const bytes = readFileSync(file);
    if (bytes.at(0) === 0x30) return [parseCertificate(Uint8Array.from(bytes))];
    const text = bytes.toString();
    return text.includes('BEGIN CERTIFICATE') ? certificatesFromPem(text).map(parseCertificate) : [];
  } catch (cause) {
    throw new TvmmpError('config-invalid', `the root ${file} cannot be read: ${(cause as Error).message}`, {
      cause,
    });
  }
}
