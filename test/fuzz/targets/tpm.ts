/** What a TPM made, or somebody who says so: wire structures of TPM 2.0 Part 2. */
import { strict as assert } from 'node:assert';
import { formatAttest, parseAttest } from '../../../lib/tpm/attest.ts';
import { samples } from '../../unit/tpm/samples.ts';
import type { Target } from '../target.ts';

const hex = (...texts: readonly string[]): readonly Uint8Array[] =>
  texts.map((text) => new Uint8Array(Buffer.from(text, 'hex')));

const attest: Target = {
  name: 'tpm-attest',
  about: 'TPMS_ATTEST: what is accepted is written back to the same bytes',
  seeds: () => hex(samples.eccQuote, samples.eccCertify, samples.rsaQuote),
  form: 'bytes',
  refusals: ['tpm-structure-invalid'],
  bytesMax: 1024,
  executions: 20_000,
  run: (input) => {
    assert.deepEqual(formatAttest(parseAttest(input)), input);
  },
};

export const tpmTargets: readonly Target[] = [attest];
