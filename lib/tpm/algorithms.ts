/** TPM 2.0 algorithm identifiers (TCG Algorithm Registry) and what Node's crypto calls them. */
import type { PcrBank } from './port.ts';

/** TPM_ALG_ID values that appear in the structures we read or write. */
export const TPM_ALG = {
  RSA: 0x0001,
  SHA1: 0x0004,
  HMAC: 0x0005,
  AES: 0x0006,
  MGF1: 0x0007,
  KEYEDHASH: 0x0008,
  XOR: 0x000a,
  SHA256: 0x000b,
  SHA384: 0x000c,
  SHA512: 0x000d,
  NULL: 0x0010,
  RSASSA: 0x0014,
  RSAPSS: 0x0016,
  OAEP: 0x0017,
  ECDSA: 0x0018,
  ECDH: 0x0019,
  KDF1_SP800_56A: 0x0020,
  KDF2: 0x0021,
  KDF1_SP800_108: 0x0022,
  ECC: 0x0023,
  CFB: 0x0043,
} as const;

/** Hash algorithms by the name that Node's crypto and our policies use. */
export const HASHES: Readonly<Record<PcrBank, { readonly id: number; readonly bytes: number }>> = {
  sha1: { id: TPM_ALG.SHA1, bytes: 20 },
  sha256: { id: TPM_ALG.SHA256, bytes: 32 },
  sha384: { id: TPM_ALG.SHA384, bytes: 48 },
  sha512: { id: TPM_ALG.SHA512, bytes: 64 },
};

/** The name of a hash algorithm, or undefined where it is none that we know. */
export function hashOfId(id: number): PcrBank | undefined {
  return (Object.keys(HASHES) as PcrBank[]).find((name) => HASHES[name].id === id);
}

/** Elliptic curves (TPM_ECC_CURVE) that we accept; `jwk` is the name in RFC 7518. */
export const CURVES = {
  'nist-p256': { id: 0x0003, jwk: 'P-256', coordinateBytes: 32 },
  'nist-p384': { id: 0x0004, jwk: 'P-384', coordinateBytes: 48 },
} as const;

/** Name of an elliptic curve that we accept. */
export type CurveName = keyof typeof CURVES;

/** TPMA_OBJECT bits (TPM 2.0 Part 2, 8.3). */
export const OBJECT_ATTRIBUTE = {
  fixedTpm: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  noDa: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;
