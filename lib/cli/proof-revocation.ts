/** What `tvmmp proof verify --revocations` tells of revoked hosts. */
import { verifySignedRevocations } from '../appraisal/revocation.ts';
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { limits } from '../limits.ts';
import { decodeProof } from '../proof/proof.ts';
import type { RevokedSigner } from '../proof/revocation.ts';
import { readText } from './files.ts';
import { paint, timeText } from './output.ts';
import { rootFrom } from './root-file.ts';

/**
 * The revocation list of a file. Its signer is certified in the proof itself. Throws `policy-invalid` where no policy signer of the root
 * signed it.
 */
export async function revocationsOf(
  bytes: Uint8Array,
  rootFile: string,
  listFile: string,
): Promise<RevocationDocument> {
  const root = await rootFrom(rootFile);
  const { certificates } = decodeProof(bytes);
  const envelope = readText(listFile, limits.policyEnvelopeBytesMax);
  return verifySignedRevocations(envelope, { root, signers: certificates, at: new Date() });
}

/** One signer for `--json`; times in milliseconds since 1970. */
export function revocationJson(signer: RevokedSigner): unknown {
  const { revocation, before, witness, after, destroyedAfter } = signer;
  return {
    host: revocation.host,
    akName: revocation.akName,
    since: revocation.since.getTime(),
    reason: revocation.reason,
    before,
    witness,
    after: after === null ? null : after.entry.sequence,
    destroyedAfter,
  };
}

/** One signer for people. */
export function revocationText(signer: RevokedSigner): readonly string[] {
  const { revocation, before, witness, destroyedAfter } = signer;
  const { host, since, reason } = revocation;
  const lines: string[] = [];
  if (before !== null) {
    const entries =
      before.first === before.last ? `entry ${before.first}` : `entries ${before.first} to ${before.last}`;
    const age =
      witness === null
        ? "that they are older is the host's own word: no host that is trusted signed after it"
        : `${witness} vouches that they are older`;
    lines.push(
      `${host} was revoked on ${timeText(since)} (${reason}); its ${entries} were signed before and stay good; ${age}`,
    );
  }
  for (const epoch of destroyedAfter)
    lines.push(
      `${host} was revoked on ${timeText(since)} (${reason}), and signed after that that its copy of epoch ${epoch} is ` +
        'destroyed: do not believe it',
    );
  return lines.map((line) => paint('yellow', line));
}
