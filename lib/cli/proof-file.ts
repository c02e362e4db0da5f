/** Proof files that users name: verified, and what to say where they do not hold. */
import { refused } from './exit.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { TvmmpError } from '../errors.ts';
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

/** Verifies a proof with root certificates (files, PEM), each of one authority. `checkpoints`: one that begins with a checkpoint will do. */
export async function verified(
  bytes: Uint8Array,
  rootFiles: readonly string[],
  checkpoints = true,
): Promise<VerifiedProof | ProofFault> {
  return verifiedBy(bytes, await Promise.all(rootFiles.map(rootFrom)), checkpoints);
}

/** Verifies a proof by the roots that are believed. */
export async function verifiedBy(
  bytes: Uint8Array,
  [root, ...others]: readonly RootCertificate[],
  checkpoints = true,
): Promise<VerifiedProof | ProofFault> {
  const { verifyProof } = await import('../proof/verify.ts');
  if (root === undefined) throw new TvmmpError('usage-invalid', 'say --authority ROOT.pem');
  return verifyProof(bytes, {
    root,
    others,
    ...(checkpoints ? { checkpoints: 'any' as const } : {}),
  });
}

/** Ends the command: the proof does not hold. */
export async function refuseFault(fault: ProofFault, bytes: Uint8Array, file?: string): Promise<never> {
  const { faultPlace } = await import('./proof-report.ts');
  const what = file === undefined ? 'the proof' : file;
  throw refused(`${what} does not verify: ${faultPlace(fault, bytes)}: ${fault.check}: ${fault.message}`);
}
