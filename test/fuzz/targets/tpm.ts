/** What a TPM made, or somebody who says so: wire structures of TPM 2.0 Part 2. */
import { strict as assert } from 'node:assert';
import { formatAttest, parseAttest } from '../../../lib/tpm/attest.ts';
import { makeCredential } from '../../../lib/tpm/credential.ts';
import { formatPcrSelection, parsePcrSelection } from '../../../lib/tpm/pcr-selection.ts';
import { formatPublicArea, keyObjectOf, nameOf, parsePublicArea } from '../../../lib/tpm/public-area.ts';
import { formatSignature, parseSignature, verifySignature } from '../../../lib/tpm/signature.ts';
import { samples } from '../../unit/tpm/samples.ts';
import type { Target } from '../target.ts';

const hex = (...texts: readonly string[]): readonly Uint8Array[] =>
  texts.map((text) => new Uint8Array(Buffer.from(text, 'hex')));
const keys = hex(samples.eccAk, samples.rsaAk, samples.ekP384).map((area) =>
  keyObjectOf(parsePublicArea(area)),
);

const structure = (name: string, about: string, seeds: readonly string[], run: Target['run']): Target => ({
  name,
  about,
  seeds: () => hex(...seeds),
  form: 'bytes',
  refusals: ['tpm-structure-invalid'],
  bytesMax: 1024,
  executions: 10_000,
  run,
});

const attest = structure(
  'tpm-attest',
  'TPMS_ATTEST: what is accepted is written back to the same bytes',
  [samples.eccQuote, samples.eccCertify, samples.rsaQuote],
  (input) => {
    assert.deepEqual(formatAttest(parseAttest(input)), input);
  },
);

const publicArea = structure(
  'tpm-public',
  'TPMT_PUBLIC: what is accepted is written back to the same bytes, has a name, and a key or none',
  [samples.eccAk, samples.rsaAk, samples.ekRsa, samples.ekP384, samples.srk, samples.receiveKey],
  (input) => {
    const area = parsePublicArea(input);
    assert.deepEqual(formatPublicArea(area), input);
    nameOf(input);
    keyObjectOf(area);
  },
);

const signature = structure(
  'tpm-signature',
  'TPMT_SIGNATURE: what is accepted is written back to the same bytes, and verifies or not with any key',
  [samples.eccQuoteSignature, samples.eccCertifySignature, samples.rsaQuoteSignature],
  (input) => {
    const parsed = parseSignature(input);
    assert.deepEqual(formatSignature(parsed), input);
    for (const key of keys) verifySignature(key, input, parsed);
  },
);

const selection = structure(
  'tpm-pcr-selection',
  'TPML_PCR_SELECTION: what is accepted is written back to the same bytes',
  ['00000002000b03810001000403000080', '00000000'],
  (input) => {
    assert.deepEqual(formatPcrSelection(parsePcrSelection(input)), input);
  },
);

const credential: Target = {
  ...structure(
    'tpm-credential',
    'an endorsement key that a host says it has: a credential can be made to it, or it is refused',
    [samples.ekRsa, samples.ekP384],
    (input) => {
      makeCredential(input, new Uint8Array(34), new Uint8Array(32));
    },
  ),
  executions: 3000,
};

export const tpmTargets: readonly Target[] = [attest, publicArea, signature, selection, credential];
