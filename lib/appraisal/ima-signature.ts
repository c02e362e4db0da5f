/** Signatures of files in IMA lists: security.ima of version 2 (Linux, security/integrity/integrity.h: signature_v2_hdr). */
import { constants, publicDecrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ByteReader } from '../bytes/reader.ts';
import { TvmmpError } from '../errors.ts';
import type { UntrustedImaEntry } from '../evidence/ima-list.ts';
import { isEcdsaKey, verifiesDigest } from './ecdsa-digest.ts';

const EVM_IMA_XATTR_DIGSIG = 3;
const VERSION = 2;
/** Algorithms that a signature may be over: the kernel's number, and DigestInfo without the digest (RFC 8017, 9.2). */
const ALGORITHMS: ReadonlyMap<number, { readonly name: string; readonly prefix: string }> = new Map([
  [4, { name: 'sha256', prefix: '3031300d060960864801650304020105000420' }],
  [5, { name: 'sha384', prefix: '3041300d060960864801650304020205000430' }],
  [6, { name: 'sha512', prefix: '3051300d060960864801650304020305000440' }],
]);

/** Whether signatures of this key can be verified: RSA, or ECDSA on P-256 or P-384. */
export function isImaKey(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'rsa' || isEcdsaKey(key);
}

/** Whether one of these keys (isImaKey) signed the digest of an entry. False for any signature that cannot be read. */
export function isSignedFile(entry: UntrustedImaEntry, keys: readonly KeyObject[]): boolean {
  if (entry.signature === null || keys.length === 0) return false;
  const parsed = parse(entry.signature);
  if (parsed === undefined) return false;
  const { name, prefix } = parsed.algorithm;
  const { algorithm, value } = entry;
  if (algorithm !== name) return false;
  return keys.some((key) => {
    if (key.asymmetricKeyType === 'rsa') return signedText(key, parsed.signature) === prefix + value;
    return verifiesDigest(key, Buffer.from(value, 'hex'), parsed.signature);
  });
}

function parse(bytes: Uint8Array) {
  try {
    const reader = new ByteReader(bytes, { what: 'security.ima' });
    if (reader.u8() !== EVM_IMA_XATTR_DIGSIG || reader.u8() !== VERSION) return undefined;
    const algorithm = ALGORITHMS.get(reader.u8());
    reader.skip(4); // The key's identifier, which nothing signs: every key of the policy is tried.
    const signature = reader.sized16be(1024);
    reader.end();
    return algorithm === undefined ? undefined : { algorithm, signature };
  } catch (error) {
    if (error instanceof TvmmpError) return undefined;
    throw error;
  }
}

/** What an RSA signature (PKCS #1 v1.5) signs, hexadecimal; empty where it is none of this key's. */
function signedText(key: KeyObject, signature: Uint8Array): string {
  try {
    return publicDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, signature).toString('hex');
  } catch {
    return '';
  }
}
