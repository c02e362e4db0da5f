/** What `tvmmp proof verify --attestation` tells: that the VM is held now, by whom (SPEC 4.3), and what its vTPM says (SPEC 4.4). */
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { attributesText } from '../certificates/attributes.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { selectionText } from '../appraisal/quote.ts';
import { verifyAttestation } from '../proof/attestation.ts';
import type { VerifiedAttestation } from '../proof/attestation.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import type { VtpmChallenge } from '../proof/vtpm-challenge.ts';
import type { VerifiedVtpmQuote } from '../proof/vtpm-quote.ts';
import { usageError } from './exit.ts';
import { readInput } from './files.ts';
import { nonceFrom } from './nonce.ts';
import { publicKeyFrom } from './public-key.ts';
import { fields, paint, timeText } from './output.ts';

/** TPMS_ATTEST and TPMT_SIGNATURE are far below. */
const STRUCTURE_BYTES_MAX = 16 * 1024;

/** Options of `tvmmp proof verify` about an attestation. */
export interface AttestationOptions {
  readonly attestation?: string;
  readonly nonce?: string;
  readonly challenge?: string;
  readonly vtpmQuote?: string;
  readonly vtpmSignature?: string;
  readonly vtpmAk?: string;
}

/** What came of them. */
export interface AttestationOutcome {
  readonly nonce: Uint8Array;
  readonly host: VerifiedAttestation | ProofFault;
  /** Of the guest; null where it was not asked. */
  readonly guest: VerifiedVtpmQuote | ProofFault | null;
}

/** Throws `usage-invalid` for options that do not go together. */
export function checkAttestationOptions(options: AttestationOptions): void {
  const { attestation, nonce, challenge, vtpmQuote, vtpmSignature, vtpmAk } = options;
  if (nonce !== undefined && challenge !== undefined)
    throw usageError('--nonce or --challenge: a challenge has its own nonce');
  if ((attestation === undefined) !== (nonce === undefined && challenge === undefined))
    throw usageError('--attestation goes together with --nonce or --challenge');
  if ((vtpmQuote === undefined) !== (vtpmSignature === undefined))
    throw usageError('--vtpm-quote and --vtpm-signature go together');
  if (vtpmQuote !== undefined && attestation === undefined)
    throw usageError('--vtpm-quote is one half: the other is --attestation');
  if (vtpmQuote === undefined && vtpmAk !== undefined) throw usageError('--vtpm-ak goes with --vtpm-quote');
  if (vtpmQuote !== undefined && (vtpmAk === undefined) === (challenge === undefined))
    throw usageError(
      '--vtpm-quote goes with --challenge, or with --vtpm-ak: a key that you have from before',
    );
}

/** Judges the attestation that the options name, host first; null where they name none. */
export async function attestedBy(
  proof: VerifiedProof,
  options: AttestationOptions,
  revocations: RevocationDocument | null,
): Promise<AttestationOutcome | null> {
  if (options.attestation === undefined) return null;
  const challenge = options.challenge === undefined ? null : await challengeFrom(options.challenge);
  const nonce = challenge?.nonce ?? nonceFrom(options.nonce ?? '');
  const bytes = readInput(options.attestation, limits.attestationBytesMax);
  const host = verifyAttestation(bytes, {
    root: proof.last.root,
    proof,
    nonce,
    now: new Date(),
    revocations,
  });
  return { nonce, host, guest: await guestOf(proof, options, challenge, nonce) };
}

async function guestOf(
  { head }: VerifiedProof,
  options: AttestationOptions,
  challenge: VtpmChallenge | null,
  nonce: Uint8Array,
): Promise<VerifiedVtpmQuote | ProofFault | null> {
  if (options.vtpmQuote === undefined || options.vtpmSignature === undefined) return null;
  const { verifyVtpmQuote } = await import('../proof/vtpm-quote.ts');
  const told = {
    attest: readInput(options.vtpmQuote, STRUCTURE_BYTES_MAX),
    signature: readInput(options.vtpmSignature, STRUCTURE_BYTES_MAX),
  };
  return verifyVtpmQuote(
    head,
    told,
    challenge === null
      ? { by: 'known-key', ak: publicKeyFrom(options.vtpmAk ?? ''), nonce }
      : { by: 'challenge', challenge },
  );
}

async function challengeFrom(file: string): Promise<VtpmChallenge> {
  const { decodeChallenge } = await import('../proof/vtpm-challenge.ts');
  return decodeChallenge(readInput(file, STRUCTURE_BYTES_MAX));
}

/** Which half does not hold, and why; null where all that was asked does. */
export function attestationFault(
  outcome: AttestationOutcome | null,
): { readonly what: string; readonly fault: ProofFault } | null {
  if (outcome?.host.outcome === 'fault') return { what: 'the attestation', fault: outcome.host };
  if (outcome?.guest?.outcome === 'fault') return { what: 'the quote of the guest', fault: outcome.guest };
  return null;
}

/** For `--json`; times in milliseconds since 1970. */
export function attestationJson(outcome: AttestationOutcome): unknown {
  return { ...hostJson(outcome), ...(outcome.guest === null ? {} : { guest: guestJson(outcome.guest) }) };
}

function hostJson({ host: judged, nonce }: AttestationOutcome): object {
  if (judged.outcome === 'fault') return judged;
  const { host, attributes, policy, pcrState, time } = judged;
  return {
    outcome: 'verified',
    host: host.name,
    akName: hex(host.akName),
    attributes: Object.fromEntries(attributes),
    policy: { id: policy.id, version: policy.version, digest: hex(policy.digest) },
    pcrState,
    time,
    nonce: hex(nonce),
  };
}

function guestJson(judged: VerifiedVtpmQuote | ProofFault): object {
  if (judged.outcome === 'fault') return judged;
  const { quote, by } = judged;
  return {
    outcome: 'verified',
    by,
    pcrs: selectionText(quote.pcrSelection),
    pcrDigest: hex(quote.pcrDigest),
    qualifyingData: hex(quote.extraData),
    resetCount: quote.clock.resetCount,
    restartCount: quote.clock.restartCount,
  };
}

/** For people. Nothing where a half does not hold. */
export function attestationText({ host: judged, guest, nonce }: AttestationOutcome): readonly string[] {
  if (judged.outcome === 'fault' || guest?.outcome === 'fault') return [];
  const { host, attributes, policy, pcrState, time } = judged;
  const name = attributes.size === 0 ? host.name : `${host.name} (${attributesText(attributes)})`;
  return [
    '',
    paint('green', `attested: ${host.name} holds the VM, and this proof is the whole of it`),
    ...fields([
      ['host', name],
      ['platform', `state ${pcrState} of policy ${policy.id} v${policy.version}`],
      ['when', `after nonce ${hex(nonce)} was drawn; ${timeText(time)} by the clock of ${host.name}`],
    ]),
    ...(guest === null ? [] : guestText(guest)),
  ];
}

function guestText({ quote, by }: VerifiedVtpmQuote): readonly string[] {
  const key =
    by === 'challenge'
      ? 'its attestation key is in the vTPM that the proof names'
      : paint('yellow', 'that its attestation key is in this vTPM is your word: --challenge shows it');
  return [
    '',
    paint('green', 'the guest has quoted its vTPM over the same nonce'),
    ...fields([
      ['key', key],
      ['PCRs', `${selectionText(quote.pcrSelection)}, digest ${hex(quote.pcrDigest)}`],
      ['judge it', `tvmmp evidence appraise --nonce ${hex(quote.extraData)}, by a policy of yours`],
    ]),
  ];
}
