/** What `tvmmp proof verify --revocations` tells of revoked hosts. */
import { bytesEqual } from '../bytes/compare.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { TvmmpError } from '../errors.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { verifySignedRevocations } from '../appraisal/revocation.ts';
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { limits } from '../limits.ts';
import { decodeProof } from '../proof/proof.ts';
import type { RevokedSigner } from '../proof/revocation.ts';
import { readText } from './files.ts';
import { paint, timeText } from './output.ts';

/** A list, and the root of the authority whose it is. */
interface ListOfAuthority {
  readonly root: RootCertificate;
  readonly list: RevocationDocument;
}

/**
 * The revocation lists of files, each of one authority of the proof. Their signers are certified in the proof itself. Throws `policy-invalid`
 * where no policy signer of any of these roots signed one, `usage-invalid` for two lists of one authority.
 */
export function revocationsOf(
  bytes: Uint8Array,
  proof: VerifiedProof,
  listFiles: readonly string[],
): readonly ListOfAuthority[] {
  const roots = [
    ...new Set([proof.last, ...proof.entries].map((one) => ('root' in one ? one.root : one.authority))),
  ];
  const { certificates } = decodeProof(bytes);
  const lists = listFiles.map((file) => {
    const envelope = readText(file, limits.policyEnvelopeBytesMax);
    return listOf(envelope, roots, certificates);
  });
  const again = lists.some((one, index) => lists.findIndex(({ root }) => root === one.root) !== index);
  if (again) throw new TvmmpError('usage-invalid', 'two revocation lists of one authority');
  return lists;
}

function listOf(
  envelope: string,
  roots: readonly RootCertificate[],
  signers: readonly Uint8Array[],
): ListOfAuthority {
  const errors: unknown[] = [];
  for (const root of roots) {
    try {
      return { root, list: verifySignedRevocations(envelope, { root, signers, at: new Date() }) };
    } catch (error) {
      if (!(error instanceof TvmmpError)) throw error;
      errors.push(error);
    }
  }
  throw errors[0];
}

/** The list of one authority among them; null without one. */
export function listOfAuthority(
  lists: readonly ListOfAuthority[],
  { digest }: RootCertificate,
): RevocationDocument | null {
  return lists.find(({ root }) => bytesEqual(root.digest, digest))?.list ?? null;
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
