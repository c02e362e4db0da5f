/** TPMT_PUBLIC (TPM 2.0 Part 2, 12.2.4) to and from bytes, object names, and Node's KeyObject for it. */
import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ByteReader } from '../bytes/reader.ts';
import { ByteWriter } from '../bytes/writer.ts';
import { Remembered } from '../encoding/remembered.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { CURVES, HASHES, OBJECT_ATTRIBUTE, TPM_ALG, hashOfId } from './algorithms.ts';
import type { CurveName } from './algorithms.ts';
import type { PcrBank } from './port.ts';

/** A scheme (signing, key exchange, derivation) and its hash; NULL has none. */
export interface TpmScheme {
  /** TPM_ALG_ID. */
  readonly algorithm: number;
  readonly hash?: PcrBank;
}

/** Symmetric algorithm of a storage key: AES in CFB mode is all that is defined for one. */
export interface TpmSymmetric {
  readonly keyBits: 128 | 192 | 256;
}

interface PublicHeader {
  readonly nameHash: PcrBank;
  /** TPMA_OBJECT, see OBJECT_ATTRIBUTE. */
  readonly attributes: number;
  readonly authPolicy: Uint8Array;
}

/** An RSA key. Exponent 0 stands for 65537. */
export interface RsaPublic extends PublicHeader {
  readonly type: 'rsa';
  readonly symmetric: TpmSymmetric | null;
  readonly scheme: TpmScheme;
  readonly keyBits: number;
  readonly exponent: number;
  readonly modulus: Uint8Array;
}

/** An elliptic-curve key; coordinates are unsigned big-endian integers as the TPM wrote them. */
export interface EccPublic extends PublicHeader {
  readonly type: 'ecc';
  readonly symmetric: TpmSymmetric | null;
  readonly scheme: TpmScheme;
  readonly curve: CurveName;
  readonly kdf: TpmScheme;
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

/** A keyed-hash object: an HMAC key or sealed data. */
export interface KeyedHashPublic extends PublicHeader {
  readonly type: 'keyedhash';
  /** HMAC's hash; null for sealed data. XOR obfuscation keys are refused. */
  readonly hmacHash: PcrBank | null;
  readonly unique: Uint8Array;
}

/** A public area of a kind that we use. */
export type PublicArea = RsaPublic | EccPublic | KeyedHashPublic;

const DIGEST_BYTES_MAX = 64;
const RSA_BYTES_MAX = 512;
const COORDINATE_BYTES_MAX = 66;
const SCHEMES_WITH_HASH: readonly number[] = [
  TPM_ALG.RSASSA,
  TPM_ALG.RSAPSS,
  TPM_ALG.OAEP,
  TPM_ALG.ECDSA,
  TPM_ALG.ECDH,
];
const KDFS: readonly number[] = [TPM_ALG.MGF1, TPM_ALG.KDF1_SP800_56A, TPM_ALG.KDF2, TPM_ALG.KDF1_SP800_108];
/** Part 2, table 40: what TPMA_OBJECT reserves must be clear. */
const ATTRIBUTES_KNOWN = Object.values(OBJECT_ATTRIBUTE).reduce<number>((all, bit) => all | bit, 0);

/** Parses TPMT_PUBLIC; refuses other types and schemes, reserved attribute bits, oversize fields, trailing bytes. */
export function parsePublicArea(bytes: Uint8Array): PublicArea {
  const reader = new ByteReader(bytes, { what: 'TPMT_PUBLIC', code: 'tpm-structure-invalid' });
  const type = reader.u16be();
  const nameHash = readHash(reader);
  const attributes = reader.u32be();
  if ((attributes & ~ATTRIBUTES_KNOWN) !== 0) reader.fail('reserved object attributes are set');
  const authPolicy = reader.sized16be(DIGEST_BYTES_MAX);
  if (authPolicy.byteLength !== 0 && authPolicy.byteLength !== HASHES[nameHash].bytes) {
    reader.fail('the policy digest is not of the size of the name algorithm');
  }
  const area = readBody(reader, type, { nameHash, attributes, authPolicy });
  reader.end();
  return area;
}

/** Wire bytes of a public area; the inverse of `parsePublicArea`. */
export function formatPublicArea(area: PublicArea): Uint8Array {
  const type = { rsa: TPM_ALG.RSA, ecc: TPM_ALG.ECC, keyedhash: TPM_ALG.KEYEDHASH }[area.type];
  const writer = new ByteWriter()
    .u16be(type)
    .u16be(HASHES[area.nameHash].id)
    .u32be(area.attributes)
    .sized16be(area.authPolicy);
  if (area.type === 'keyedhash') {
    if (area.hmacHash === null) writer.u16be(TPM_ALG.NULL);
    else writer.u16be(TPM_ALG.HMAC).u16be(HASHES[area.hmacHash].id);
    return writer.sized16be(area.unique).finish();
  }
  if (area.symmetric === null) writer.u16be(TPM_ALG.NULL);
  else writer.u16be(TPM_ALG.AES).u16be(area.symmetric.keyBits).u16be(TPM_ALG.CFB);
  writeScheme(writer, area.scheme);
  if (area.type === 'rsa') {
    return writer.u16be(area.keyBits).u32be(area.exponent).sized16be(area.modulus).finish();
  }
  writer.u16be(CURVES[area.curve].id);
  writeScheme(writer, area.kdf);
  return writer.sized16be(area.x).sized16be(area.y).finish();
}

/** An object's name: nameAlg || H(TPMT_PUBLIC) (TPM 2.0 Part 1, 16). The public area must parse. */
export function nameOf(publicArea: Uint8Array): Uint8Array {
  const { nameHash } = parsePublicArea(publicArea);
  const digest = createHash(nameHash).update(publicArea).digest();
  return new ByteWriter().u16be(HASHES[nameHash].id).bytes(digest).finish();
}

/** OpenSSL takes longer to take in a key than to use it. */
const keys = new Remembered<KeyObject>(limits.certificatesRememberedMax);

/** The key of an RSA or ECC public area, for crypto.verify and friends. A point off the curve is refused. */
export function keyObjectOf(area: PublicArea): KeyObject {
  if (area.type === 'keyedhash')
    throw new TvmmpError('tpm-structure-invalid', 'a keyed hash has no public key');
  try {
    const key = jwkOf(area);
    return keys.get(JSON.stringify(key), () => createPublicKey({ key, format: 'jwk' }));
  } catch (cause) {
    throw new TvmmpError('tpm-structure-invalid', 'the public area holds no usable key', { cause });
  }
}

/** Whether all of some attributes (names of OBJECT_ATTRIBUTE) are set. */
export function hasAttributes(area: PublicArea, names: readonly (keyof typeof OBJECT_ATTRIBUTE)[]): boolean {
  return names.every((name) => (area.attributes & OBJECT_ATTRIBUTE[name]) !== 0);
}

function jwkOf(area: RsaPublic | EccPublic): Record<string, string> {
  if (area.type === 'rsa') {
    const exponent = area.exponent === 0 ? 65537 : area.exponent;
    const e = new ByteWriter().u32be(exponent).finish();
    return {
      kty: 'RSA',
      n: base64url(area.modulus),
      e: base64url(e.subarray(e.findIndex((byte) => byte !== 0))),
    };
  }
  const { jwk, coordinateBytes } = CURVES[area.curve];
  const coordinate = (value: Uint8Array): string => {
    if (value.byteLength > coordinateBytes) throw new RangeError('a coordinate is too long');
    const pad = new Uint8Array(coordinateBytes);
    pad.set(value, coordinateBytes - value.byteLength);
    return base64url(pad);
  };
  return { kty: 'EC', crv: jwk, x: coordinate(area.x), y: coordinate(area.y) };
}

function readBody(reader: ByteReader, type: number, header: PublicHeader): PublicArea {
  if (type === TPM_ALG.KEYEDHASH) {
    const scheme = reader.u16be();
    if (scheme !== TPM_ALG.NULL && scheme !== TPM_ALG.HMAC) reader.fail(`scheme 0x${scheme.toString(16)}`);
    const hmacHash = scheme === TPM_ALG.HMAC ? readHash(reader) : null;
    return { type: 'keyedhash', ...header, hmacHash, unique: reader.sized16be(DIGEST_BYTES_MAX) };
  }
  if (type !== TPM_ALG.RSA && type !== TPM_ALG.ECC) reader.fail(`unknown object type 0x${type.toString(16)}`);
  const symmetric = readSymmetric(reader);
  const scheme = readScheme(reader, SCHEMES_WITH_HASH);
  if (type === TPM_ALG.RSA) {
    const keyBits = reader.u16be();
    const exponent = reader.u32be();
    return {
      type: 'rsa',
      ...header,
      symmetric,
      scheme,
      keyBits,
      exponent,
      modulus: reader.sized16be(RSA_BYTES_MAX),
    };
  }
  const curveId = reader.u16be();
  const curve = (Object.keys(CURVES) as CurveName[]).find((name) => CURVES[name].id === curveId);
  if (curve === undefined) reader.fail(`unknown curve 0x${curveId.toString(16)}`);
  const kdf = readScheme(reader, KDFS);
  const x = reader.sized16be(COORDINATE_BYTES_MAX);
  const y = reader.sized16be(COORDINATE_BYTES_MAX);
  return { type: 'ecc', ...header, symmetric, scheme, curve, kdf, x, y };
}

function readHash(reader: ByteReader): PcrBank {
  const id = reader.u16be();
  return hashOfId(id) ?? reader.fail(`unknown hash algorithm 0x${id.toString(16)}`);
}

function readSymmetric(reader: ByteReader): TpmSymmetric | null {
  const algorithm = reader.u16be();
  if (algorithm === TPM_ALG.NULL) return null;
  if (algorithm !== TPM_ALG.AES) reader.fail(`unknown symmetric algorithm 0x${algorithm.toString(16)}`);
  const keyBits = reader.u16be();
  if (keyBits !== 128 && keyBits !== 192 && keyBits !== 256) reader.fail(`AES of ${keyBits} bits`);
  if (reader.u16be() !== TPM_ALG.CFB) reader.fail('a cipher mode other than CFB');
  return { keyBits };
}

function readScheme(reader: ByteReader, withHash: readonly number[]): TpmScheme {
  const algorithm = reader.u16be();
  if (algorithm === TPM_ALG.NULL) return { algorithm };
  if (!withHash.includes(algorithm)) reader.fail(`unknown scheme 0x${algorithm.toString(16)}`);
  return { algorithm, hash: readHash(reader) };
}

function writeScheme(writer: ByteWriter, scheme: TpmScheme): void {
  writer.u16be(scheme.algorithm);
  if (scheme.hash !== undefined) writer.u16be(HASHES[scheme.hash].id);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
