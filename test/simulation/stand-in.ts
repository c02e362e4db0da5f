/**
 * Below the shipped code, and for the simulation alone: the signatures of simulated attestation keys are hashes over key and message instead of
 * ECDSA (SHA-256, same lengths), and what is drawn at random comes from the run's seed. Formats, bindings, policies, chains and every check
 * stay the shipped ones; that ECDSA holds is not what is simulated. Certificates and policies keep their real signatures.
 */
import crypto from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { randomOf } from './kernel.ts';

const real = {
  sign: crypto.sign,
  verify: crypto.verify,
  randomBytes: crypto.randomBytes,
  randomUUID: crypto.randomUUID,
};

/** Public keys (their x) of simulated attestation keys. */
const simulated = new Set<string>();
const known = new WeakMap<KeyObject, Buffer | null>();

/** What stands for a key in its signatures; null for a key whose signatures are real. */
function idOf(key: KeyObject): Buffer | null {
  let id = known.get(key);
  if (id === undefined) {
    const x = key.asymmetricKeyType === 'ec' ? (key.export({ format: 'jwk' }).x ?? '') : '';
    id = simulated.has(x) ? Buffer.from(x, 'base64url') : null;
    known.set(key, id);
  }
  return id;
}

function signature(id: Buffer, message: NodeJS.ArrayBufferView): Buffer {
  const half = crypto.createHash('sha256').update(id).update(message).digest();
  return Buffer.concat([half, half]);
}

function keyOf(options: unknown): KeyObject | null {
  const key = (options as { key?: unknown }).key ?? options;
  return key instanceof crypto.KeyObject ? key : null;
}

/** Signatures of this key are hashes from now on; before it was used. */
export function simulateKey(key: KeyObject): void {
  simulated.add(key.export({ format: 'jwk' }).x ?? '');
  known.delete(key);
}

/** Puts the stand-ins in place, drawing from `seed`; what is given back takes them away again. */
export function standIn(seed: number): () => void {
  const random = randomOf(seed ^ 0xb17e5);
  const randomBytes = (size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; at += 1) bytes[at] = Math.floor(random() * 256);
    return bytes;
  };
  Object.assign(crypto, {
    sign: (...[algorithm, message, options]: Parameters<typeof crypto.sign>) => {
      const key = keyOf(options);
      const id = key === null ? null : idOf(key);
      return id === null ? real.sign(algorithm, message, options) : signature(id, view(message));
    },
    verify: (...[algorithm, message, options, told]: Parameters<typeof crypto.verify>) => {
      const key = keyOf(options);
      const id = key === null ? null : idOf(key);
      if (id === null) return real.verify(algorithm, message, options, told);
      return signature(id, view(message)).equals(told as Uint8Array);
    },
    randomBytes,
    randomUUID: () => {
      const hex = randomBytes(16).toString('hex');
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
    },
  });
  syncBuiltinESMExports();
  return () => {
    Object.assign(crypto, real);
    syncBuiltinESMExports();
  };
}

function view(message: ArrayBuffer | NodeJS.ArrayBufferView | SharedArrayBuffer): NodeJS.ArrayBufferView {
  return ArrayBuffer.isView(message) ? message : new Uint8Array(message);
}
