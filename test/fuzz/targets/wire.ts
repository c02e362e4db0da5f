/** What peers send: CBOR, messages, proofs (SPEC 3, 4, 6). */
import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRootCertificate } from '../../../lib/certificates/root-certificate.ts';
import { decode, encode } from '../../../lib/encoding/cbor.ts';
import { decodeProof, encodeProof } from '../../../lib/proof/proof.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import { decodeMessage, encodeMessage } from '../../../lib/protocol/codec.ts';
import type { Target } from '../target.ts';

interface ProofVector {
  readonly root: string;
  readonly proof: string;
}

const vectors = new URL('../../vectors/proof/', import.meta.url);
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
const proofs = (): readonly ProofVector[] =>
  readdirSync(vectors).map((file) => JSON.parse(readFileSync(new URL(file, vectors), 'utf8')) as ProofVector);

const cbor: Target = {
  name: 'cbor',
  about: 'CBOR of any shape (SPEC 3): what is accepted encodes to itself',
  seeds: () => [encode([1, 'a', null, new Uint8Array(3), new Map([['k', 'v']]), [[2 ** 40, 300]]])],
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 2048,
  executions: 20_000,
  run: (input) => {
    assert.deepEqual(encode(decode(input)), input);
  },
};

const message: Target = {
  name: 'message',
  about: 'a message of a peer (SPEC 6): what is accepted encodes to itself',
  seeds: () =>
    (['abort', 'aborted', 'query'] as const).map((kind) =>
      encodeMessage({ kind, session: new Uint8Array(32) }),
    ),
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 8192,
  executions: 20_000,
  run: (input) => {
    assert.deepEqual(encodeMessage(decodeMessage(input)), input);
  },
};

const proof: Target = {
  name: 'proof',
  about:
    'a proof file (SPEC 4): what is accepted encodes to itself, and verification answers without throwing',
  seeds: () => proofs().map((vector) => bytes(vector.proof)),
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 16 * 1024,
  executions: 2_000,
  run: (input) => {
    verifyProof(input, { root });
    assert.deepEqual(encodeProof(decodeProof(input)), input);
  },
};

const root = parseRootCertificate(bytes(proofs()[0]?.root ?? ''));

export const wireTargets: readonly Target[] = [cbor, message, proof];
