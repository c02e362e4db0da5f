import { TvmmpError } from '../errors.ts';
import type { Journal } from '../ledger/journal.ts';
import { limits } from '../limits.ts';
import { decodeSignedEntry } from '../proof/entry.ts';
import { encodeProof } from '../proof/proof.ts';
import type { Proof } from '../proof/proof.ts';
import { proofFrom } from '../proof/shorten.ts';

/** Bytes of the proof file of a VM, as far back as a journal has its history without a gap. Throws `vm-unknown`. */
export function storedProof(journal: Journal, uuid: string): Uint8Array {
  const begins = journal.historyBegins(uuid) ?? 0;
  const length = (journal.vm(uuid)?.sequence ?? 0) - begins + 1;
  const tooLong = length > limits.proofEntriesMax;
  const first = tooLong
    ? (journal.firstSummaryFrom(uuid, begins + length - limits.proofEntriesMax) ?? begins)
    : begins;
  return encodeProof(storedProofFrom(journal, uuid, first, journal.summary(uuid, first)));
}

/** The proof from one entry on: from birth, or a checkpoint with its summary. Throws `vm-unknown`. */
export function storedProofFrom(
  journal: Journal,
  uuid: string,
  first: number,
  summary: Uint8Array | null,
): Proof {
  const entries = journal.entries(uuid, first).map(decodeSignedEntry);
  if (entries.length === 0) throw new TvmmpError('vm-unknown', `this host has no proof of VM ${uuid}`);
  const credentials = journal.credentials(uuid);
  const all: Proof = {
    summary,
    entries,
    departures: journal.departures(uuid).map(decodeSignedEntry),
    certificates: credentials.filter(({ kind }) => kind === 'certificate').map(({ bytes }) => bytes),
    policies: credentials
      .filter(({ kind }) => kind === 'policy')
      .map(({ bytes }) => Buffer.from(bytes).toString('utf8')),
  };
  return proofFrom(all, first, summary);
}
