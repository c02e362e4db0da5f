/** Which part of a chain travels: from a checkpoint on, with what its verification needs and no more (SPEC 4.1). */
import { parseEnvelope } from '../appraisal/dsse.ts';
import { parseCertificate } from '../certificates/untrusted-certificate.ts';
import { sha256 } from '../encoding/hash.ts';
import { hex } from '../encoding/hex.ts';
import type { Entry } from './entry.ts';
import { decodeEntry } from './entry.ts';
import { readSummary } from './checkpoint.ts';
import type { Proof } from './proof.ts';

/**
 * The proof from the entry with this sequence number on, which has to be a checkpoint and `summary` what it summarises; from birth with sequence 0
 * and null. Leaves away departures that close no hand-over of the rest, and credentials that nothing in it needs. `proof` may begin anywhere before.
 */
export function proofFrom(proof: Proof, sequence: number, summary: Uint8Array | null): Proof {
  const entries = proof.entries.filter(({ entry }) => decodeEntry(entry).sequence >= sequence);
  const told = summary === null ? null : readSummary(summary);
  const closable = new Set(told?.recent.map(({ epoch }) => epoch) ?? []);
  const from = told?.epoch ?? 0;
  const departures = proof.departures.filter(({ entry }) => {
    const { epoch } = decodeEntry(entry);
    return epoch >= from || closable.has(epoch);
  });
  const shown = [...entries, ...departures].map(({ entry }) => decodeEntry(entry));
  const documents = shown.flatMap(({ kind, verdict }) =>
    (kind === 'bound' || kind === 'recovered') && verdict !== null ? [verdict] : [],
  );
  const inForce = told?.tenant ?? null;
  const bound = inForce === null ? documents : [inForce, ...documents];
  return { summary, entries, departures, ...neededBy(shown, bound, proof) };
}

/** Certificates and policies that these entries name, tenant policies and recovery statements by their digests, and the certificates of these policies' signers. */
function neededBy(
  entries: readonly Entry[],
  tenants: readonly Uint8Array[],
  { certificates, policies }: Pick<Proof, 'certificates' | 'policies'>,
): Pick<Proof, 'certificates' | 'policies'> {
  const hosts = new Set(entries.map(({ host }) => hex(host.certificate)));
  const digests = new Set([...entries.map(({ policy }) => policy.digest), ...tenants].map(hex));
  const named = policies.filter((text) => digests.has(hex(sha256(parseEnvelope(text).payload))));
  const signers = new Set(named.map((text) => parseEnvelope(text).keyId));
  return {
    certificates: certificates.filter((der) => hosts.has(hex(sha256(der))) || signers.has(keyOf(der))),
    policies: named,
  };
}

/** SHA-256 of a certificate's public key (SPKI), as envelopes name their signer. */
function keyOf(der: Uint8Array): string {
  return hex(parseCertificate(der).publicKeyDigest);
}
