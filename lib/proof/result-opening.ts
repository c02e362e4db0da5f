/** The opening of an attestation result (SPEC 4.2): with it and the whole proof, which pseudonym is which host. */
import { policyError } from '../appraisal/policy-error.ts';
import { readJson } from '../appraisal/policy-json.ts';
import { policyForms } from '../appraisal/policy-text.ts';
import { attributesText } from '../certificates/attributes.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { hex, unhex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { commitment } from './result.ts';
import type { VerifiedResult } from './result.ts';
import type { Stay } from './result-text.ts';
import type { VerifiedEntry, VerifiedProof } from './verify.ts';

const FORMAT = 'tvmmp-result-opening/1';

/** What opens the commitments of one result. */
export interface Opening {
  /** SHA-256 of the result's payload. */
  readonly result: Uint8Array;
  /** One for each stay, 32 bytes. */
  readonly salts: readonly Uint8Array[];
}

/** A stay with what its pseudonym hid. */
export interface OpenedStay {
  readonly stay: Stay;
  readonly host: string;
  /** Sequence of its last entry in the proof. */
  readonly lastEntry: number;
}

/** Writes an opening as JSON. */
export function formatOpening({ result, salts }: Opening): string {
  return JSON.stringify({ format: FORMAT, result: hex(result), salts: salts.map(hex) });
}

/** Reads an opening. Throws `policy-invalid`. */
export function parseOpening(text: string): Opening {
  return readJson('the opening', text, (place) => {
    const members = place.object(['format', 'result', 'salts']);
    members.format.constant(FORMAT);
    const salts = members.salts.items(1, limits.proofEntriesMax).map((salt) => salt.text(policyForms.sha256));
    return { result: unhex(members.result.text(policyForms.sha256)), salts: salts.map(unhex) };
  });
}

/** Holds result, opening and proof against each other. Throws `policy-invalid`, reason conflict, where they do not belong together. */
export function openResult(
  result: VerifiedResult,
  opening: Opening,
  proof: VerifiedProof,
): readonly OpenedStay[] {
  const belongs = bytesEqual(opening.result, result.digest) && opening.salts.length === result.stays.length;
  if (!belongs) throw conflict('the opening is that of another result');
  if (proof.head.vm !== result.vm) throw conflict(`the proof is that of VM ${proof.head.vm}`);
  const byEpoch = new Map<number, VerifiedEntry[]>();
  for (const entry of proof.entries) {
    const { epoch } = entry.entry;
    const others = byEpoch.get(epoch);
    if (others === undefined) byEpoch.set(epoch, [entry]);
    else others.push(entry);
  }
  const opened = result.stays.map((stay, index) =>
    openStay(stay, opening.salts[index] ?? new Uint8Array(), byEpoch.get(stay.epoch) ?? []),
  );
  demandOneToOne(opened);
  return opened;
}

function openStay(stay: Stay, salt: Uint8Array, entries: readonly VerifiedEntry[]): OpenedStay {
  const last = entries.find(({ hash }) => hex(commitment(salt, hash)) === stay.last);
  const same = last !== undefined && attributesText(last.attributes) === attributesText(stay.attributes);
  if (!same) throw conflict(`the stay in epoch ${stay.epoch} is not in the proof`);
  return { stay, host: last.entry.host.name, lastEntry: last.entry.sequence };
}

/** A pseudonym stands for one host, and a host has one. */
function demandOneToOne(opened: readonly OpenedStay[]): void {
  const pairs = new Set(opened.map(({ stay, host }) => `${stay.holder} ${host}`)).size;
  const one = [({ stay }: OpenedStay) => stay.holder, ({ host }: OpenedStay) => host].every(
    (side) => new Set(opened.map(side)).size === pairs,
  );
  if (!one) throw conflict('the pseudonyms do not stand for one host each');
}

function conflict(message: string): Error {
  return policyError('conflict', message);
}
