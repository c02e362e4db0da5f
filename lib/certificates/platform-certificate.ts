/**
 * Platform certificates: a manufacturer's word in which machine a TPM sits (TCG Platform Certificate Profile 1.1, 3.2), as an attribute certificate
 * (RFC 5755) about the endorsement key's certificate. What is read here is UNTRUSTED until its signer is looked at.
 */
import { verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Extension, GeneralName } from '@peculiar/asn1-x509';
import type { AttributeCertificateInfo } from '@peculiar/asn1-x509-attr';
import { bytesEqual } from '../bytes/compare.ts';
import { ByteReader } from '../bytes/reader.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { asn1 } from './asn1-library.ts';
import { certificateError } from './certificate-error.ts';
import { DER, contents } from './der.ts';
import { EXTENSION, PLATFORM_USAGE } from './identifiers.ts';

/** What a manufacturer says of a machine: printable texts. */
export interface PlatformIdentity {
  readonly manufacturer: string;
  readonly model: string;
  readonly version: string;
  /** Null where the certificate has none. */
  readonly serial: string | null;
}

/** `Example Corp RackServer 9 (rev 2), serial 123`. */
export function platformText({ manufacturer, model, version, serial }: PlatformIdentity): string {
  return `${manufacturer} ${model} (${version})${serial === null ? '' : `, serial ${serial}`}`;
}

/** A platform certificate that was read. UNTRUSTED. */
export interface UntrustedPlatformCertificate extends PlatformIdentity {
  /** Of the EK certificate that it is about: DER of the issuer's name, and the serial number in hexadecimal without leading zeros. */
  readonly holder: { readonly issuer: Uint8Array; readonly serial: string };
  /** DER of the signer's name. */
  readonly issuer: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly signedBy: (key: KeyObject) => boolean;
}

/** tcg-at-tcgCredentialType, and its value for platform certificates: SEQUENCE { tcg-kp-PlatformAttributeCertificate }. */
const CREDENTIAL_TYPE = '2.23.133.2.25';
const PLATFORM_TYPE = '300706056781050802';
/** tcg-at-platformManufacturerStr, -platformModel, -platformVersion and -platformSerial, in the subjectAltName's directoryName. */
const NAMES = {
  manufacturer: '2.23.133.5.1.1',
  model: '2.23.133.5.1.4',
  version: '2.23.133.5.1.5',
  serial: '2.23.133.5.1.6',
} as const;
const TEXT = /^[\x20-\x7e]{1,128}$/;
/** Critical extensions that are looked at, or ask nothing of us: subjectAltName, extendedKeyUsage, certificatePolicies. */
const KNOWN: ReadonlySet<string> = new Set([
  EXTENSION.subjectAltName,
  EXTENSION.extendedKeyUsage,
  '2.5.29.32',
]);
/** Signature algorithms by identifier (RFC 5758, RFC 4055): nothing below SHA-256. */
const ALGORITHMS: ReadonlyMap<string, readonly ['ec' | 'rsa', string]> = new Map([
  ['1.2.840.10045.4.3.2', ['ec', 'sha256']],
  ['1.2.840.10045.4.3.3', ['ec', 'sha384']],
  ['1.2.840.10045.4.3.4', ['ec', 'sha512']],
  ['1.2.840.113549.1.1.11', ['rsa', 'sha256']],
  ['1.2.840.113549.1.1.12', ['rsa', 'sha384']],
  ['1.2.840.113549.1.1.13', ['rsa', 'sha512']],
]);

/** Reads one platform certificate in DER. Throws `certificate-invalid`: `malformed`, `wrong-usage` for another kind, `unknown-critical-extension`. */
export function parsePlatformCertificate(der: Uint8Array): UntrustedPlatformCertificate {
  if (der.byteLength > limits.certificateBytesMax)
    throw malformed(`a platform certificate of ${der.byteLength} bytes`);
  try {
    return read(Uint8Array.from(der));
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'certificate-invalid') throw cause;
    throw malformed(`the platform certificate cannot be read: ${(cause as Error).message}`, cause);
  }
}

function read(der: Uint8Array): UntrustedPlatformCertificate {
  const { schema, attributes } = asn1();
  const signed = signedPart(der);
  const { acinfo, signatureAlgorithm, signatureValue } = schema.AsnConvert.parse(
    der,
    attributes.AttributeCertificate,
  );
  const { notBeforeTime, notAfterTime } = acinfo.attrCertValidityPeriod;
  const version: number = acinfo.version;
  if (version !== 1) throw malformed('not an attribute certificate of version 2');
  const serialized = [acinfo.signature, signatureAlgorithm].map((one) =>
    bytesOf(schema.AsnConvert.serialize(one)),
  );
  if (!bytesEqual(serialized[0] ?? signed, serialized[1] ?? der))
    throw malformed('the platform certificate names two signature algorithms');
  assertPlatformType(acinfo);
  return {
    ...identityOf(extensionsOf(acinfo)),
    holder: holderOf(acinfo),
    issuer: issuerOf(acinfo),
    notBefore: notBeforeTime,
    notAfter: notAfterTime,
    signedBy: (key) => {
      const [kind, hash] = ALGORITHMS.get(signatureAlgorithm.algorithm) ?? [];
      if (kind === undefined || key.asymmetricKeyType !== kind) return false;
      return verify(hash, signed, key, bytesOf(signatureValue));
    },
  };
}

/** The bytes of what is signed, as they stand there. Nothing follows the certificate. */
function signedPart(der: Uint8Array): Uint8Array {
  const whole = new ByteReader(der, { what: 'platform certificate' });
  const body = contents(whole, DER.SEQUENCE);
  whole.end();
  const parts = new ByteReader(body, { what: 'platform certificate' });
  contents(parts, DER.SEQUENCE);
  return body.subarray(0, body.byteLength - parts.remaining);
}

/** The EK certificate that it is about, told by issuer and serial number, and by nothing else. */
function holderOf({ holder }: AttributeCertificateInfo): UntrustedPlatformCertificate['holder'] {
  const { baseCertificateID, entityName, objectDigestInfo } = holder;
  const others = entityName !== undefined || objectDigestInfo !== undefined;
  if (baseCertificateID === undefined || others)
    throw malformed('the holder is not told by issuer and serial number of an EK certificate alone');
  const serial = hex(bytesOf(baseCertificateID.serial)).replace(/^0+/, '');
  return { issuer: directoryName([...baseCertificateID.issuer]), serial };
}

function issuerOf({ issuer: { v1Form, v2Form } }: AttributeCertificateInfo): Uint8Array {
  const others = v1Form ?? v2Form?.baseCertificateID ?? v2Form?.objectDigestInfo;
  if (v2Form?.issuerName === undefined || others !== undefined)
    throw malformed('the signer of the platform certificate is not told by one name');
  return directoryName([...v2Form.issuerName]);
}

/** DER of the name, where it is the only one and a distinguished name. */
function directoryName(names: readonly GeneralName[]): Uint8Array {
  const [only, other] = names;
  if (only?.directoryName === undefined || other !== undefined)
    throw malformed('one distinguished name was expected');
  return bytesOf(asn1().schema.AsnConvert.serialize(only.directoryName));
}

/** A delta, or a certificate of another kind, has another type; one that has no type is told by its extended key usage, or not at all. */
function assertPlatformType({ attributes }: AttributeCertificateInfo): void {
  const types = attributes.filter(({ type }) => type === CREDENTIAL_TYPE);
  const values = types.flatMap(({ values: all }) => all.map((value) => hex(bytesOf(value))));
  if (values.some((value) => value !== PLATFORM_TYPE) || values.length > 1)
    throw certificateError('wrong-usage', 'the certificate is one of another kind than of a whole platform');
}

function extensionsOf({ extensions }: AttributeCertificateInfo): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>();
  if (extensions === undefined) return found;
  for (const extension of extensions) {
    const { extnID, critical } = extension;
    if (found.has(extnID)) throw malformed(`the extension ${extnID} twice`);
    if (critical && !KNOWN.has(extnID))
      throw certificateError(
        'unknown-critical-extension',
        `the platform certificate has a critical extension ${extnID}`,
      );
    found.set(extnID, extension);
  }
  return found;
}

function identityOf(extensions: ReadonlyMap<string, Extension>): PlatformIdentity {
  const { schema, x509 } = asn1();
  const usages = extensions.get(EXTENSION.extendedKeyUsage);
  if (usages !== undefined) {
    const listed = schema.AsnConvert.parse(usages.extnValue, x509.ExtendedKeyUsage);
    if (![...listed].includes(PLATFORM_USAGE))
      throw certificateError('wrong-usage', 'the certificate is not one of a platform');
  }
  const alternative = extensions.get(EXTENSION.subjectAltName);
  if (alternative === undefined)
    throw malformed('the platform certificate names no platform (subjectAltName)');
  const names = schema.AsnConvert.parse(alternative.extnValue, x509.SubjectAlternativeName);
  const [name, other] = [...names].map(({ directoryName: one }) => one).filter((one) => one !== undefined);
  if (name === undefined || other !== undefined)
    throw malformed('one distinguished name of the platform was expected');
  const told = [...name].flatMap((set) => [...set]);
  const text = (oid: string): string | null => {
    const [first, second] = told.filter(({ type }) => type === oid).map(({ value }) => value.toString());
    if (second !== undefined) throw malformed(`the platform has two names ${oid}`);
    if (first !== undefined && !TEXT.test(first))
      throw malformed(`the name ${oid} of the platform is not printable`);
    return first ?? null;
  };
  const [manufacturer, model, version] = [NAMES.manufacturer, NAMES.model, NAMES.version].map(text);
  if (manufacturer == null || model == null || version == null)
    throw malformed('the platform certificate does not tell manufacturer, model and version');
  return { manufacturer, model, version, serial: text(NAMES.serial) };
}

function bytesOf(source: ArrayBuffer): Uint8Array {
  return new Uint8Array(source);
}

function malformed(message: string, cause?: unknown): Error {
  return certificateError('malformed', message, cause);
}
