/**
 * Loaded before the tests (.mocharc.json): properties are tried with the same values in every run, so that a change which passed once passes
 * again; `SEED=N npx mocha` tries others. What a new seed finds becomes an example of its property.
 */
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env['SEED'] ?? 20261123) });
