/** What `tvmmp proof verify --attestation` tells: that the VM is held now, and by whom (SPEC 4.3). */
import type { RevocationDocument } from '../appraisal/revocation.ts';
import { attributesText } from '../certificates/attributes.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { verifyAttestation } from '../proof/attestation.ts';
import type { VerifiedAttestation } from '../proof/attestation.ts';
import type { ProofFault } from '../proof/fault.ts';
import type { VerifiedProof } from '../proof/verify.ts';
import { usageError } from './exit.ts';
import { readInput, readText } from './files.ts';
import { nonceFrom } from './nonce.ts';
import { fields, paint, timeText } from './output.ts';

const ROOT_BYTES_MAX = 64 * 1024;

/** Options of `tvmmp proof verify` about an attestation. */
export interface AttestationOptions {
  readonly authority: string;
  readonly attestation?: string;
  readonly nonce?: string;
}

/** What came of them. */
export type AttestationOutcome =
  | { readonly attestation: VerifiedAttestation; readonly nonce: Uint8Array }
  | { readonly attestation: ProofFault };

/** Throws `usage-invalid` for options that do not go together. */
export function checkAttestationOptions({ attestation, nonce }: AttestationOptions): void {
  if ((attestation === undefined) !== (nonce === undefined))
    throw usageError('--attestation and --nonce go together');
}

/** Judges the attestation that the options name; null where they name none. */
export function attestedBy(
  proof: VerifiedProof,
  options: AttestationOptions,
  revocations: RevocationDocument | null,
): AttestationOutcome | null {
  if (options.attestation === undefined || options.nonce === undefined) return null;
  const nonce = nonceFrom(options.nonce);
  const root = parseRootCertificate(readText(options.authority, ROOT_BYTES_MAX));
  const bytes = readInput(options.attestation, limits.attestationBytesMax);
  const trust = { root, proof, nonce, now: new Date(), revocations };
  const attestation = verifyAttestation(bytes, trust);
  return attestation.outcome === 'verified' ? { attestation, nonce } : { attestation };
}

/** Why the attestation does not hold; null where it does, or there is none. */
export function attestationFault(outcome: AttestationOutcome | null): ProofFault | null {
  return outcome?.attestation.outcome === 'fault' ? outcome.attestation : null;
}

/** For `--json`; times in milliseconds since 1970. */
export function attestationJson(outcome: AttestationOutcome): unknown {
  if (!('nonce' in outcome)) return outcome.attestation;
  const { host, attributes, policy, pcrState, time } = outcome.attestation;
  return {
    outcome: 'verified',
    host: host.name,
    akName: hex(host.akName),
    attributes: Object.fromEntries(attributes),
    policy: { id: policy.id, version: policy.version, digest: hex(policy.digest) },
    pcrState,
    time,
    nonce: hex(outcome.nonce),
  };
}

/** For people. */
export function attestationText(outcome: AttestationOutcome): readonly string[] {
  if (!('nonce' in outcome)) return [];
  const { host, attributes, policy, pcrState, time } = outcome.attestation;
  const name = attributes.size === 0 ? host.name : `${host.name} (${attributesText(attributes)})`;
  return [
    '',
    paint('green', `attested: ${host.name} holds the VM, and this proof is the whole of it`),
    ...fields([
      ['host', name],
      ['platform', `state ${pcrState} of policy ${policy.id} v${policy.version}`],
      ['when', `after nonce ${hex(outcome.nonce)} was drawn; ${timeText(time)} by the clock of ${host.name}`],
    ]),
  ];
}
