/**
 * An X.509 certificate that was read and not yet believed. Two parsers must agree that the bytes are one DER certificate:
 * OpenSSL, which also checks signatures, and @peculiar/x509, whose typed extensions give names and usages.
 */
import { X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { X509Certificate as LibraryCertificate } from '@peculiar/x509';
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { hex } from '../encoding/hex.ts';
import { Remembered } from '../encoding/remembered.ts';
import { limits } from '../limits.ts';
import { certificateError } from './certificate-error.ts';
import { spkiDigest } from './public-key.ts';
import { x509 } from './x509-library.ts';

/** One extension as the certificate has it. */
export interface UntrustedExtension {
  readonly critical: boolean;
  /** DER inside the extension's OCTET STRING. */
  readonly value: Uint8Array;
}

/** A general name (RFC 5280 4.2.1.6): `dns` and `ip` are the kinds we read. */
export interface UntrustedName {
  readonly kind: string;
  readonly value: string;
}

/** What a certificate says. Nothing of it is verified. */
export interface UntrustedCertificate {
  readonly der: Uint8Array;
  /** SHA-256 of `der`. */
  readonly digest: Uint8Array;
  /** DER of the names: compared as bytes. */
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly publicKey: KeyObject;
  /** SHA-256 of the key's SubjectPublicKeyInfo DER. */
  readonly publicKeyDigest: Uint8Array;
  readonly extensions: ReadonlyMap<string, UntrustedExtension>;
  /** Flags of `KeyUsageFlags`; undefined where the extension is missing. */
  readonly keyUsage: number | undefined;
  readonly extendedKeyUsages: readonly string[] | undefined;
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  readonly subjectAltNames: readonly UntrustedName[];
  /** Whether `key` signed this certificate, by OpenSSL. */
  readonly signedBy: (key: KeyObject) => boolean;
  /** Hash of the signature algorithm, such as `SHA-256`; undefined where we do not know it. */
  readonly signatureHash: string | undefined;
}

/** Bits of KeyUsage (RFC 5280 4.2.1.3), first bit lowest. */
export const KEY_USAGE = { digitalSignature: 1, keyCertSign: 32, crlSign: 64 } as const;

/** What was read lately, by digest: a certificate says the same each time, and each proof brings the same few. */
const parsed = new Remembered<UntrustedCertificate>(limits.certificatesRememberedMax);

/** Reads one DER certificate. Throws `certificate-invalid`, reason `malformed`. */
export function parseCertificate(bytes: Uint8Array): UntrustedCertificate {
  if (bytes.byteLength > limits.certificateBytesMax) {
    throw certificateError('malformed', `a certificate of ${bytes.byteLength} bytes`);
  }
  const der = Uint8Array.from(bytes);
  return parsed.get(hex(sha256(der)), () => parse(der));
}

function parse(der: Uint8Array): UntrustedCertificate {
  try {
    const native = new X509Certificate(der);
    if (!bytesEqual(native.raw, der)) throw new Error('not exactly one DER certificate');
    return describe(der, native, new (x509().X509Certificate)(der));
  } catch (cause) {
    throw certificateError('malformed', `the certificate cannot be read: ${(cause as Error).message}`, cause);
  }
}

function describe(
  der: Uint8Array,
  native: X509Certificate,
  parsed: LibraryCertificate,
): UntrustedCertificate {
  const library = x509();
  const extensions = new Map<string, UntrustedExtension>();
  for (const { type, critical, value } of parsed.extensions) {
    if (extensions.has(type)) throw new Error(`the extension ${type} twice`);
    extensions.set(type, { critical, value: new Uint8Array(value) });
  }
  const constraints = parsed.getExtension(library.BasicConstraintsExtension);
  const names = parsed.getExtension(library.SubjectAlternativeNameExtension)?.names.items ?? [];
  const { hash } = parsed.signatureAlgorithm as { hash?: { name?: string } };
  const { publicKey } = native;
  const signers = new WeakMap<KeyObject, boolean>();
  return {
    der,
    digest: sha256(der),
    subject: new Uint8Array(parsed.subjectName.toArrayBuffer()),
    issuer: new Uint8Array(parsed.issuerName.toArrayBuffer()),
    notBefore: parsed.notBefore,
    notAfter: parsed.notAfter,
    publicKey,
    publicKeyDigest: spkiDigest(publicKey),
    extensions,
    keyUsage: parsed.getExtension(library.KeyUsagesExtension)?.usages,
    extendedKeyUsages: parsed.getExtension(library.ExtendedKeyUsageExtension)?.usages.map(String),
    basicConstraints:
      constraints === null ? undefined : { ca: constraints.ca, pathLength: constraints.pathLength },
    subjectAltNames: names.map(({ type, value }) => ({ kind: type, value })),
    signedBy: (key) => {
      const known = signers.get(key) ?? signedBy(native, key);
      signers.set(key, known);
      return known;
    },
    signatureHash: hash?.name,
  };
}

/** OpenSSL throws where the key is of another kind than the signature. */
function signedBy(certificate: X509Certificate, key: KeyObject): boolean {
  try {
    return certificate.verify(key);
  } catch {
    return false;
  }
}
