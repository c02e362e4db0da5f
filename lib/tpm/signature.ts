/** TPMT_SIGNATURE (TPM 2.0 Part 2, 11.3.4) to and from bytes, and its verification with Node's crypto. */
import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ByteReader } from '../bytes/reader.ts';
import { ByteWriter } from '../bytes/writer.ts';
import { TvmmpError } from '../errors.ts';
import { HASHES, TPM_ALG, hashOfId } from './algorithms.ts';

/** Hash algorithms of signatures: SHA-1 is refused. */
export type SignatureHash = 'sha256' | 'sha384' | 'sha512';

/** A TPM's signature. ECDSA's r and s are unsigned big-endian integers as the TPM wrote them, padded or not. */
export type TpmSignature =
  | { readonly scheme: 'ecdsa'; readonly hash: SignatureHash; readonly r: Uint8Array; readonly s: Uint8Array }
  | { readonly scheme: 'rsassa' | 'rsapss'; readonly hash: SignatureHash; readonly signature: Uint8Array };

const SCHEMES = { rsassa: TPM_ALG.RSASSA, rsapss: TPM_ALG.RSAPSS, ecdsa: TPM_ALG.ECDSA } as const;
/** RSA-4096. */
const RSA_BYTES_MAX = 512;
const COORDINATE_BYTES_MAX = 66;

/** Parses TPMT_SIGNATURE (ECDSA, RSASSA, RSAPSS); refuses other schemes, SHA-1 and trailing bytes. */
export function parseSignature(bytes: Uint8Array): TpmSignature {
  const reader: ByteReader = new ByteReader(bytes, { what: 'TPMT_SIGNATURE', code: 'tpm-structure-invalid' });
  const id = reader.u16be();
  const scheme = (Object.keys(SCHEMES) as (keyof typeof SCHEMES)[]).find((name) => SCHEMES[name] === id);
  if (scheme === undefined) reader.fail(`unknown scheme 0x${id.toString(16)}`);
  const hash = hashOfId(reader.u16be());
  if (hash === undefined || hash === 'sha1') reader.fail('its hash algorithm is not accepted');
  const signature: TpmSignature =
    scheme === 'ecdsa'
      ? { scheme, hash, r: reader.sized16be(COORDINATE_BYTES_MAX), s: reader.sized16be(COORDINATE_BYTES_MAX) }
      : { scheme, hash, signature: reader.sized16be(RSA_BYTES_MAX) };
  reader.end();
  return signature;
}

/** Wire bytes of a signature; the inverse of `parseSignature`. */
export function formatSignature(signature: TpmSignature): Uint8Array {
  const writer = new ByteWriter().u16be(SCHEMES[signature.scheme]).u16be(HASHES[signature.hash].id);
  if (signature.scheme === 'ecdsa') writer.sized16be(signature.r).sized16be(signature.s);
  else writer.sized16be(signature.signature);
  return writer.finish();
}

/** An ECDSA signature in IEEE P1363 form (r || s, as in policies, SPEC 10) as a TPM's. */
export function ecdsaFromP1363(bytes: Uint8Array, hash: SignatureHash): TpmSignature {
  const half = bytes.byteLength / 2;
  if (half !== 32 && half !== 48) {
    throw new TvmmpError('tpm-structure-invalid', `an r || s of ${bytes.byteLength} bytes, not 64 or 96`);
  }
  return {
    scheme: 'ecdsa',
    hash,
    r: Uint8Array.from(bytes.subarray(0, half)),
    s: Uint8Array.from(bytes.subarray(half)),
  };
}

/** An ECDSA signature in IEEE P1363 form: r || s, each padded to the curve's size. */
export function ecdsaToP1363(
  signature: TpmSignature & { scheme: 'ecdsa' },
  coordinateBytes: number,
): Uint8Array {
  return Buffer.concat([padded(signature.r, coordinateBytes), padded(signature.s, coordinateBytes)]);
}

/**
 * Whether `signature` is `key`'s over `message`. A signature of another scheme than the key's is false, never an
 * exception: to the caller it is a refusal like any other.
 */
export function verifySignature(key: KeyObject, message: Uint8Array, signature: TpmSignature): boolean {
  if (signature.scheme === 'ecdsa') {
    const bytes = coordinateBytesOf(key);
    if (bytes === undefined || signature.r.byteLength > bytes || signature.s.byteLength > bytes) return false;
    return verify(
      signature.hash,
      message,
      { key, dsaEncoding: 'ieee-p1363' },
      ecdsaToP1363(signature, bytes),
    );
  }
  if (key.asymmetricKeyType !== 'rsa') return false;
  const padding =
    signature.scheme === 'rsassa'
      ? { padding: constants.RSA_PKCS1_PADDING }
      : { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
  return verify(signature.hash, message, { key, ...padding }, signature.signature);
}

function coordinateBytesOf(key: KeyObject): number | undefined {
  if (key.asymmetricKeyType !== 'ec') return undefined;
  const curve = key.asymmetricKeyDetails?.namedCurve;
  return curve === 'prime256v1' ? 32 : curve === 'secp384r1' ? 48 : undefined;
}

/** Left-pads an unsigned big-endian integer, dropping no significant byte. */
function padded(value: Uint8Array, length: number): Uint8Array {
  if (value.byteLength > length) {
    throw new TvmmpError(
      'tpm-structure-invalid',
      `an integer of ${value.byteLength} bytes, at most ${length}`,
    );
  }
  const out = new Uint8Array(length);
  out.set(value, length - value.byteLength);
  return out;
}
