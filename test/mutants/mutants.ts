/** Every defence that can be taken out of the code, and the test that notices. */
import { appraisal } from './appraisal.ts';
import { certificates } from './certificates.ts';
import { migration } from './migration.ts';
import type { Mutant } from './mutant.ts';
import { native } from './native.ts';
import { proof } from './proof.ts';
import { protocol } from './protocol.ts';

export const mutants: readonly Mutant[] = [
  ...appraisal,
  ...proof,
  ...protocol,
  ...certificates,
  ...native,
  ...migration,
];
