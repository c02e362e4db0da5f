/**
 * DSSE envelopes (Dead Simple Signing Envelope 1.0.2) with exactly one signature: ECDSA P-256, SHA-256, DER encoded, as
 * other DSSE tools make them. What is signed are the payload's bytes, so nothing has to be canonicalized before it
 * is believed.
 */
import { sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { spkiDigest } from '../certificates/public-key.ts';
import { base64 } from '../encoding/base64.ts';
import { hex, sha256Form } from '../encoding/hex.ts';
import { arrayOf, base64Of, objectOf, textOf } from '../encoding/json-object.ts';
import { Remembered } from '../encoding/remembered.ts';
import { limits } from '../limits.ts';
import { policyError } from './policy-error.ts';
import { readJson } from './policy-json.ts';

/** Longest DER encoding of an ECDSA P-256 signature. */
const SIGNATURE_BYTES_MAX = 72;

/** An envelope that was read; its signature is not verified. */
export interface UntrustedEnvelope {
  readonly payloadType: string;
  readonly payload: Uint8Array;
  /** Hint at the key (SHA-256 of its SPKI, hexadecimal); not covered by the signature. */
  readonly keyId: string;
  readonly signature: Uint8Array;
}

/** Envelopes that were read lately: the few policies of a fleet come with every proof. */
const parsed = new Remembered<UntrustedEnvelope>(limits.policiesRememberedMax);

/** Reads an envelope. Throws `policy-invalid`: too-large, malformed. */
export function parseEnvelope(text: string): UntrustedEnvelope {
  if (Buffer.byteLength(text) > limits.policyEnvelopeBytesMax) {
    throw policyError('too-large', 'the policy envelope is too large');
  }
  return parsed.get(text, () => parse(text, limits.policyBytesMax));
}

/** Reads an envelope whose payload may be larger than a policy, and which is not remembered. Throws `policy-invalid`. */
export function parseLargeEnvelope(text: string, payloadBytesMax: number): UntrustedEnvelope {
  if (Buffer.byteLength(text) > payloadBytesMax * 1.5)
    throw policyError('too-large', 'the envelope is too large');
  return parse(text, payloadBytesMax);
}

function parse(text: string, payloadBytesMax: number): UntrustedEnvelope {
  return readJson('the policy envelope', text, ({ value }) => {
    const envelope = objectOf(value, 'the envelope', ['payloadType', 'payload', 'signatures']);
    const [only] = arrayOf(envelope['signatures'], 'signatures', 1, 1);
    const signature = objectOf(only, 'the signature', ['keyid', 'sig']);
    return {
      payloadType: textOf(envelope['payloadType'], 'payloadType', /^[\x21-\x7e]{1,128}$/),
      payload: base64Of(envelope['payload'], 'payload', payloadBytesMax),
      keyId: textOf(signature['keyid'], 'keyid', sha256Form),
      signature: base64Of(signature['sig'], 'sig', SIGNATURE_BYTES_MAX),
    };
  });
}

/** The payload as UTF-8 text. Throws `policy-invalid`, reason malformed. */
export function payloadText({ payload, payloadType }: UntrustedEnvelope): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload);
  } catch (cause) {
    throw policyError('malformed', `the payload ${payloadType} is not UTF-8`, cause);
  }
}

/** Whether `key` signed the envelope. */
export function verifyEnvelope(envelope: UntrustedEnvelope, key: KeyObject): boolean {
  return verify(
    'sha256',
    preAuthenticationEncoding(envelope),
    { key, dsaEncoding: 'der' },
    envelope.signature,
  );
}

/** Signs a payload with an ECDSA P-256 private key; `publicKey` is its public half. */
export function signEnvelope(
  payloadType: string,
  payload: Uint8Array,
  keys: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
): string {
  const signature = sign('sha256', preAuthenticationEncoding({ payloadType, payload }), {
    key: keys.privateKey,
    dsaEncoding: 'der',
  });
  return JSON.stringify({
    payloadType,
    payload: base64(payload),
    signatures: [{ keyid: keyIdOf(keys.publicKey), sig: base64(signature) }],
  });
}

/** The hint at a key: SHA-256 of its SPKI DER, hexadecimal. */
export function keyIdOf(publicKey: KeyObject): string {
  return hex(spkiDigest(publicKey));
}

/** PAE of the DSSE protocol: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body. */
function preAuthenticationEncoding({
  payloadType,
  payload,
}: {
  payloadType: string;
  payload: Uint8Array;
}): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.byteLength} `;
  return Buffer.concat([Buffer.from(head), payload]);
}
