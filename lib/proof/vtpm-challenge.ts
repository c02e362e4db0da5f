/**
 * What a tenant sends into its guest to learn whether a key there is in the vTPM that the proof names (SPEC 4.4): a secret that only a
 * TPM with that endorsement key and that attestation key recovers, and a nonce for host and guest.
 */
import { randomBytes } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { sha256 } from '../encoding/hash.ts';
import { bytesUpTo, decodeAs, encodeAs, formatted, hash, tpmName, uuid } from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { TvmmpError } from '../errors.ts';
import { makeCredential } from '../tpm/credential.ts';
import type { Credential } from '../tpm/credential.ts';
import { hasAttributes, nameOf, parsePublicArea } from '../tpm/public-area.ts';
import type { PublicArea } from '../tpm/public-area.ts';
import type { ChainState } from './chain.ts';

/** TPMT_PUBLIC of an RSA-4096 key fits. */
const PUBLIC_BYTES_MAX = 1024;

const shape = formatted('tvmmp/vtpm-challenge/1', {
  vm: uuid,
  vtpm: tpmName,
  akPublic: bytesUpTo(PUBLIC_BYTES_MAX),
  nonce: hash,
  secret: hash,
});

/** `vtpm-challenge` of SPEC 4.4: the verifier's own, and secret. */
export type VtpmChallenge = Of<typeof shape>;

/** Bytes of a challenge file. */
export function encodeChallenge(challenge: VtpmChallenge): Uint8Array {
  return encodeAs(shape, challenge);
}

/** Reads a challenge file; throws `encoding-invalid`. */
export function decodeChallenge(bytes: Uint8Array): VtpmChallenge {
  return decodeAs(shape, 'challenge', bytes, { bytesMax: 2 * PUBLIC_BYTES_MAX });
}

/** Qualifying data that the guest's quote must have: who knows it has had both keys in one TPM since the challenge was made. */
export function challengedNonce({ nonce, secret }: Pick<VtpmChallenge, 'nonce' | 'secret'>): Uint8Array {
  return sha256(nonce, secret);
}

/** Public areas (TPMT_PUBLIC) as the guest tells them. UNVERIFIED. */
export interface ToldKeys {
  readonly ek: Uint8Array;
  readonly ak: Uint8Array;
}

/**
 * A fresh challenge to the vTPM of a verified proof, and the credential for it. Throws `vm-unsuitable` where the endorsement key is not
 * the proof's, or either key is not of the kind that proves anything; `tpm-structure-invalid` for what is no public area.
 */
export function makeChallenge(
  { vm, vtpm }: Pick<ChainState, 'vm' | 'vtpm'>,
  told: ToldKeys,
): { readonly challenge: VtpmChallenge; readonly credential: Credential } {
  const refuse = (why: string): never => {
    throw new TvmmpError('vm-unsuitable', why);
  };
  if (vtpm === null) return refuse('the proof names no vTPM');
  if (!bytesEqual(nameOf(told.ek), vtpm))
    return refuse('the endorsement key is not that of the vTPM in the proof');
  if (!isEndorsementKey(parsePublicArea(told.ek)))
    return refuse('the endorsement key is no restricted decryption key of its TPM');
  if (!isAttestationKey(parsePublicArea(told.ak)))
    return refuse(
      'the attestation key is not bound to its TPM, or signs other things than what the TPM made, or has a policy',
    );
  const challenge = { vm, vtpm, akPublic: told.ak, nonce: random(), secret: random() };
  return { challenge, credential: makeCredential(told.ek, nameOf(told.ak), challenge.secret) };
}

function isEndorsementKey(area: PublicArea): boolean {
  const needed = ['fixedTpm', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'decrypt'] as const;
  return hasAttributes(area, needed) && !hasAttributes(area, ['sign']);
}

/**
 * A key that its TPM made, keeps, and signs nothing from outside with. Without a policy, as tpm2_createak makes it: the owner's password is
 * then all that uses it, and a TPM that has its public part alone cannot activate a credential for it.
 */
export function isAttestationKey(area: PublicArea): boolean {
  const needed = [
    'fixedTpm',
    'fixedParent',
    'sensitiveDataOrigin',
    'userWithAuth',
    'restricted',
    'sign',
  ] as const;
  return (
    area.type !== 'keyedhash' &&
    hasAttributes(area, needed) &&
    !hasAttributes(area, ['decrypt']) &&
    !hasAttributes(area, ['adminWithPolicy']) &&
    area.authPolicy.byteLength === 0
  );
}

function random(): Uint8Array {
  return Uint8Array.from(randomBytes(32));
}
