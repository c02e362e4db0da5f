/** Puts parts of one VM's chain together: each host that held it has its part, and a later one began with a checkpoint (SPEC 4.1). */
import { bytesEqual } from '../bytes/compare.ts';
import { base64 } from '../encoding/base64.ts';
import { TvmmpError } from '../errors.ts';
import { decodeEntry } from './entry.ts';
import type { SignedEntry } from './entry.ts';
import type { Proof } from './proof.ts';
import { proofFrom } from './shorten.ts';

/**
 * One proof from birth out of several, UNVERIFIED as they are. Throws `encoding-invalid` where they speak of different VMs, differ at an entry, or
 * leave a gap.
 */
export function joinProofs(parts: readonly Proof[]): Proof {
  const entries = new Map<number, SignedEntry>();
  const departures = new Map<number, SignedEntry>();
  const vms = new Set(parts.flatMap((part) => part.entries.map(({ entry }) => decodeEntry(entry).vm)));
  if (vms.size !== 1) throw new TvmmpError('encoding-invalid', 'the proofs are of different VMs');
  for (const part of parts) {
    for (const signed of part.entries) {
      const { sequence } = decodeEntry(signed.entry);
      const other = entries.get(sequence);
      if (other !== undefined && !bytesEqual(other.entry, signed.entry))
        throw new TvmmpError('encoding-invalid', `the proofs differ at entry ${sequence}: compare them`);
      entries.set(sequence, signed);
    }
    for (const signed of part.departures) departures.set(decodeEntry(signed.entry).epoch, signed);
  }
  const missing = Array.from({ length: entries.size }, (_, at) => at).find((at) => !entries.has(at));
  if (missing !== undefined)
    throw new TvmmpError(
      'encoding-invalid',
      `entry ${missing} is in none of them; export the proof from the hosts that held the VM then, too`,
    );
  const whole: Proof = {
    summary: null,
    entries: [...entries].sort(([a], [b]) => a - b).map(([, signed]) => signed),
    departures: [...departures].sort(([a], [b]) => a - b).map(([, signed]) => signed),
    certificates: unique(parts.flatMap(({ certificates }) => certificates)),
    policies: [...new Set(parts.flatMap(({ policies }) => policies))],
  };
  return proofFrom(whole, 0, null);
}

function unique(list: readonly Uint8Array[]): readonly Uint8Array[] {
  return [...new Map(list.map((bytes) => [base64(bytes), bytes])).values()];
}
