/** Every defence that can be taken out of the code, and the test that notices. */
import { agent } from './agent.ts';
import { appraisal } from './appraisal.ts';
import { attestations } from './attestation.ts';
import { certificates } from './certificates.ts';
import { checkpoints } from './checkpoints.ts';
import { domains } from './domains.ts';
import { escrow } from './escrow.ts';
import { gates } from './gates.ts';
import { logs } from './logs.ts';
import type { Mutant } from './mutant.ts';
import { native } from './native.ts';
import { proof } from './proof.ts';
import { protocol } from './protocol.ts';
import { rescue } from './rescue.ts';
import { resolutions } from './resolution.ts';
import { rollback } from './rollback.ts';
import { rules } from './rules.ts';
import { sessions } from './sessions.ts';
import { trust } from './trust.ts';
import { vtpms } from './vtpm.ts';

export const mutants: readonly Mutant[] = [
  ...appraisal,
  ...proof,
  ...checkpoints,
  ...protocol,
  ...certificates,
  ...native,
  ...logs,
  ...rules,
  ...gates,
  ...rollback,
  ...sessions,
  ...resolutions,
  ...agent,
  ...attestations,
  ...escrow,
  ...rescue,
  ...trust,
  ...domains,
  ...vtpms,
];
