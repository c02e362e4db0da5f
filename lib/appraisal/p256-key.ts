/** Public keys on P-256 as JSON documents have them: SubjectPublicKeyInfo DER in base64. */
import type { KeyObject } from 'node:crypto';
import { keyOfSpki } from '../certificates/public-key.ts';
import type { JsonPlace } from '../encoding/json-place.ts';

/** 91 bytes in base64. */
export const p256KeyForm = /^[A-Za-z0-9+/]{122}==$/;

/** Reads a key. Throws JsonFaultError. */
export function readP256Key(place: JsonPlace): KeyObject {
  const key = keyOf(Buffer.from(place.text(p256KeyForm), 'base64'));
  if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw place.fault('inconsistent', 'is not a public key on P-256');
  return key;
}

function keyOf(der: Buffer): KeyObject | undefined {
  try {
    return keyOfSpki(der);
  } catch {
    return undefined;
  }
}
