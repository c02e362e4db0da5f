/** The vTPM CA of a host (SPEC 1.1): a key in its TPM, certified by the root of vTPMs, that signs certificates of the vTPMs made there. */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { ByteReader } from '../bytes/reader.ts';
import { certificateError } from './certificate-error.ts';
import { DER, contents, tagged } from './der.ts';
import { isHostName } from './host-name.ts';
import { EK_USAGE, EXTENSION, NAME_CONSTRAINTS, VTPM_CA_EXTENSION } from './identifiers.ts';
import { ALGORITHM, importKeyPair, serialNumber } from './issue.ts';
import type { Issuer, Validity } from './issue.ts';
import { assertCritical, assertValidAt } from './leaf.ts';
import { spkiOf } from './public-key.ts';
import { KEY_USAGE, parseCertificate } from './untrusted-certificate.ts';
import type { UntrustedCertificate } from './untrusted-certificate.ts';
import type { VtpmRoot } from './vtpm-root.ts';
import { x509 } from './x509-library.ts';

/** A verified vTPM CA: whose it is, and the key that signs. */
export interface VtpmCa {
  readonly host: string;
  /** TPM name of that host's AK, 34 bytes. */
  readonly akName: Uint8Array;
  readonly publicKey: KeyObject;
  /** DER of the subject: the issuer that its certificates name. */
  readonly subject: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly der: Uint8Array;
}

/**
 * NameConstraints (RFC 5280 4.2.1.10) that exclude every DNS name and every IP address: whatever such a CA signs, it is no server's
 * certificate. excludedSubtrees of dNSName "", iPAddress 0.0.0.0/0 and ::/0.
 */
const NO_SERVERS = tagged(
  DER.SEQUENCE,
  tagged(
    0xa1,
    ...[
      [0x82, 0],
      [0x87, 8, ...new Uint8Array(8)],
      [0x87, 32, ...new Uint8Array(32)],
    ].map((name) => tagged(DER.SEQUENCE, name)),
  ),
);
const AK_NAME_BYTES = 34;
/** So much of a host's name is in the common name, which is for people alone. */
const NAME_SHOWN_MAX = 50;
const KNOWN = new Set<string>([...Object.values(EXTENSION), NAME_CONSTRAINTS, VTPM_CA_EXTENSION]);

/** Certifies a host's vTPM CA key: DER. `issuer` is the root of vTPMs. */
export async function issueVtpmCa(
  issuer: Issuer,
  host: { readonly name: string; readonly akName: Uint8Array },
  publicKey: KeyObject,
  validity: Validity,
): Promise<Uint8Array> {
  const library = x509();
  const { privateKey } = await importKeyPair({
    privateKey: issuer.privateKey,
    publicKey: issuer.certificate.publicKey,
  });
  const certificate = await library.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [`${host.name.slice(0, NAME_SHOWN_MAX)} vTPM CA`] }],
    issuer: new library.Name(Uint8Array.from(issuer.certificate.subject)),
    signingKey: privateKey,
    publicKey: spkiOf(publicKey),
    signingAlgorithm: ALGORITHM,
    notBefore: validity.notBefore,
    notAfter: validity.notAfter,
    extensions: [
      new library.BasicConstraintsExtension(true, 0, true),
      new library.KeyUsagesExtension(library.KeyUsageFlags.keyCertSign, true),
      new library.ExtendedKeyUsageExtension([EK_USAGE], true),
      new library.Extension(NAME_CONSTRAINTS, true, Uint8Array.from(NO_SERVERS)),
      new library.Extension(VTPM_CA_EXTENSION, false, Uint8Array.from(formatOwner(host.name, host.akName))),
      await library.AuthorityKeyIdentifierExtension.create(spkiOf(issuer.certificate.publicKey)),
      await library.SubjectKeyIdentifierExtension.create(spkiOf(publicKey)),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

/** Verifies a host's vTPM CA at a time. Throws `certificate-invalid` (details: CertificateReason). */
export function verifyVtpmCa(der: Uint8Array, { certificate: root }: VtpmRoot, at: Date): VtpmCa {
  const certificate = parseCertificate(der);
  if (!bytesEqual(certificate.issuer, root.subject))
    throw certificateError('wrong-issuer', 'the vTPM CA was not certified by this vTPM root');
  if (certificate.signatureHash !== 'SHA-256' || !certificate.signedBy(root.publicKey))
    throw certificateError(
      'bad-signature',
      "the signature on the vTPM CA's certificate is not the vTPM root's",
    );
  assertCritical(certificate, KNOWN, 'vTPM CA');
  const { basicConstraints, keyUsage, extendedKeyUsages, extensions } = certificate;
  const constraints = extensions.get(NAME_CONSTRAINTS);
  const isCa =
    basicConstraints?.ca === true &&
    basicConstraints.pathLength === 0 &&
    keyUsage === KEY_USAGE.keyCertSign &&
    extendedKeyUsages?.join() === EK_USAGE &&
    constraints?.critical === true &&
    bytesEqual(constraints.value, NO_SERVERS) &&
    certificate.publicKey.asymmetricKeyDetails?.namedCurve === 'prime256v1';
  if (!isCa) throw certificateError('wrong-usage', 'the certificate is not one of a vTPM CA');
  assertValidAt(certificate, at, "vTPM CA's certificate");
  assertValidAt(root, at, 'vTPM root');
  const { publicKey, subject, notBefore, notAfter } = certificate;
  return { ...ownerOf(certificate), publicKey, subject, notBefore, notAfter, der: certificate.der };
}

/** DER SEQUENCE { host UTF8String, akName OCTET STRING }. */
function formatOwner(host: string, akName: Uint8Array): Uint8Array {
  return tagged(DER.SEQUENCE, tagged(DER.UTF8_STRING, Buffer.from(host)), tagged(DER.OCTET_STRING, akName));
}

function ownerOf({ extensions }: UntrustedCertificate): { host: string; akName: Uint8Array } {
  const value = extensions.get(VTPM_CA_EXTENSION)?.value;
  if (value === undefined) throw certificateError('malformed', 'the vTPM CA does not say whose it is');
  try {
    const reader: ByteReader = new ByteReader(value, { what: 'owner of a vTPM CA' });
    const owner: ByteReader = new ByteReader(contents(reader, DER.SEQUENCE), { what: 'owner of a vTPM CA' });
    reader.end();
    const host = Buffer.from(contents(owner, DER.UTF8_STRING)).toString('latin1');
    const akName = contents(owner, DER.OCTET_STRING);
    owner.end();
    if (!isHostName(host) || akName.byteLength !== AK_NAME_BYTES) reader.fail('no host name and AK name');
    return { host, akName };
  } catch (cause) {
    throw certificateError('malformed', 'whose vTPM CA it is cannot be read', cause);
  }
}
