import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRootCertificate } from '../../lib/certificates/root-certificate.ts';
import { proofChecks } from '../../lib/proof/fault.ts';
import type { ProofFault } from '../../lib/proof/fault.ts';
import { verifyProof } from '../../lib/proof/verify.ts';
import { proofCases } from '../support/proof-cases.ts';

interface Vector {
  readonly why: string;
  readonly expect: string;
  readonly at: ProofFault['at'];
  /** Base64: the authority's root certificate, the proof, and a proof that the verifier knows already. */
  readonly root: string;
  readonly proof: string;
  readonly known?: string;
  /** Roots of other domains. */
  readonly others?: readonly string[];
}

const directory = new URL('proof/', import.meta.url);
const vectors = new Map(
  readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => [
      file.replace('.json', ''),
      JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Vector,
    ]),
);
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

describe('test vectors of proofs', () => {
  for (const [name, vector] of vectors) {
    it(`${name}: ${vector.why}`, () => {
      const root = parseRootCertificate(bytes(vector.root));
      const others = (vector.others ?? []).map((text) => parseRootCertificate(bytes(text)));
      const earlier =
        vector.known === undefined ? null : verifyProof(bytes(vector.known), { root, checkpoints: 'any' });
      assert.notEqual(earlier?.outcome, 'fault');
      const known = earlier?.outcome === 'verified' ? { known: earlier.head } : {};
      const result = verifyProof(bytes(vector.proof), { root, others, checkpoints: 'any', ...known });
      if (result.outcome === 'verified') assert.equal(vector.expect, 'verified');
      else
        assert.deepEqual(
          { check: result.check, at: result.at },
          { check: vector.expect, at: vector.at },
          result.message,
        );
    });
  }

  it('has a vector for every check of SPEC 4, and every vector has its recipe', () => {
    const covered = new Set([...vectors.values()].map(({ expect }) => expect));
    assert.deepEqual(
      proofChecks.filter((check) => !covered.has(check)),
      [],
    );
    assert.deepEqual([...vectors.keys()].sort(), proofCases.map(({ name }) => name).sort());
  });
});
