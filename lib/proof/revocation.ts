/** What a revocation list says about a proof that holds otherwise (SPEC 1.3, 4 `revocation`). */
import { revocationOf } from '../appraisal/revocation.ts';
import type { Revocation, RevocationDocument } from '../appraisal/revocation.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { VerifiedEntry, VerifiedProof } from './verify.ts';

/** Entries that one revoked key signed. */
export interface RevokedSigner {
  readonly revocation: Revocation;
  /** Sequence numbers of its first and last entry in the chain from before it was revoked; null where it has none. */
  readonly before: { readonly first: number; readonly last: number } | null;
  /**
   * Host that is not revoked and signed a later entry, itself before `since`: it vouches that the last one is as old as it
   * says. Null: its age is the revoked host's own word.
   */
  readonly witness: string | null;
  /** Its first entry of the chain at or after `since`: the proof does not hold. */
  readonly after: VerifiedEntry | null;
  /** Epochs whose copy it says to have destroyed, at or after `since`: not to be believed. */
  readonly destroyedAfter: readonly number[];
}

/** Everything in a proof that revoked keys signed, by signer in the order of the list of one authority (digest of its root), by default that of the VM's home. Empty: nothing. */
export function revokedSigners(
  whole: VerifiedProof,
  list: RevocationDocument | null,
  authority: Uint8Array = whole.home.root,
): readonly RevokedSigner[] {
  const ofAuthority = (one: VerifiedEntry): boolean => bytesEqual(one.authority.digest, authority);
  const proof = {
    entries: whole.entries.filter(ofAuthority),
    departures: whole.departures.filter(ofAuthority),
  };
  return (list?.hosts ?? []).flatMap((revocation) => {
    const entries = signedBy(proof.entries, revocation);
    const departures = signedBy(proof.departures, revocation);
    if (entries.length + departures.length === 0) return [];
    const isAfter = ({ entry }: VerifiedEntry): boolean => entry.time >= revocation.since.getTime();
    const before = entries.filter((entry) => !isAfter(entry));
    const [first, last] = [before[0], before.at(-1)];
    return [
      {
        revocation,
        before:
          first === undefined || last === undefined
            ? null
            : { first: first.entry.sequence, last: last.entry.sequence },
        witness: last === undefined ? null : witnessOf(proof, list, last, revocation),
        after: entries.find(isAfter) ?? null,
        destroyedAfter: departures.filter(isAfter).map(({ entry }) => entry.epoch),
      },
    ];
  });
}

/** The line of a proof that a revocation breaks; null where it does not. */
export function revocationFault(signers: readonly RevokedSigner[]): string | null {
  const broken = signers.find(({ after }) => after !== null);
  if (broken?.after === undefined || broken.after === null) return null;
  const { host, since, reason } = broken.revocation;
  const { sequence, kind } = broken.after.entry;
  return `revocation: entry ${sequence} (${kind}) was signed by ${host}, revoked since ${since.toISOString()}: ${reason}`;
}

function signedBy(entries: readonly VerifiedEntry[], { akName }: Revocation): readonly VerifiedEntry[] {
  return entries.filter(({ entry }) => Buffer.compare(entry.host.akName, akName) === 0);
}

function witnessOf(
  { entries }: Pick<VerifiedProof, 'entries'>,
  list: RevocationDocument | null,
  last: VerifiedEntry,
  { since }: Revocation,
): string | null {
  const later = entries.find(
    ({ entry }) =>
      entry.sequence > last.entry.sequence &&
      entry.time < since.getTime() &&
      revocationOf(list, entry.host.akName) === undefined,
  );
  return later?.entry.host.name ?? null;
}
