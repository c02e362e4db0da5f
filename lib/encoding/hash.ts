/** The project's hash (SPEC 3): SHA-256, always over a labelled, unambiguous encoding. */
import { createHash, hash } from 'node:crypto';
import { encode } from './cbor.ts';
import type { CborValue } from './cbor.ts';

/** Length of every hash, in bytes. */
export const HASH_BYTES = 32;

/** SHA-256 of the concatenation of its arguments. For labelled structures use `H`. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const [only, ...more] = parts;
  if (only !== undefined && more.length === 0) return new Uint8Array(hash('sha256', only, 'buffer'));
  const joined = createHash('sha256');
  for (const part of parts) joined.update(part);
  return new Uint8Array(joined.digest());
}

/** `H(label, x...)` of SPEC 3: SHA-256 over the CBOR array `[label, x...]`. */
export function H(label: string, ...items: readonly CborValue[]): Uint8Array {
  return sha256(encode([label, ...items]));
}
