/** Makes the certificates of SPEC 1.1. Only the authority needs this. */
import { randomBytes, webcrypto } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Extension, JsonGeneralNames } from '@peculiar/x509';
import { formatAttributes } from './attributes.ts';
import type { HostAttributes } from './attributes.ts';
import { formatHostKeys } from './host-certificate.ts';
import {
  AGENT_USAGE,
  AK_USAGE,
  ATTRIBUTES_EXTENSION,
  CLIENT_USAGE,
  HOST_KEYS_EXTENSION,
  POLICY_SIGNING_USAGE,
  SERVER_USAGE,
  VTPM_ROOT_USAGE,
} from './identifiers.ts';
import { spkiOf } from './public-key.ts';
import type { RootCertificate } from './root-certificate.ts';
import { x509 } from './x509-library.ts';

/** An EC P-256 key pair. */
export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** The root certificate and its key. */
export interface Issuer {
  readonly certificate: RootCertificate;
  readonly privateKey: KeyObject;
}

/** When a certificate is good; whole seconds, both ends included. */
export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Who a host is in its certificates. */
export interface HostIdentity {
  readonly name: string;
  /** IP addresses for TLS certificates. */
  readonly addresses: readonly string[];
}

/** How the authority signs certificates. */
export const ALGORITHM = { name: 'ECDSA', hash: 'SHA-256' } as const;
/** Upper bound of a common name (RFC 5280 appendix A). */
const COMMON_NAME_MAX = 64;

/** Makes the root certificate: DER. */
export async function issueRoot(name: string, keys: KeyPair, validity: Validity): Promise<Uint8Array> {
  const { BasicConstraintsExtension, KeyUsagesExtension, KeyUsageFlags } = x509();
  return selfSigned(name, keys, validity, [
    new BasicConstraintsExtension(true, 0, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ]);
}

/** A certificate that its own key signs, with these extensions and the identifier of the key: DER. */
export async function selfSigned(
  name: string,
  keys: KeyPair,
  validity: Validity,
  extensions: readonly Extension[],
): Promise<Uint8Array> {
  const library = x509();
  const certificate = await library.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [name] }],
    keys: await importKeyPair(keys),
    signingAlgorithm: ALGORITHM,
    ...validity,
    extensions: [...extensions, await library.SubjectKeyIdentifierExtension.create(spkiOf(keys.publicKey))],
  });
  return new Uint8Array(certificate.rawData);
}

/** Certifies a policy key: DER. */
export async function issuePolicySigner(
  issuer: Issuer,
  name: string,
  publicKey: KeyObject,
  validity: Validity,
): Promise<Uint8Array> {
  return issueLeaf(issuer, { commonName: name, publicKey, validity, usages: [POLICY_SIGNING_USAGE] });
}

/** Certifies the root of vTPMs as this authority's (SPEC 1.1): DER. Its name differs from that root's own, so that no chain runs through it. */
export async function issueVtpmRootVoucher(
  issuer: Issuer,
  publicKey: KeyObject,
  validity: Validity,
): Promise<Uint8Array> {
  return issueLeaf(issuer, {
    commonName: 'this key is the vTPM root of the authority',
    publicKey,
    validity,
    usages: [VTPM_ROOT_USAGE],
  });
}

/** Certifies an AK, with the TPM names of it and of the receive key, and what the authority says of the host: DER. */
export async function issueHostCertificate(
  issuer: Issuer,
  host: {
    readonly name: string;
    readonly akName: Uint8Array;
    readonly receiveKeyName: Uint8Array;
    readonly attributes?: HostAttributes;
  },
  publicKey: KeyObject,
  validity: Validity,
): Promise<Uint8Array> {
  const names = formatHostKeys(host.akName, host.receiveKeyName);
  const { Extension } = x509();
  const extensions = [new Extension(HOST_KEYS_EXTENSION, true, Uint8Array.from(names))];
  if (host.attributes !== undefined && host.attributes.size > 0) {
    const attributes = Uint8Array.from(formatAttributes(host.attributes));
    extensions.push(new Extension(ATTRIBUTES_EXTENSION, false, attributes));
  }
  return issueLeaf(issuer, {
    commonName: host.name,
    publicKey,
    validity,
    usages: [AK_USAGE],
    names: [{ type: 'dns', value: host.name }],
    extensions,
  });
}

/** Certifies an agent's TLS key: DER. */
export async function issueAgentCertificate(
  issuer: Issuer,
  host: HostIdentity,
  publicKey: KeyObject,
  validity: Validity,
): Promise<Uint8Array> {
  const usages = [SERVER_USAGE, CLIENT_USAGE, AGENT_USAGE];
  return issueLeaf(issuer, { commonName: host.name, publicKey, validity, usages, names: namesOf(host) });
}

/** Certifies a migration TLS key: DER. */
export async function issueMigrationCertificate(
  issuer: Issuer,
  host: HostIdentity,
  publicKey: KeyObject,
  validity: Validity,
): Promise<Uint8Array> {
  const usages = [SERVER_USAGE, CLIENT_USAGE];
  return issueLeaf(issuer, { commonName: host.name, publicKey, validity, usages, names: namesOf(host) });
}

/** A key pair as the X.509 library takes it. */
export async function importKeyPair(keys: KeyPair): Promise<webcrypto.CryptoKeyPair> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const { subtle } = webcrypto;
  const pkcs8 = keys.privateKey.export({ type: 'pkcs8', format: 'der' });
  const [privateKey, publicKey] = await Promise.all([
    subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    subtle.importKey('spki', spkiOf(keys.publicKey), algorithm, true, ['verify']),
  ]);
  pkcs8.fill(0);
  return { privateKey, publicKey };
}

interface LeafRequest {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly validity: Validity;
  readonly usages: string[];
  readonly names?: JsonGeneralNames;
  readonly extensions?: readonly Extension[];
}

async function issueLeaf(issuer: Issuer, request: LeafRequest): Promise<Uint8Array> {
  const library = x509();
  const root = issuer.certificate;
  const { privateKey } = await importKeyPair({ privateKey: issuer.privateKey, publicKey: root.publicKey });
  const publicKey = spkiOf(request.publicKey);
  const certificate = await library.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [request.commonName.slice(0, COMMON_NAME_MAX)] }],
    issuer: new library.Name(Uint8Array.from(root.subject)),
    signingKey: privateKey,
    publicKey,
    signingAlgorithm: ALGORITHM,
    notBefore: request.validity.notBefore,
    notAfter: request.validity.notAfter,
    extensions: [
      new library.BasicConstraintsExtension(false, undefined, true),
      new library.KeyUsagesExtension(library.KeyUsageFlags.digitalSignature, true),
      new library.ExtendedKeyUsageExtension(request.usages),
      ...(request.names === undefined ? [] : [new library.SubjectAlternativeNameExtension(request.names)]),
      await library.AuthorityKeyIdentifierExtension.create(spkiOf(root.publicKey)),
      await library.SubjectKeyIdentifierExtension.create(publicKey),
      ...(request.extensions ?? []),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

function namesOf({ name, addresses }: HostIdentity): JsonGeneralNames {
  return [{ type: 'dns', value: name }, ...addresses.map((value) => ({ type: 'ip' as const, value }))];
}

/** Serial number: 127 random bits, positive and of full length, in hexadecimal (RFC 5280 4.1.2.2). */
export function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes.toString('hex');
}
