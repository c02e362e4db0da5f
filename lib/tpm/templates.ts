/**
 * Public areas that keys are made from. A verifier compares the public area it was shown with the template
 * (`matchesTemplate`): attributes and policies are then right by construction, not by a list of checks.
 */
import type { KeyObject } from 'node:crypto';
import { bytesEqual } from '../bytes/compare.ts';
import { OBJECT_ATTRIBUTE, TPM_ALG } from './algorithms.ts';
import type { AkAlgorithm, EkKind } from './port.ts';
import { formatPublicArea, parsePublicArea } from './public-area.ts';
import type { EccPublic, PublicArea, RsaPublic } from './public-area.ts';

const A = OBJECT_ATTRIBUTE;
const NULL_SCHEME = { algorithm: TPM_ALG.NULL } as const;
const NONE = new Uint8Array(0);
const OF_THIS_TPM = A.fixedTpm | A.fixedParent | A.sensitiveDataOrigin;

/** PolicyA: TPM2_PolicySecret(endorsement hierarchy), SHA-256 (TCG EK Credential Profile 2.5, B.3). */
const EK_POLICY_A_SHA256 = Buffer.from(
  '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa',
  'hex',
);
/** PolicyB: PolicyA, or what NV index 0x01c07f02 says, SHA-384 (TCG EK Credential Profile 2.5, B.6). */
const EK_POLICY_B_SHA384 = Buffer.from(
  'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
  'hex',
);

/** Endorsement key templates L-1 (RSA-2048), L-2 (P-256) and H-3 (P-384) of the TCG EK Credential Profile 2.5, B.3-B.6. */
export function ekTemplate(kind: EkKind): RsaPublic | EccPublic {
  const attributes = OF_THIS_TPM | A.adminWithPolicy | A.restricted | A.decrypt;
  const low = {
    nameHash: 'sha256',
    attributes,
    authPolicy: EK_POLICY_A_SHA256,
    symmetric: { keyBits: 128 },
    scheme: NULL_SCHEME,
  } as const;
  if (kind === 'rsa-2048') {
    return { type: 'rsa', ...low, keyBits: 2048, exponent: 0, modulus: new Uint8Array(256) };
  }
  if (kind === 'ecc-p256') {
    const coordinate = new Uint8Array(32);
    return { type: 'ecc', ...low, curve: 'nist-p256', kdf: NULL_SCHEME, x: coordinate, y: coordinate };
  }
  return {
    type: 'ecc',
    nameHash: 'sha384',
    attributes: attributes | A.userWithAuth,
    authPolicy: EK_POLICY_B_SHA384,
    symmetric: { keyBits: 256 },
    scheme: NULL_SCHEME,
    curve: 'nist-p384',
    kdf: NULL_SCHEME,
    x: NONE,
    y: NONE,
  };
}

/** TPMT_PUBLIC, wire form, of the L-1 endorsement key (RSA-2048) with this public key, as in its certificate; null for a key of another kind. */
export function endorsementKeyOf(key: KeyObject): Uint8Array | null {
  const template = ekTemplate('rsa-2048');
  const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== 'rsa' || template.type !== 'rsa') return null;
  if (modulusLength !== 2048 || publicExponent !== 65537n) return null;
  return formatPublicArea({
    ...template,
    modulus: Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url'),
  });
}

/** Storage root key: ECC P-256 (TCG TPM v2.0 Provisioning Guidance, 7.5.1), as other software makes it too. */
export function srkTemplate(): EccPublic {
  return {
    type: 'ecc',
    nameHash: 'sha256',
    attributes: OF_THIS_TPM | A.userWithAuth | A.noDa | A.restricted | A.decrypt,
    authPolicy: NONE,
    symmetric: { keyBits: 128 },
    scheme: NULL_SCHEME,
    curve: 'nist-p256',
    kdf: NULL_SCHEME,
    x: NONE,
    y: NONE,
  };
}

/** Attestation key: restricted, so it signs only what the TPM made. */
export function akTemplate(algorithm: AkAlgorithm): RsaPublic | EccPublic {
  const common = {
    nameHash: 'sha256',
    attributes: OF_THIS_TPM | A.userWithAuth | A.noDa | A.restricted | A.sign,
    authPolicy: NONE,
    symmetric: null,
  } as const;
  return algorithm === 'ecc-p256'
    ? {
        type: 'ecc',
        ...common,
        scheme: { algorithm: TPM_ALG.ECDSA, hash: 'sha256' },
        curve: 'nist-p256',
        kdf: NULL_SCHEME,
        x: NONE,
        y: NONE,
      }
    : {
        type: 'rsa',
        ...common,
        scheme: { algorithm: TPM_ALG.RSASSA, hash: 'sha256' },
        keyBits: 2048,
        exponent: 0,
        modulus: NONE,
      };
}

/**
 * Receive key (SPEC 5.2). Its use (TPM2_ECDH_ZGen, USER role) takes a session that satisfies `policy`, since
 * userWithAuth is clear. adminWithPolicy is clear too, so that the AK can certify it: TPM2_Certify takes the object's
 * ADMIN role, which otherwise would take a policy with TPM2_PolicyCommandCode. What else the ADMIN role allows cannot
 * loosen the key: TPM2_ObjectChangeAuth keeps the public area, and fixedTPM forbids duplication.
 */
export function receiveKeyTemplate(policy: Uint8Array): EccPublic {
  return guardedKeyTemplate(policy, A.decrypt, TPM_ALG.ECDH);
}

/**
 * vTPM CA key (SPEC 1.1): signs what it is given, and only in a session that satisfies `policy`, like the receive key: a host that
 * leaves the approved states issues nothing more.
 */
export function vtpmCaTemplate(policy: Uint8Array): EccPublic {
  return guardedKeyTemplate(policy, A.sign, TPM_ALG.ECDSA);
}

/** A P-256 key of one use, whose use takes a session that satisfies a policy. */
function guardedKeyTemplate(authPolicy: Uint8Array, use: number, algorithm: number): EccPublic {
  return {
    type: 'ecc',
    nameHash: 'sha256',
    attributes: OF_THIS_TPM | A.noDa | use,
    authPolicy,
    symmetric: null,
    scheme: { algorithm, hash: 'sha256' },
    curve: 'nist-p256',
    kdf: NULL_SCHEME,
    x: NONE,
    y: NONE,
  };
}

/** Whether a public area (wire bytes, untrusted) is the template with a key of its own in `unique`. */
export function matchesTemplate(publicArea: Uint8Array, template: PublicArea): boolean {
  return bytesEqual(withoutUnique(parsePublicArea(publicArea)), withoutUnique(template));
}

function withoutUnique(area: PublicArea): Uint8Array {
  if (area.type === 'rsa') return formatPublicArea({ ...area, modulus: NONE });
  if (area.type === 'ecc') return formatPublicArea({ ...area, x: NONE, y: NONE });
  return formatPublicArea({ ...area, unique: NONE });
}
