/** Proof files that users name: verified, and what to say where they do not hold. */
import { refused } from './exit.ts';
import { rootFrom } from './root-file.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';

/** What a proof says, or why it does not hold, for `--json`; null: nobody verified it. */
export async function judgement(
  judged: VerifiedProof | ProofFault | null,
): Promise<Readonly<Record<string, unknown>>> {
  const { proofJson } = await import('./proof-report.ts');
  if (judged === null) return { outcome: 'not-verified' };
  return judged.outcome === 'verified' ? proofJson(judged) : { ...judged };
}

/** Verifies a proof with a root certificate (PEM). `checkpoints`: one that begins with a checkpoint will do. */
export async function verified(
  bytes: Uint8Array,
  rootFile: string,
  checkpoints = true,
): Promise<VerifiedProof | ProofFault> {
  const { verifyProof } = await import('../proof/verify.ts');
  return verifyProof(bytes, {
    root: await rootFrom(rootFile),
    ...(checkpoints ? { checkpoints: 'any' as const } : {}),
  });
}

/** Ends the command: the proof does not hold. */
export async function refuseFault(fault: ProofFault, bytes: Uint8Array, file?: string): Promise<never> {
  const { faultPlace } = await import('./proof-report.ts');
  const what = file === undefined ? 'the proof' : file;
  throw refused(`${what} does not verify: ${faultPlace(fault, bytes)}: ${fault.check}: ${fault.message}`);
}
