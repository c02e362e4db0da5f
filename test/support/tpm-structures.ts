/** Everything that parses and formats TPM 2.0 wire structures, in one place for tests. */
export * from '../../lib/tpm/algorithms.ts';
export * from '../../lib/tpm/attest.ts';
export * from '../../lib/tpm/pcr-selection.ts';
export * from '../../lib/tpm/public-area.ts';
export * from '../../lib/tpm/signature.ts';
