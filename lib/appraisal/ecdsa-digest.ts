/**
 * ECDSA over a digest that somebody else computed (FIPS 186-5, 6.4.2; SEC 1, 4.1.4): Node's crypto verifies nothing but messages,
 * which it hashes itself, and of a file in an IMA list there is only the digest. Curve arithmetic but for one addition of points
 * is that of node:crypto's ECDH; nothing here is secret.
 */
import { createECDH } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ByteReader } from '../bytes/reader.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';

interface Curve {
  /** Prime of the field, and order of the group (SP 800-186, 3.2.1). */
  readonly p: bigint;
  readonly n: bigint;
  /** Of a coordinate and of a number below n. */
  readonly bytes: number;
}

const CURVES: ReadonlyMap<string, Curve> = new Map([
  [
    'prime256v1',
    {
      p: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
      n: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
      bytes: 32,
    },
  ],
  [
    'secp384r1',
    {
      p: 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffffn,
      n: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
      bytes: 48,
    },
  ],
]);
const SEQUENCE = 0x30;
const INTEGER = 0x02;

/** Whether digests can be verified with a key: one on P-256 or P-384. */
export function isEcdsaKey(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && CURVES.has(key.asymmetricKeyDetails?.namedCurve ?? '');
}

/**
 * Whether `signature` (DER, RFC 3279, 2.2.3) is one of `key` over `digest`, of which a curve takes as many bytes as it has itself,
 * from the left. False for whatever cannot be read, and for a key that is not on P-256 or P-384.
 */
export function verifiesDigest(key: KeyObject, digest: Uint8Array, signature: Uint8Array): boolean {
  const name = key.asymmetricKeyDetails?.namedCurve ?? '';
  const curve = CURVES.get(name);
  const numbers = readSignature(signature);
  if (curve === undefined || numbers === undefined) return false;
  const { p, n, bytes } = curve;
  const [r, s] = numbers;
  if (r < 1n || r >= n || s < 1n || s >= n) return false;
  // r = x(w e G + w r Q), w = 1/s, is r = x(w r (e/r G + Q)): ECDH gives both products, and of the second one the x that is wanted.
  const factor = modulo(bigOf(digest.subarray(0, bytes)) * inverse(r, n), n);
  if (factor === 0n) return false; // No point of ECDH. Who finds a file with such a digest has broken the hash.
  const ecdh = createECDH(name);
  ecdh.setPrivateKey(hexOf(factor, bytes), 'hex');
  const sum = added(pointOf(ecdh.getPublicKey('hex'), bytes), keyPoint(key), p);
  if (sum === undefined) return false;
  ecdh.setPrivateKey(hexOf(modulo(r * inverse(s, n), n), bytes), 'hex');
  const x = ecdh.computeSecret(`04${hexOf(sum[0], bytes)}${hexOf(sum[1], bytes)}`, 'hex', 'hex');
  return BigInt(`0x${x}`) % n === r;
}

type Point = readonly [x: bigint, y: bigint];

/** The sum of two points; undefined where they have one x: only who knows the private key can make such a signature. */
function added([x1, y1]: Point, [x2, y2]: Point, p: bigint): Point | undefined {
  if (x1 === x2) return undefined;
  const slope = modulo((y2 - y1) * inverse(modulo(x2 - x1, p), p), p);
  const x = modulo(slope * slope - x1 - x2, p);
  return [x, modulo(slope * (x1 - x) - y1, p)];
}

function keyPoint(key: KeyObject): Point {
  const { x, y } = key.export({ format: 'jwk' });
  return [bigOf(Buffer.from(x ?? '', 'base64url')), bigOf(Buffer.from(y ?? '', 'base64url'))];
}

/** A point in uncompressed form (SEC 1, 2.3.3), hexadecimal. */
function pointOf(text: string, bytes: number): Point {
  const middle = 2 + 2 * bytes;
  return [BigInt(`0x${text.slice(2, middle)}`), BigInt(`0x${text.slice(middle)}`)];
}

/** r and s. No length of these curves' signatures needs DER's long form. */
function readSignature(bytes: Uint8Array): Point | undefined {
  try {
    const reader = new ByteReader(bytes, { what: 'ECDSA signature' });
    if (reader.u8() !== SEQUENCE || reader.u8() !== reader.remaining) return undefined;
    const numbers = [readInteger(reader), readInteger(reader)] as const;
    reader.end();
    return numbers;
  } catch (error) {
    if (error instanceof TvmmpError) return undefined;
    throw error;
  }
}

/** A positive integer in its one DER form. */
function readInteger(reader: ByteReader): bigint {
  if (reader.u8() !== INTEGER) reader.fail('not an integer');
  const body = reader.view(reader.u8());
  const [first, second] = body;
  if (first === undefined || first > 0x7f) reader.fail('not a positive integer');
  if (first === 0 && second !== undefined && second < 0x80) reader.fail('an integer with a needless zero');
  return bigOf(body);
}

/** 1/a modulo a prime, for 0 < a < m: Euclid's algorithm. */
function inverse(a: bigint, m: bigint): bigint {
  let [left, right, x, y] = [a, m, 1n, 0n];
  while (left > 1n) {
    const quotient = right / left;
    [left, right] = [right - quotient * left, left];
    [x, y] = [y - quotient * x, x];
  }
  return modulo(x, m);
}

function modulo(a: bigint, m: bigint): bigint {
  const rest = a % m;
  return rest < 0n ? rest + m : rest;
}

function bigOf(bytes: Uint8Array): bigint {
  return BigInt(`0x0${hex(bytes)}`);
}

function hexOf(number: bigint, bytes: number): string {
  return number.toString(16).padStart(2 * bytes, '0');
}
