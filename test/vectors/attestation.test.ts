import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRootCertificate } from '../../lib/certificates/root-certificate.ts';
import { verifyAttestation } from '../../lib/proof/attestation.ts';
import { verifyProof } from '../../lib/proof/verify.ts';
import { attestationCases } from '../support/attestation-cases.ts';

interface Vector {
  readonly why: string;
  readonly expect: string;
  /** Base64: the authority's root certificate, the proof, the attestation, and the nonce that the verifier drew. */
  readonly root: string;
  readonly proof: string;
  readonly attestation: string;
  readonly nonce: string;
  /** The verifier's clock, milliseconds since 1970. */
  readonly now: number;
}

const directory = new URL('attestation/', import.meta.url);
const vectors = new Map(
  readdirSync(directory).map((file) => [
    file.replace('.json', ''),
    JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Vector,
  ]),
);
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

describe('test vectors of attestations (SPEC 4.3)', () => {
  for (const [name, vector] of vectors) {
    it(`${name}: ${vector.why}`, () => {
      const root = parseRootCertificate(bytes(vector.root));
      const proof = verifyProof(bytes(vector.proof), { root });
      assert.ok(proof.outcome === 'verified');
      const [nonce, now] = [bytes(vector.nonce), new Date(vector.now)];
      const result = verifyAttestation(bytes(vector.attestation), {
        root,
        proof,
        nonce,
        now,
        revocations: null,
      });
      const found = result.outcome === 'verified' ? 'verified' : result.check;
      assert.equal(found, vector.expect, result.outcome === 'fault' ? result.message : undefined);
    });
  }

  it('has a vector for every check of SPEC 4.3 but that of revocations, and every vector has its recipe', () => {
    const checks = [
      ...[
        'encoding',
        'nonce',
        'head',
        'life-cycle',
        'certificate',
        'holder',
        'quote-signature',
        'quote-type',
      ],
      ...['quote-binding', 'policy', 'policy-order', 'pcr-selection', 'pcr-state', 'tenant', 'unused'],
    ];
    const covered = new Set([...vectors.values()].map(({ expect }) => expect));
    assert.deepEqual(
      checks.filter((check) => !covered.has(check)),
      [],
    );
    assert.deepEqual([...vectors.keys()].sort(), attestationCases.map(({ name }) => name).sort());
  });
});
