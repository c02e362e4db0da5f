/** What peers send: frames, CBOR, messages, evidence, proofs (SPEC 3, 4, 6). */
import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { FrameReader, frame } from '../../../lib/agent/frames.ts';
import { boundTo, quoteOf, selects, signedBy, tellsTrue } from '../../../lib/appraisal/quote.ts';
import { parseRootCertificate } from '../../../lib/certificates/root-certificate.ts';
import { decode, encode } from '../../../lib/encoding/cbor.ts';
import { decodeAs, encodeAs } from '../../../lib/encoding/shape.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { claim } from '../../../lib/evidence/claim.ts';
import { decodeRow, encodeRow } from '../../../lib/ledger/ledger-row.ts';
import {
  decodeRescue,
  decodeRescueRequest,
  encodeRescue,
  encodeRescueRequest,
} from '../../../lib/migration/rescue-file.ts';
import { decodeAttestation, encodeAttestation, verifyAttestation } from '../../../lib/proof/attestation.ts';
import type { AttestationTrust } from '../../../lib/proof/attestation.ts';
import { verifyDisclaimer } from '../../../lib/proof/disclaimer.ts';
import type { DisclaimerInput } from '../../../lib/proof/disclaimer.ts';
import { decodeEntry, decodeSignedEntry, encodeEntry, encodeSignedEntry } from '../../../lib/proof/entry.ts';
import { decodeProof, encodeProof } from '../../../lib/proof/proof.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import { decodeMessage, encodeMessage } from '../../../lib/protocol/codec.ts';
import { keyObjectOf, parsePublicArea } from '../../../lib/tpm/public-area.ts';
import { later, ledgerHost, ledgerRow } from '../../support/ledger-rows.ts';
import { samples } from '../../unit/tpm/samples.ts';
import type { Target } from '../target.ts';

interface ProofVector {
  readonly root: string;
  readonly proof: string;
}

const vectors = new URL('../../vectors/proof/', import.meta.url);
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
const proofs = (): readonly ProofVector[] =>
  readdirSync(vectors).map((file) => JSON.parse(readFileSync(new URL(file, vectors), 'utf8')) as ProofVector);

interface DisclaimerVector extends ProofVector {
  readonly aborted: string;
}

const disclaimerVectors = new URL('../../vectors/disclaimer/', import.meta.url);
const disclaimers = (): readonly DisclaimerVector[] =>
  readdirSync(disclaimerVectors).map(
    (file) => JSON.parse(readFileSync(new URL(file, disclaimerVectors), 'utf8')) as DisclaimerVector,
  );

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
  about:
    'a message of a peer (SPEC 6): what is accepted encodes to itself, and whether a disclaimer holds is answered without throwing',
  seeds: () => [
    ...(['abort', 'query'] as const).map((kind) =>
      encodeMessage({ kind, session: new Uint8Array(32), head: new Uint8Array(32) }),
    ),
    ...disclaimers().map((vector) => bytes(vector.aborted)),
  ],
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 8192,
  executions: 20_000,
  run: (input) => {
    const read = decodeMessage(input);
    assert.deepEqual(encodeMessage(read), input);
    if (read.kind !== 'aborted') return;
    const { disclaimer, certificates, policies } = read;
    verifyDisclaimer({ ...disclaimed(), disclaimer, credentials: { certificates, policies } });
  },
};

/** The departure that the good disclaimer is about. */
const disclaimed = (() => {
  let known: Pick<DisclaimerInput, 'chain' | 'root'> | null = null;
  return () => (known ??= departureOf(new URL('good.json', disclaimerVectors)));
})();

function departureOf(file: URL): Pick<DisclaimerInput, 'chain' | 'root'> {
  const vector = JSON.parse(readFileSync(file, 'utf8')) as DisclaimerVector;
  const trusted = parseRootCertificate(bytes(vector.root));
  const verified = verifyProof(bytes(vector.proof), { root: trusted });
  assert.ok(verified.outcome === 'verified');
  return { chain: verified.head, root: trusted };
}

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

interface AttestationVector extends ProofVector {
  readonly attestation: string;
  readonly nonce: string;
  readonly now: number;
}

const attestationVectors = new URL('../../vectors/attestation/', import.meta.url);
const readAttestation = (file: string): AttestationVector =>
  JSON.parse(readFileSync(new URL(file, attestationVectors), 'utf8')) as AttestationVector;

/** What the good attestation is judged by. */
const attestationTrust = (() => {
  let known: AttestationTrust | null = null;
  return (): AttestationTrust => (known ??= trustOf(readAttestation('good.json')));
})();

function trustOf(vector: AttestationVector): AttestationTrust {
  const trusted = parseRootCertificate(bytes(vector.root));
  const verified = verifyProof(bytes(vector.proof), { root: trusted });
  assert.ok(verified.outcome === 'verified');
  const [nonce, now] = [bytes(vector.nonce), new Date(vector.now)];
  return { root: trusted, proof: verified, nonce, now, revocations: null };
}

const attestation: Target = {
  name: 'attestation',
  about:
    'an attestation of a VM (SPEC 4.3): what is accepted encodes to itself, and verification answers without throwing',
  seeds: () => readdirSync(attestationVectors).map((file) => bytes(readAttestation(file).attestation)),
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 8192,
  executions: 4_000,
  run: (input) => {
    verifyAttestation(input, attestationTrust());
    assert.deepEqual(encodeAttestation(decodeAttestation(input)), input);
  },
};

const row = ledgerRow({ vm: '5b0c9c0e-2f5e-4f4b-9d2a-0f3f1f7a1c11' });

const ledger: Target = {
  name: 'ledger-row',
  about:
    'a row of the ledger, which anybody with access to it may have written (SPEC 8.6): what is accepted encodes to itself',
  seeds: () => [
    encodeRow(row),
    encodeRow(later(row, { leaving: { to: ledgerHost('beta'), session: row.head } })),
    encodeRow(later(row, { withdrawn: { epoch: 0, sequence: 0, head: row.head }, life: 'ended' })),
  ],
  form: 'cbor',
  refusals: ['ledger-invalid'],
  bytesMax: 4096,
  executions: 20_000,
  run: (input) => {
    assert.deepEqual(encodeRow(decodeRow(row.vm, input)), input);
  },
};

const rescue: Target = {
  name: 'rescue',
  about: 'a rescue, or the request for one (SPEC 15.3, 15.4): what is accepted encodes to itself',
  seeds: () => {
    const digest = new Uint8Array(32).fill(1);
    const request = encodeRescueRequest({
      ...{ name: 'web', secret: row.vm, proof: digest, escrowed: new Uint8Array(126), state: digest },
      ...{ past: [digest], akCertificate: digest, receivePublic: digest },
    });
    return [request, encodeRescue({ request, statement: '{}', sealed: new Uint8Array(126) })];
  },
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 4096,
  executions: 10_000,
  run: (input) => {
    const asked = outcomeOf(() => decodeRescueRequest(input));
    if (asked === null) assert.deepEqual(encodeRescue(decodeRescue(input)), input);
    else assert.deepEqual(encodeRescueRequest(asked), input);
  },
};

const root = parseRootCertificate(bytes(proofs()[0]?.root ?? ''));

const entry: Target = {
  name: 'proof-entry',
  about: 'an entry of a proof, and a signed one: what is accepted encodes to itself',
  seeds: () =>
    proofs()
      .slice(0, 12)
      .flatMap((vector) => outcomeOf(() => decodeProof(bytes(vector.proof)).entries) ?? [])
      .flatMap((signed) => [signed.entry, encodeSignedEntry(signed)]),
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 10 * 1024,
  executions: 10_000,
  run: (input) => {
    const plain = outcomeOf(() => encodeEntry(decodeEntry(input)));
    if (plain === null) assert.deepEqual(encodeSignedEntry(decodeSignedEntry(input)), input);
    else assert.deepEqual(plain, input);
  },
};

const [leaf, key] = [new Uint8Array(32), keyOf(samples.eccAk)];

const evidence: Target = {
  name: 'claim',
  about: 'what a peer claims about itself: every check of its quote answers without throwing',
  seeds: () => {
    const [attest, signature] = [hex(samples.eccQuote), hex(samples.eccQuoteSignature)];
    const pcrs = [{ bank: 'sha256', index: 0, value: leaf }];
    return [encodeAs(claim, { attest, signature, path: [{ side: 'left', sibling: leaf }], pcrs })];
  },
  form: 'cbor',
  refusals: ['encoding-invalid', 'limit-exceeded'],
  bytesMax: 4096,
  executions: 10_000,
  run: (input) => {
    const { attest, signature, path, pcrs } = decodeAs(claim, 'claim', input);
    signedBy(key, attest, signature);
    const quote = quoteOf(attest);
    if (quote.type !== 'quote') return;
    boundTo(quote, leaf, path);
    tellsTrue(quote, pcrs);
    assert.ok(selects(quote, quote.pcrSelection));
  },
};

/** The first byte says in pieces of which size the rest arrives. */
const frames: Target = {
  name: 'frames',
  about: 'a stream cut into frames: the same frames, in whatever pieces it arrives',
  seeds: () => [
    Buffer.concat([Uint8Array.of(3), frame(Buffer.from('one')), frame(Buffer.from('another')), frame(leaf)]),
  ],
  form: 'bytes',
  refusals: ['limit-exceeded'],
  bytesMax: 1024,
  executions: 10_000,
  run: (input) => {
    const stream = input.subarray(1);
    const size = (input[0] ?? 0) + 1;
    const whole = new FrameReader(256);
    const pieces = new FrameReader(256);
    const expected = outcomeOf(() => whole.push(stream));
    const found = outcomeOf(() => {
      const got: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += size)
        got.push(...pieces.push(stream.subarray(at, at + size)));
      return got;
    });
    assert.deepEqual(found, expected);
    if (found !== null && pieces.empty)
      assert.deepEqual(new Uint8Array(Buffer.concat(found.map(frame))), stream);
  },
};

function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function keyOf(publicArea: string) {
  return keyObjectOf(parsePublicArea(hex(publicArea)));
}

/** What `read` returns, or null where it refuses. */
function outcomeOf<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof TvmmpError) return null;
    throw error;
  }
}

export const wireTargets: readonly Target[] = [
  ledger,
  rescue,
  cbor,
  message,
  proof,
  attestation,
  entry,
  evidence,
  frames,
];
