/**
 * TPM2_MakeCredential in software (TPM 2.0 Part 1, 24; annexes B.10.4 and C.6.1): an authority encrypts a secret so
 * that only the TPM which holds both the EK and an object of the given name can recover it.
 */
import {
  constants,
  createCipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import type { KeyObject, RsaPublicKey } from 'node:crypto';
import { ByteWriter } from '../bytes/writer.ts';
import { TvmmpError } from '../errors.ts';
import { CURVES, HASHES } from './algorithms.ts';
import type { PcrBank } from './port.ts';
import { hasAttributes, keyObjectOf, parsePublicArea } from './public-area.ts';
import type { EccPublic, RsaPublic } from './public-area.ts';

/** What the TPM takes in TPM2_ActivateCredential. */
export interface Credential {
  /** TPM2B_ID_OBJECT wire bytes. */
  readonly credentialBlob: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET wire bytes. */
  readonly encryptedSecret: Uint8Array;
}

const IDENTITY = Buffer.from('IDENTITY\0');

/**
 * Encrypts `secret` (1 byte up to the size of the EK's name hash) to an EK, for the object named `objectName`.
 * `ekPublicArea` is TPMT_PUBLIC wire bytes, whose key the caller has compared with the EK certificate's.
 */
export function makeCredential(
  ekPublicArea: Uint8Array,
  objectName: Uint8Array,
  secret: Uint8Array,
): Credential {
  const ek = parsePublicArea(ekPublicArea);
  if (ek.type === 'keyedhash' || ek.symmetric === null || !hasAttributes(ek, ['restricted', 'decrypt'])) {
    throw new TvmmpError('tpm-structure-invalid', 'an endorsement key is a restricted decryption key');
  }
  if (secret.byteLength < 1 || secret.byteLength > HASHES[ek.nameHash].bytes) {
    throw new TvmmpError('limit-exceeded', `a credential holds 1 to ${HASHES[ek.nameHash].bytes} bytes`);
  }
  const { seed, encryptedSecret } = ek.type === 'rsa' ? rsaSeed(ek) : eccSeed(ek);
  const symmetricKey = kdfA(ek.nameHash, seed, 'STORAGE', objectName, ek.symmetric.keyBits);
  const cipher = createCipheriv(`aes-${ek.symmetric.keyBits}-cfb`, symmetricKey, new Uint8Array(16));
  const identity = Buffer.concat([
    cipher.update(new ByteWriter().sized16be(secret).finish()),
    cipher.final(),
  ]);
  const hmacKey = kdfA(ek.nameHash, seed, 'INTEGRITY', new Uint8Array(0), 8 * HASHES[ek.nameHash].bytes);
  const integrity = createHmac(ek.nameHash, hmacKey).update(identity).update(objectName).digest();
  const idObject = new ByteWriter().sized16be(integrity).bytes(identity).finish();
  return { credentialBlob: new ByteWriter().sized16be(idObject).finish(), encryptedSecret };
}

interface Seed {
  readonly seed: Uint8Array;
  readonly encryptedSecret: Uint8Array;
}

/** Part 1, B.10.4: a random seed under RSA-OAEP with the EK's name hash and the label "IDENTITY", NUL included. */
function rsaSeed(ek: RsaPublic): Seed {
  const seed = randomBytes(HASHES[ek.nameHash].bytes);
  const options = {
    key: keyObjectOf(ek),
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: ek.scheme.hash ?? ek.nameHash,
    oaepLabel: IDENTITY,
  };
  return { seed, encryptedSecret: new ByteWriter().sized16be(encrypted(options, seed)).finish() };
}

/** Not every number is a modulus: OpenSSL notices an impossible one when it computes with it. */
function encrypted(options: RsaPublicKey, seed: Uint8Array): Uint8Array {
  try {
    return publicEncrypt(options, seed);
  } catch (cause) {
    throw new TvmmpError('tpm-structure-invalid', 'the endorsement key is no usable RSA key', { cause });
  }
}

/** Part 1, C.6.1: one-pass Diffie-Hellman with a key of our own that is used once. */
function eccSeed(ek: EccPublic): Seed {
  const ekKey = keyObjectOf(ek);
  const { coordinateBytes, jwk } = CURVES[ek.curve];
  const ephemeral = generateKeyPairSync('ec', { namedCurve: jwk });
  const own = coordinatesOf(ephemeral.publicKey);
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: ekKey });
  if (z.byteLength !== coordinateBytes) throw new TvmmpError('internal', 'a shared secret of the wrong size');
  const seed = kdfE(ek.nameHash, z, own.x, coordinatesOf(ekKey).x);
  const point = new ByteWriter().sized16be(own.x).sized16be(own.y).finish();
  return { seed, encryptedSecret: new ByteWriter().sized16be(point).finish() };
}

function coordinatesOf(key: KeyObject): { x: Uint8Array; y: Uint8Array } {
  const { x, y } = key.export({ format: 'jwk' });
  if (x === undefined || y === undefined)
    throw new TvmmpError('internal', 'an elliptic-curve key without a point');
  return { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') };
}

/** Part 1, 11.4.10.3: as many bits as the hash gives, so one round. */
function kdfE(hash: PcrBank, z: Uint8Array, partyU: Uint8Array, partyV: Uint8Array): Uint8Array {
  return createHash(hash)
    .update(new ByteWriter().u32be(1).bytes(z).bytes(IDENTITY).bytes(partyU).bytes(partyV).finish())
    .digest();
}

/** Part 1, 11.4.10.2: SP 800-108 in counter mode; the label is followed by a NUL. At most one round is needed. */
function kdfA(hash: PcrBank, key: Uint8Array, label: string, context: Uint8Array, bits: number): Uint8Array {
  const input = new ByteWriter().u32be(1).bytes(Buffer.from(label)).u8(0).bytes(context).u32be(bits).finish();
  const round = createHmac(hash, key).update(input).digest();
  if (bits > 8 * round.byteLength) throw new TvmmpError('internal', `${hash} gives fewer than ${bits} bits`);
  return round.subarray(0, bits / 8);
}
