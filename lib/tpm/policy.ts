/**
 * Policy digests in software (TPM 2.0 Part 3): what an authority signs, and what a sealer expects in a key's public
 * area. All policies here are SHA-256, the name algorithm of the keys they guard.
 */
import { createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ByteWriter } from '../bytes/writer.ts';
import { TvmmpError } from '../errors.ts';
import { CURVES, HASHES, OBJECT_ATTRIBUTE, TPM_ALG } from './algorithms.ts';
import type { CurveName } from './algorithms.ts';
import { formatPcrSelection } from './pcr-selection.ts';
import type { PcrBank, PcrSelection, PcrValue } from './port.ts';
import { formatPublicArea } from './public-area.ts';

const CC_POLICY_AUTHORIZE = 0x0000016a;
const CC_POLICY_PCR = 0x0000017f;
const DIGEST_BYTES = 32;

/**
 * Digest of selected PCRs as TPM2_Quote and TPM2_PolicyPCR compute it: the hash of the values, banks in the order of
 * the selection, PCRs ascending within each. A selected PCR without a value is an error, never skipped.
 */
export function pcrDigest(
  selection: PcrSelection,
  values: readonly PcrValue[],
  hash: PcrBank = 'sha256',
): Uint8Array {
  const state = createHash(hash);
  for (const { bank, pcrs } of selection) {
    for (const pcr of [...pcrs].sort((a, b) => a - b)) {
      const value = values.find((candidate) => candidate.bank === bank && candidate.pcr === pcr);
      if (value?.digest.byteLength !== HASHES[bank].bytes) {
        throw new TvmmpError('tpm-structure-invalid', `no value for PCR ${pcr} of bank ${bank}`);
      }
      state.update(value.digest);
    }
  }
  return Uint8Array.from(state.digest());
}

/** policyDigest after TPM2_PolicyPCR (23.7) in a session that held `previous`, by default a new one. */
export function policyPcr(
  selection: PcrSelection,
  digest: Uint8Array,
  previous: Uint8Array = new Uint8Array(DIGEST_BYTES),
): Uint8Array {
  const wire = new ByteWriter()
    .bytes(previous)
    .u32be(CC_POLICY_PCR)
    .bytes(formatPcrSelection(selection))
    .bytes(digest);
  return sha256(wire.finish());
}

/**
 * policyDigest after TPM2_PolicyAuthorize (23.16) by the key of this name: what was there before is replaced, so this
 * is also the authPolicy of an object that the key's owner may open for states yet to come (SPEC 5.2).
 */
export function policyAuthorize(keyName: Uint8Array, policyRef: Uint8Array): Uint8Array {
  const wire = new ByteWriter().bytes(new Uint8Array(DIGEST_BYTES)).u32be(CC_POLICY_AUTHORIZE).bytes(keyName);
  return sha256(new ByteWriter().bytes(sha256(wire.finish())).bytes(policyRef).finish());
}

/** What an approving key signs the SHA-256 of, to approve a policy for TPM2_PolicyAuthorize (23.16). */
export function approvalMessage(approvedPolicy: Uint8Array, policyRef: Uint8Array): Uint8Array {
  return new ByteWriter().bytes(approvedPolicy).bytes(policyRef).finish();
}

/**
 * TPMT_PUBLIC of an authority's ECDSA policy key. Its name enters every receive key's authPolicy, so each party has to
 * form it alike: nameAlg SHA-256, attributes `sign` and `userWithAuth`, scheme ECDSA with SHA-256, full-size coordinates.
 */
export function policyKeyPublicArea(key: KeyObject): Uint8Array {
  const jwk = key.export({ format: 'jwk' });
  const curve = (Object.keys(CURVES) as CurveName[]).find((name) => CURVES[name].jwk === jwk.crv);
  if (jwk.kty !== 'EC' || curve === undefined || jwk.x === undefined || jwk.y === undefined) {
    throw new TvmmpError('tpm-structure-invalid', 'a policy key is an ECDSA key on P-256 or P-384');
  }
  return formatPublicArea({
    type: 'ecc',
    nameHash: 'sha256',
    attributes: OBJECT_ATTRIBUTE.sign | OBJECT_ATTRIBUTE.userWithAuth,
    authPolicy: new Uint8Array(0),
    symmetric: null,
    scheme: { algorithm: TPM_ALG.ECDSA, hash: 'sha256' },
    curve,
    kdf: { algorithm: TPM_ALG.NULL },
    x: Buffer.from(jwk.x, 'base64url'),
    y: Buffer.from(jwk.y, 'base64url'),
  });
}

function sha256(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash('sha256').update(bytes).digest());
}
