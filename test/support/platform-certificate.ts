/** Platform certificates for tests, as a manufacturer would issue them, with whatever is to be odd about one. */
import { createHash, sign, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { asn1 } from '../../lib/certificates/asn1-library.ts';
import { PLATFORM_USAGE } from '../../lib/certificates/identifiers.ts';
import { parseCertificate } from '../../lib/certificates/untrusted-certificate.ts';

/** What a certificate says; each member may be another than in a good one. */
export interface PlatformRecipe {
  /** DER of the EK certificate that it is about. */
  readonly ekCertificate: Uint8Array;
  /** DER of the signer's certificate, by whose name it goes, and the key that signs. */
  readonly signer: Uint8Array;
  readonly key: KeyObject;
  readonly holder?: 'base' | 'digest';
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Names in the subjectAltName, by object identifier. */
  readonly names?: Readonly<Record<string, string>>;
  readonly usages?: readonly string[] | null;
  /** OID of the credential type; null for none. */
  readonly type?: string | null;
  readonly hash?: 'sha256' | 'sha1';
  readonly innerAlgorithm?: string;
  readonly critical?: string;
}

export const goodNames = {
  '2.23.133.5.1.1': 'Example Corp',
  '2.23.133.5.1.4': 'RackServer 9',
  '2.23.133.5.1.5': 'rev 2',
  '2.23.133.5.1.6': 'SN-123',
} as const;
const algorithms = { sha256: '1.2.840.10045.4.3.2', sha1: '1.2.840.10045.4.1' } as const;

/** DER of the attribute certificate. */
export function makePlatformCertificate(recipe: PlatformRecipe): Uint8Array {
  const { schema, x509, attributes } = asn1();
  const { hash = 'sha256', names = goodNames, usages = [PLATFORM_USAGE], type = PLATFORM_USAGE } = recipe;
  const nameOf = (der: Uint8Array) => schema.AsnConvert.parse(der, x509.Name);
  const general = (der: Uint8Array) =>
    new x509.GeneralNames([new x509.GeneralName({ directoryName: nameOf(der) })]);
  const ek = parseCertificate(recipe.ekCertificate);
  const serial = Buffer.from(new X509Certificate(recipe.ekCertificate).serialNumber, 'hex');
  const positive = (serial[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), serial]) : serial;
  const told = Object.entries(names).map(
    ([oid, text]) =>
      new x509.RelativeDistinguishedName([
        new x509.AttributeTypeAndValue({
          type: oid,
          value: new x509.AttributeValue({ utf8String: text }),
        }),
      ]),
  );
  const extension = (extnID: string, value: object, critical = false) =>
    new x509.Extension({
      extnID,
      critical,
      extnValue: new schema.OctetString(schema.AsnConvert.serialize(value)),
    });
  const platform = new x509.GeneralName({ directoryName: new x509.Name(told) });
  const algorithm = (oid: string) => new x509.AlgorithmIdentifier({ algorithm: oid });
  const acinfo = new attributes.AttributeCertificateInfo({
    version: attributes.AttCertVersion.v2,
    holder: new attributes.Holder(
      recipe.holder === 'digest'
        ? {
            objectDigestInfo: new attributes.ObjectDigestInfo({
              digestedObjectType: attributes.DigestedObjectType.publicKeyCert,
              digestAlgorithm: algorithm('2.16.840.1.101.3.4.2.1'),
              objectDigest: arrayBuffer(createHash('sha256').update(recipe.ekCertificate).digest()),
            }),
          }
        : {
            baseCertificateID: new attributes.IssuerSerial({
              issuer: general(ek.issuer),
              serial: arrayBuffer(positive),
            }),
          },
    ),
    issuer: new attributes.AttCertIssuer({
      v2Form: new attributes.V2Form({ issuerName: general(parseCertificate(recipe.signer).subject) }),
    }),
    signature: algorithm(recipe.innerAlgorithm ?? algorithms[hash]),
    serialNumber: arrayBuffer(Buffer.of(1, 2, 3)),
    attrCertValidityPeriod: new attributes.AttCertValidityPeriod({
      notBeforeTime: recipe.notBefore ?? new Date('2020-01-01T00:00:00Z'),
      notAfterTime: recipe.notAfter ?? new Date('2090-01-01T00:00:00Z'),
    }),
    attributes:
      type === null ? [] : [new x509.Attribute({ type: '2.23.133.2.25', values: [credentialType(type)] })],
    extensions: new x509.Extensions([
      extension('2.5.29.17', new x509.SubjectAlternativeName([platform])),
      ...(usages === null ? [] : [extension('2.5.29.37', new x509.ExtendedKeyUsage([...usages]))]),
      ...(recipe.critical === undefined
        ? []
        : [extension(recipe.critical, new x509.ExtendedKeyUsage([PLATFORM_USAGE]), true)]),
    ]),
  });
  const signature = sign(hash, Buffer.from(schema.AsnConvert.serialize(acinfo)), recipe.key);
  const made = new attributes.AttributeCertificate({
    acinfo,
    signatureAlgorithm: algorithm(algorithms[hash]),
    signatureValue: arrayBuffer(signature),
  });
  return new Uint8Array(schema.AsnConvert.serialize(made));
}

/** SEQUENCE { certificateType OBJECT IDENTIFIER }, of the arc 2.23.133.8. */
function credentialType(oid: string): ArrayBuffer {
  const last = Number(oid.split('.').at(-1));
  return arrayBuffer(Buffer.of(0x30, 7, 6, 5, 0x67, 0x81, 5, 8, last));
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}
