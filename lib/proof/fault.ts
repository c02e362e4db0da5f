/** Why a proof does not hold (SPEC 4). A value, not an exception: refusing a proof is a decision. */

/** The checks of SPEC 4 in their order; the first that fails is named. */
export const proofChecks = [
  'encoding',
  'known-head',
  'certificate',
  'quote-signature',
  'quote-type',
  'quote-binding',
  'policy',
  'pcr-selection',
  'pcr-state',
  'vm',
  'sequence',
  'previous',
  'life-cycle',
  'members',
  'epoch',
  'holder',
  'session',
  'facts',
  'vtpm',
  'checkpoint',
  'policy-order',
  'domain',
  'quarantine',
  'tenant',
  'recovery',
  'departure',
  'unused',
] as const;
export type ProofCheck = (typeof proofChecks)[number];

/** What an attestation (SPEC 4.3), a quote from inside the guest (SPEC 4.4) and the vTPM's certificate (SPEC 4.5) can fail beside these. */
export const attestationChecks = [
  'nonce',
  'head',
  'revocation',
  'vtpm-challenge',
  'vtpm-ak',
  'vtpm-signature',
  'vtpm-type',
  'vtpm-nonce',
  'vtpm-chain',
  'vtpm-vm',
  'vtpm-key',
  'vtpm-issuer',
] as const;
export type AttestationCheck = (typeof attestationChecks)[number];

/** The first failure in a proof. */
export interface ProofFault {
  readonly outcome: 'fault';
  /** Where: index in `entries`, index in `departures`, or the file as a whole. */
  readonly at: { readonly list: 'entries' | 'departures'; readonly index: number } | null;
  readonly check: ProofCheck | AttestationCheck;
  /** One line for people. */
  readonly message: string;
}

/** A failed check before it is known where. */
export class CheckFailed extends Error {
  readonly check: ProofCheck | AttestationCheck;

  constructor(check: ProofCheck | AttestationCheck, message: string) {
    super(message);
    this.name = 'CheckFailed';
    this.check = check;
  }
}

/** Throws CheckFailed (internal to lib/proof: verify.ts turns it into a ProofFault) unless `holds`. */
export function demand(holds: boolean, check: ProofCheck | AttestationCheck, message: string): asserts holds {
  if (!holds) throw new CheckFailed(check, message);
}
