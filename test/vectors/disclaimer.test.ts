import { strict as assert } from 'node:assert';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRootCertificate } from '../../lib/certificates/root-certificate.ts';
import { verifyDisclaimer } from '../../lib/proof/disclaimer.ts';
import { verifyProof } from '../../lib/proof/verify.ts';
import { decodeMessage } from '../../lib/protocol/codec.ts';
import { disclaimerCases } from '../support/disclaimer-cases.ts';

interface Vector {
  readonly why: string;
  readonly expect: string;
  /** Base64: the authority's root certificate, the source's proof, and the message *aborted*. */
  readonly root: string;
  readonly proof: string;
  readonly aborted: string;
}

const directory = new URL('disclaimer/', import.meta.url);
const vectors = new Map(
  readdirSync(directory).map((file) => [
    file.replace('.json', ''),
    JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Vector,
  ]),
);
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

describe('test vectors of disclaimers (SPEC 6.10)', () => {
  for (const [name, vector] of vectors) {
    it(`${name}: ${vector.why}`, () => {
      const root = parseRootCertificate(bytes(vector.root));
      const proof = verifyProof(bytes(vector.proof), { root });
      assert.ok(proof.outcome === 'verified');
      const message = decodeMessage(bytes(vector.aborted));
      assert.ok(message.kind === 'aborted');
      const { disclaimer, certificates, policies } = message;
      const credentials = { certificates, policies };
      const result = verifyDisclaimer({ chain: proof.head, disclaimer, credentials, root });
      const found = result.outcome === 'verified' ? 'verified' : result.check;
      assert.equal(found, vector.expect, result.outcome === 'fault' ? result.message : undefined);
    });
  }

  it('has a vector for every check of SPEC 6.10, and every vector has its recipe', () => {
    const checks = [
      ...[
        'certificate',
        'holder',
        'quote-signature',
        'quote-type',
        'quote-binding',
        'policy',
        'policy-order',
      ],
      ...['pcr-selection', 'pcr-state', 'unused'],
    ];
    const covered = new Set([...vectors.values()].map(({ expect }) => expect));
    assert.deepEqual(
      checks.filter((check) => !covered.has(check)),
      [],
    );
    assert.deepEqual([...vectors.keys()].sort(), disclaimerCases.map(({ name }) => name).sort());
  });
});
