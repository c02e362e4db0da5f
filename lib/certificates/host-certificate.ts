/** Certificates of a host (SPEC 1.1): of its AK, of its agent's TLS key, and of its QEMU's migration TLS key. */
import type { KeyObject } from 'node:crypto';
import { ByteReader } from '../bytes/reader.ts';
import { TvmmpError } from '../errors.ts';
import { parseAttributes } from './attributes.ts';
import type { HostAttributes } from './attributes.ts';
import { certificateError } from './certificate-error.ts';
import { isHostName } from './host-name.ts';
import {
  AGENT_USAGE,
  AK_USAGE,
  ATTRIBUTES_EXTENSION,
  CLIENT_USAGE,
  HOST_KEYS_EXTENSION,
  SERVER_USAGE,
} from './identifiers.ts';
import { verifyLeaf } from './leaf.ts';
import type { LeafProfile } from './leaf.ts';
import type { RootCertificate } from './root-certificate.ts';
import { parseCertificate } from './untrusted-certificate.ts';
import type { UntrustedCertificate } from './untrusted-certificate.ts';

/** Length of a TPM name with SHA-256: algorithm (2) and digest (32). */
const TPM_NAME_BYTES = 34;

/** A verified AK certificate: this host name, and these two keys of one TPM. */
export interface HostCertificate {
  readonly name: string;
  /** TPM names, 34 bytes each. */
  readonly akName: Uint8Array;
  readonly receiveKeyName: Uint8Array;
  /** What the authority says of the host; empty where it says nothing. */
  readonly attributes: HostAttributes;
  /** The AK. */
  readonly publicKey: KeyObject;
  /** SHA-256 of `der`. */
  readonly digest: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly der: Uint8Array;
}

/** A verified TLS certificate of a host. */
export interface HostTlsCertificate {
  readonly name: string;
  /** IP addresses it may be reached at; none or more. */
  readonly addresses: readonly string[];
  readonly publicKey: KeyObject;
  /** SHA-256 of the DER. */
  readonly digest: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const ak: LeafProfile<HostCertificate> = {
  what: 'AK certificate',
  usages: [AK_USAGE],
  read: (certificate) => {
    const { name, addresses } = namesOf(certificate);
    if (addresses.length > 0) throw certificateError('wrong-name', 'an AK certificate has one name alone');
    const { publicKey, digest, notBefore, notAfter, der } = certificate;
    const attributes = attributesOf(certificate);
    return { name, ...hostKeysOf(certificate), attributes, publicKey, digest, notBefore, notAfter, der };
  },
};

const agent: LeafProfile<HostTlsCertificate> = {
  what: 'agent TLS certificate',
  usages: [SERVER_USAGE, CLIENT_USAGE, AGENT_USAGE],
  read: readTls,
};

const migration: LeafProfile<HostTlsCertificate> = {
  what: 'migration TLS certificate',
  usages: [SERVER_USAGE, CLIENT_USAGE],
  read: readTls,
};

/** Verifies an AK certificate at a time. Throws `certificate-invalid` (details: CertificateReason). */
export function verifyHostCertificate(der: Uint8Array, root: RootCertificate, at: Date): HostCertificate {
  return verifyLeaf(der, root, at, ak);
}

/** Verifies an agent TLS certificate at a time. Throws `certificate-invalid` (details: CertificateReason). */
export function verifyAgentCertificate(der: Uint8Array, root: RootCertificate, at: Date): HostTlsCertificate {
  return verifyLeaf(der, root, at, agent);
}

/** Verifies a migration TLS certificate at a time. Throws `certificate-invalid` (details: CertificateReason). */
export function verifyMigrationCertificate(
  der: Uint8Array,
  root: RootCertificate,
  at: Date,
): HostTlsCertificate {
  return verifyLeaf(der, root, at, migration);
}

/** The host name that a certificate claims: for messages only, since nothing is verified. */
export function certificateHostName(der: Uint8Array): string {
  return namesOf(parseCertificate(der)).name;
}

/** DER of the extension that binds TPM names to a certificate: SEQUENCE of two OCTET STRINGs of 34 bytes. */
export function formatHostKeys(akName: Uint8Array, receiveKeyName: Uint8Array): Uint8Array {
  const item = (name: Uint8Array): Uint8Array => {
    if (name.byteLength !== TPM_NAME_BYTES) {
      throw new TvmmpError(
        'encoding-invalid',
        `a TPM name of ${name.byteLength} bytes, not ${TPM_NAME_BYTES}`,
      );
    }
    return Uint8Array.of(0x04, TPM_NAME_BYTES, ...name);
  };
  const body = [...item(akName), ...item(receiveKeyName)];
  return Uint8Array.of(0x30, body.length, ...body);
}

function readTls(certificate: UntrustedCertificate): HostTlsCertificate {
  const { publicKey, digest, notBefore, notAfter } = certificate;
  return { ...namesOf(certificate), publicKey, digest, notBefore, notAfter };
}

/** Exactly one DNS name, which must be a host name; otherwise IP addresses alone. */
function namesOf(certificate: UntrustedCertificate): { name: string; addresses: readonly string[] } {
  const names = certificate.subjectAltNames.filter(({ kind }) => kind === 'dns').map(({ value }) => value);
  const addresses = certificate.subjectAltNames.filter(({ kind }) => kind === 'ip').map(({ value }) => value);
  const [name] = names;
  const others = certificate.subjectAltNames.length - names.length - addresses.length;
  if (name === undefined || names.length !== 1 || others !== 0 || !isHostName(name)) {
    throw certificateError('wrong-name', 'the certificate does not carry exactly one host name');
  }
  return { name, addresses };
}

function hostKeysOf(certificate: UntrustedCertificate): { akName: Uint8Array; receiveKeyName: Uint8Array } {
  const extension = certificate.extensions.get(HOST_KEYS_EXTENSION);
  if (extension?.critical !== true) {
    throw certificateError('malformed', 'the AK certificate lacks the critical extension with its TPM names');
  }
  try {
    const reader = new ByteReader(extension.value, { what: 'TPM names of a host' });
    if (reader.u8() !== 0x30 || reader.u8() !== reader.remaining) reader.fail('not a DER sequence');
    const akName = readName(reader);
    const receiveKeyName = readName(reader);
    reader.end();
    return { akName, receiveKeyName };
  } catch (cause) {
    throw certificateError('malformed', 'the TPM names in the AK certificate cannot be read', cause);
  }
}

function attributesOf(certificate: UntrustedCertificate): HostAttributes {
  const extension = certificate.extensions.get(ATTRIBUTES_EXTENSION);
  if (extension === undefined) return new Map();
  try {
    return parseAttributes(extension.value);
  } catch (cause) {
    throw certificateError('malformed', 'the attributes in the AK certificate cannot be read', cause);
  }
}

function readName(reader: ByteReader): Uint8Array {
  if (reader.u8() !== 0x04 || reader.u8() !== TPM_NAME_BYTES) reader.fail('not an OCTET STRING of 34 bytes');
  return reader.bytes(TPM_NAME_BYTES);
}
