/** Everything that parses and formats TPM 2.0 wire structures, without a TPM: what verifiers import. */
export * from './algorithms.ts';
export * from './attest.ts';
export * from './pcr-selection.ts';
export * from './public-area.ts';
export * from './signature.ts';
