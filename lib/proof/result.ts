/**
 * Attestation results (SPEC 4.2): what an authority that verified a proof says of it to those who shall not see which hosts held
 * the VM. They believe the authority's policy key, and not a TPM.
 */
import { randomBytes } from 'node:crypto';
import { parseLargeEnvelope, payloadText, signEnvelope } from '../appraisal/dsse.ts';
import { envelopeSigner } from '../appraisal/envelope-signer.ts';
import { policyError } from '../appraisal/policy-error.ts';
import { readJson } from '../appraisal/policy-json.ts';
import type { PolicyKeys } from '../appraisal/policy.ts';
import { attributesText } from '../certificates/attributes.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { base64 } from '../encoding/base64.ts';
import { H, sha256 } from '../encoding/hash.ts';
import { hex } from '../encoding/hex.ts';
import { base64Of } from '../encoding/json-object.ts';
import { limits } from '../limits.ts';
import { formatResult, parseResult } from './result-text.ts';
import type { ResultDocument, Stay } from './result-text.ts';
import type { VerifiedEntry, VerifiedProof } from './verify.ts';

/** payloadType of the envelope. */
export const RESULT_PAYLOAD_TYPE = 'application/vnd.tvmmp.result+json';

const FILE_FORMAT = 'tvmmp-result-file/1';
const PSEUDONYM_BYTES = 16;
const SALT_BYTES = 32;

/** A result before it is signed, and what opens its commitments: one salt for each stay. */
export interface DraftResult {
  readonly document: ResultDocument;
  readonly salts: readonly Uint8Array[];
}

/** A result whose signature and signer were verified. */
export interface VerifiedResult extends ResultDocument {
  /** SHA-256 of the signed payload. */
  readonly digest: Uint8Array;
}

/** When a proof was verified, and by which revocation list. */
export interface Appraised {
  readonly issuedAt: Date;
  /** Version of the list; 0 without one. */
  readonly revocations: number;
  /** Epochs whose *departed* is not believed: a revoked host signed it (SPEC 1.3). */
  readonly unbelieved: ReadonlySet<number>;
}

/** What a verified proof says without names. */
export function resultOf(
  proof: VerifiedProof,
  { issuedAt, revocations, unbelieved }: Appraised,
): DraftResult {
  const { head, tenant, checkpoint } = proof;
  const departed = new Set(proof.departures.map(({ entry }) => entry.epoch));
  for (const epoch of unbelieved) departed.delete(epoch);
  const pseudonyms = new Map<string, string>();
  const rows = staysOf(proof.entries).map(({ first, last }) => {
    const { name, akName } = last.entry.host;
    const host = `${name} ${hex(akName)}`;
    const holder = pseudonyms.get(host) ?? hex(randomBytes(PSEUDONYM_BYTES));
    pseudonyms.set(host, holder);
    const salt = Uint8Array.from(randomBytes(SALT_BYTES));
    const stay: Stay = {
      epoch: last.entry.epoch,
      holder,
      attributes: last.attributes,
      policy: last.entry.policy.version,
      since: new Date(Math.floor(first.entry.time / 1000) * 1000),
      departed: departed.has(last.entry.epoch),
      last: hex(commitment(salt, last.hash)),
    };
    return { stay, salt };
  });
  const document = {
    vm: head.vm,
    vtpm: head.vtpm === null ? null : hex(head.vtpm),
    issuedAt,
    from: checkpoint === null ? 'birth' : 'checkpoint',
    state: head.state,
    policy: head.policy.id,
    revocations,
    tenant: tenant === null ? null : { key: hex(tenant.keyDigest), version: tenant.version },
    stays: rows.map(({ stay }) => stay),
  } as const;
  return { document, salts: rows.map(({ salt }) => salt) };
}

/** What a stay's `last` is (SPEC 4.2). */
export function commitment(salt: Uint8Array, entryHash: Uint8Array): Uint8Array {
  return H('tvmmp/shown/1', salt, entryHash);
}

/** Signs a result: the text of its file; `signer` is the certificate (DER) of the policy key. Throws `policy-invalid`. */
export function signResult(document: ResultDocument, keys: PolicyKeys, signer: Uint8Array): string {
  const text = formatResult(document);
  parseResult(text);
  const envelope = signEnvelope(RESULT_PAYLOAD_TYPE, Buffer.from(text), keys);
  const file = JSON.stringify({
    format: FILE_FORMAT,
    signer: base64(signer),
    envelope: JSON.parse(envelope) as unknown,
  });
  readResult(file);
  return file;
}

/** Verifies the text of a result's file: signed at a policy signer of this root that is good now. Throws `policy-invalid`, `certificate-invalid`. */
export function verifyResult(fileText: string, root: RootCertificate, at: Date): VerifiedResult {
  const { signer, envelope } = readResult(fileText);
  if (envelope.payloadType !== RESULT_PAYLOAD_TYPE)
    throw policyError(
      'wrong-payload-type',
      `the envelope holds ${envelope.payloadType}, not an attestation result`,
    );
  envelopeSigner(envelope, { root, signers: [signer], at });
  return { ...parseResult(payloadText(envelope)), digest: sha256(envelope.payload) };
}

function readResult(fileText: string): {
  readonly signer: Uint8Array;
  readonly envelope: ReturnType<typeof parseLargeEnvelope>;
} {
  return readJson('the attestation result', fileText, (place) => {
    const members = place.object(['format', 'signer', 'envelope']);
    members.format.constant(FILE_FORMAT);
    const signer = base64Of(members.signer.value, 'signer', limits.certificateBytesMax);
    const envelope = parseLargeEnvelope(JSON.stringify(members.envelope.value), limits.resultBytesMax);
    return { signer, envelope };
  });
}

interface Run {
  readonly first: VerifiedEntry;
  readonly last: VerifiedEntry;
}

/** Entries that follow each other with one epoch and the same attributes. */
function staysOf(entries: readonly VerifiedEntry[]): readonly Run[] {
  const runs: Run[] = [];
  for (const entry of entries) {
    const open = runs.at(-1);
    if (open !== undefined && sameStay(open.last, entry)) runs[runs.length - 1] = { ...open, last: entry };
    else runs.push({ first: entry, last: entry });
  }
  return runs;
}

function sameStay(a: VerifiedEntry, b: VerifiedEntry): boolean {
  return a.entry.epoch === b.entry.epoch && attributesText(a.attributes) === attributesText(b.attributes);
}
