/** What swtpm_setup gives its certificate tool (swtpm_localca(8)), as our tool passes it on (native/vtpm-certs.c). UNTRUSTED: whoever runs as libvirt's swtpm user may ask. */
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { VtpmDescription } from '../certificates/vtpm-certificate.ts';
import { TvmmpError } from '../errors.ts';

/** An endorsement key to be certified. */
export interface VtpmRequest {
  /** NAME:UUID. */
  readonly vmId: string;
  readonly publicKey: KeyObject;
  readonly vtpm: VtpmDescription;
}

/** RSA-2048, -3072 and -4096, as hexadecimal. */
const MODULUS = /^(?:[0-9a-f]{512}|[0-9a-f]{768}|[0-9a-f]{1024})$/;
const POINT = /^x=([0-9a-f]{96}),y=([0-9a-f]{96}),id=secp384r1$/;
const ID = /^id:[0-9A-Fa-f]{8}$/;
const MODEL = /^[\x21-\x7e]{1,64}$/;
const FAMILY = /^\d\.\d$/;
const NUMBER = /^\d{1,4}$/;

/** Reads the tool's arguments. Throws `encoding-invalid`. */
export function parseVtpmRequest(words: readonly string[]): VtpmRequest {
  if (option(words, '--type', /^\S+$/) !== 'ek') throw malformed('--type', 'not ek');
  return {
    vmId: option(words, '--vmid', /^[^]+$/),
    publicKey: keyOf(option(words, '--ek', /^[0-9a-z=,]+$/)),
    vtpm: {
      manufacturer: option(words, '--tpm-manufacturer', ID),
      model: option(words, '--tpm-model', MODEL),
      version: option(words, '--tpm-version', ID),
      specification: {
        family: option(words, '--tpm-spec-family', FAMILY),
        level: Number(option(words, '--tpm-spec-level', NUMBER)),
        revision: Number(option(words, '--tpm-spec-revision', NUMBER)),
      },
    },
  };
}

function keyOf(text: string): KeyObject {
  const base64url = (hex: string): string => Buffer.from(hex, 'hex').toString('base64url');
  const [, x, y] = POINT.exec(text) ?? [];
  try {
    if (MODULUS.test(text))
      return createPublicKey({ key: { kty: 'RSA', n: base64url(text), e: 'AQAB' }, format: 'jwk' });
    if (x !== undefined && y !== undefined)
      return createPublicKey({
        key: { kty: 'EC', crv: 'P-384', x: base64url(x), y: base64url(y) },
        format: 'jwk',
      });
  } catch (cause) {
    throw malformed('--ek', 'no point of its curve', cause);
  }
  throw malformed('--ek', 'neither an RSA modulus nor a point of P-384');
}

/** The word after this one, which is there once. */
function option(words: readonly string[], name: string, form: RegExp): string {
  const at = words.indexOf(name);
  const value = words[at + 1];
  if (at < 0 || value === undefined || words.indexOf(name, at + 1) >= 0 || !form.test(value))
    throw malformed(name, 'missing, twice or of another form');
  return value;
}

function malformed(name: string, what: string, cause?: unknown): TvmmpError {
  return new TvmmpError('encoding-invalid', `request for a vTPM's certificate: ${name}: ${what}`, { cause });
}
