/** Public keys as they are named: by their SubjectPublicKeyInfo (RFC 5280 4.1.2.7), in DER. */
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { sha256 } from '../encoding/hash.ts';

export function spkiOf(key: KeyObject): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(key.export({ type: 'spki', format: 'der' }));
}

/** The key of a SubjectPublicKeyInfo. Throws what OpenSSL says where it is none. */
export function keyOfSpki(spki: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
}

/** SHA-256 of the SubjectPublicKeyInfo: what names a key in envelopes, certificates and tenant policies. */
export function spkiDigest(key: KeyObject): Uint8Array {
  return sha256(spkiOf(key));
}
