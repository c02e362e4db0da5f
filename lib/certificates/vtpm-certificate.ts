/**
 * The certificate of a vTPM's endorsement key (SPEC 1.1), with the fields of the TCG EK Credential Profile for TPM 2.0 (2.5, section 3.2)
 * and the UUID of the VM, signed by the vTPM CA of the host where the vTPM is made.
 */
import type { KeyObject } from 'node:crypto';
import type { KeyUsageFlags } from '@peculiar/x509';
import { bytesEqual } from '../bytes/compare.ts';
import { ByteReader } from '../bytes/reader.ts';
import { certificateError } from './certificate-error.ts';
import { DER, lengthAndBytes, tagged } from './der.ts';
import { DIRECTORY_ATTRIBUTES, EK_USAGE, EXTENSION } from './identifiers.ts';
import { serialNumber } from './issue.ts';
import { assertCritical, assertValidAt } from './leaf.ts';
import { spkiOf } from './public-key.ts';
import { KEY_USAGE, parseCertificate } from './untrusted-certificate.ts';
import type { VtpmCa } from './vtpm-ca.ts';
import { x509 } from './x509-library.ts';

/** What a vTPM is, as swtpm_setup says it. */
export interface VtpmDescription {
  /** `id:` and eight hexadecimal digits: manufacturer and version of firmware. */
  readonly manufacturer: string;
  readonly model: string;
  readonly version: string;
  /** Of the TPM library specification: family such as `2.0`, level, revision times 100. */
  readonly specification: { readonly family: string; readonly level: number; readonly revision: number };
}

/** What is certified: this key is the endorsement key of the vTPM of this VM. */
export interface VtpmSubject {
  readonly uuid: string;
  /** For people alone. */
  readonly name: string;
  readonly publicKey: KeyObject;
  readonly vtpm: VtpmDescription;
}

/** A certificate that verified. */
export interface VtpmCertificate {
  readonly uuid: string;
  readonly publicKey: KeyObject;
  /** The host where the vTPM was made. */
  readonly issuer: VtpmCa;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Signs a to-be-signed part with the vTPM CA's key: ECDSA P-256 with SHA-256, r || s. */
export type VtpmSigner = (tbs: Uint8Array) => Promise<Uint8Array>;

const SIGNATURE_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const SIGNATURE_BYTES = 64;
const COMMON_NAME_MAX = 64;
/** tcg-at-tpmManufacturer, -tpmModel, -tpmVersion and -tpmSpecification: 2.23.133.2.1, .2, .3 and .16. */
const AT = { manufacturer: 1, model: 2, version: 3, specification: 16 } as const;
const UUID_URN = /^urn:uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
/** keyEncipherment and keyAgreement (RFC 5280 4.2.1.3). */
const KEY_ENCIPHERMENT = 4;
const KEY_AGREEMENT = 16;
const KNOWN = new Set<string>(Object.values(EXTENSION));

/** Issues the certificate of an endorsement key, good until `notAfter`: DER. `sign` has the key of `issuer`. */
export async function issueVtpmCertificate(
  issuer: VtpmCa,
  subject: VtpmSubject,
  validity: { readonly notBefore: Date; readonly notAfter: Date },
  sign: VtpmSigner,
): Promise<Uint8Array> {
  const library = x509();
  const commonName = `${subject.name}:${subject.uuid}`;
  const publicKey = spkiOf(subject.publicKey);
  const parameters = {
    serialNumber: serialNumber(),
    subject: [{ CN: [commonName.length <= COMMON_NAME_MAX ? commonName : subject.uuid] }],
    issuer: new library.Name(Uint8Array.from(issuer.subject)),
    publicKey,
    signingAlgorithm: SIGNATURE_ALGORITHM,
    ...validity,
    extensions: [
      new library.BasicConstraintsExtension(false, undefined, true),
      new library.KeyUsagesExtension(usageOf(subject.publicKey), true),
      new library.ExtendedKeyUsageExtension([EK_USAGE]),
      new library.Extension(EXTENSION.subjectAltName, false, Uint8Array.from(alternativeName(subject))),
      new library.Extension(DIRECTORY_ATTRIBUTES, false, Uint8Array.from(attributes(subject.vtpm))),
      await library.AuthorityKeyIdentifierExtension.create(spkiOf(issuer.publicKey)),
      await library.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  };
  const { X509CertificateGenerator: generator } = library;
  const unsigned = await generator.create({
    ...parameters,
    signature: new Uint8Array(SIGNATURE_BYTES).fill(1),
  });
  const signature = await sign(toBeSigned(new Uint8Array(unsigned.rawData)));
  const certificate = await generator.create({ ...parameters, signature: Uint8Array.from(signature) });
  const der = new Uint8Array(certificate.rawData);
  if (!parseCertificate(der).signedBy(issuer.publicKey))
    throw certificateError('bad-signature', "the signature made is not of the vTPM CA's key");
  return der;
}

/** Verifies that a vTPM CA issued this certificate of an endorsement key, at a time. Throws `certificate-invalid`. */
export function verifyVtpmCertificate(der: Uint8Array, issuer: VtpmCa, at: Date): VtpmCertificate {
  const certificate = parseCertificate(der);
  if (!bytesEqual(certificate.issuer, issuer.subject))
    throw certificateError('wrong-issuer', `the vTPM's certificate is not of the vTPM CA of ${issuer.host}`);
  if (certificate.signatureHash !== 'SHA-256' || !certificate.signedBy(issuer.publicKey))
    throw certificateError(
      'bad-signature',
      `the vTPM's certificate was not signed by the vTPM CA of ${issuer.host}`,
    );
  assertCritical(certificate, KNOWN, "vTPM's certificate");
  const { basicConstraints, keyUsage = 0, extendedKeyUsages, subjectAltNames } = certificate;
  const isEk =
    basicConstraints?.ca !== true &&
    (keyUsage & (KEY_USAGE.keyCertSign | KEY_USAGE.crlSign)) === 0 &&
    (keyUsage & (KEY_ENCIPHERMENT | KEY_AGREEMENT)) !== 0 &&
    extendedKeyUsages?.join() === EK_USAGE;
  if (!isEk) throw certificateError('wrong-usage', "the certificate is not one of a vTPM's endorsement key");
  const urls = subjectAltNames.filter(({ kind }) => kind === 'url');
  const uuid = UUID_URN.exec(urls[0]?.value ?? '')?.[1];
  if (uuid === undefined || urls.length !== 1)
    throw certificateError('wrong-name', "the vTPM's certificate does not name one VM by its UUID");
  assertValidAt(certificate, at, "vTPM's certificate");
  const { publicKey, notBefore, notAfter } = certificate;
  return { uuid, publicKey, issuer, notBefore, notAfter };
}

function usageOf(key: KeyObject): KeyUsageFlags {
  const { keyEncipherment, keyAgreement } = x509().KeyUsageFlags;
  return key.asymmetricKeyType === 'rsa' ? keyEncipherment : keyAgreement;
}

/** SubjectAltName: the directory name of the profile (3.1.2), and the UUID as a URN (RFC 9562, 4). */
function alternativeName({ uuid, vtpm }: VtpmSubject): Uint8Array {
  const named = (['manufacturer', 'model', 'version'] as const).map((what) =>
    tagged(
      DER.SET,
      tagged(DER.SEQUENCE, attributeType(AT[what]), tagged(DER.UTF8_STRING, Buffer.from(vtpm[what]))),
    ),
  );
  return tagged(
    DER.SEQUENCE,
    tagged(DER.directoryName, tagged(DER.SEQUENCE, ...named)),
    tagged(DER.uniformResourceIdentifier, Buffer.from(`urn:uuid:${uuid}`)),
  );
}

/** SubjectDirectoryAttributes with the TPM specification (3.1.3): SEQUENCE { family, level, revision }. */
function attributes({ specification: { family, level, revision } }: VtpmDescription): Uint8Array {
  const specification = tagged(
    DER.SEQUENCE,
    tagged(DER.UTF8_STRING, Buffer.from(family)),
    tagged(DER.INTEGER, integer(level)),
    tagged(DER.INTEGER, integer(revision)),
  );
  return tagged(
    DER.SEQUENCE,
    tagged(DER.SEQUENCE, attributeType(AT.specification), tagged(DER.SET, specification)),
  );
}

const attributeType = (last: number): Uint8Array =>
  tagged(DER.OBJECT_IDENTIFIER, [0x67, 0x81, 0x05, 0x02, last]);

/** Contents of a DER INTEGER below 32768. */
function integer(value: number): readonly number[] {
  return value < 0x80 ? [value] : [value >> 8, value & 0xff];
}

/** TBSCertificate, with its header, of a certificate. */
function toBeSigned(der: Uint8Array): Uint8Array {
  const outer = new ByteReader(der, { what: 'certificate' });
  outer.u8();
  const body = lengthAndBytes(outer);
  const inner = new ByteReader(body, { what: 'certificate' });
  inner.u8();
  lengthAndBytes(inner);
  return body.slice(0, body.byteLength - inner.remaining);
}
