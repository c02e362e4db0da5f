/** The guest's half of a deep attestation (SPEC 4.4): a quote of its vTPM, made after the nonce was drawn. */
import type { KeyObject } from 'node:crypto';
import { isStrongKey } from '../appraisal/evidence-appraisal.ts';
import { quoteOf, signedBy } from '../appraisal/quote.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { QuoteAttest } from '../tpm/attest.ts';
import { keyObjectOf, parsePublicArea } from '../tpm/public-area.ts';
import type { ChainState } from './chain.ts';
import { demand } from './fault.ts';
import type { ProofFault } from './fault.ts';
import { judge } from './verify.ts';
import { challengedNonce, isAttestationKey } from './vtpm-challenge.ts';
import type { VtpmChallenge } from './vtpm-challenge.ts';

/** How the verifier knows the attestation key: by this very challenge, or from before. */
export type VtpmTrust =
  | { readonly by: 'challenge'; readonly challenge: VtpmChallenge }
  | { readonly by: 'known-key'; readonly ak: KeyObject; readonly nonce: Uint8Array };

/** A quote that holds. */
export interface VerifiedVtpmQuote {
  readonly outcome: 'verified';
  readonly quote: QuoteAttest;
  readonly by: VtpmTrust['by'];
}

/** TPMS_ATTEST and TPMT_SIGNATURE as `tpm2_quote` writes them. UNVERIFIED. */
export interface ToldQuote {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

/** Verifies the quote of the vTPM of a VM (SPEC 4.4); the first check that fails is the fault. Throws nothing for bad input. */
export function verifyVtpmQuote(
  { vm, vtpm }: Pick<ChainState, 'vm' | 'vtpm'>,
  { attest, signature }: ToldQuote,
  trust: VtpmTrust,
): VerifiedVtpmQuote | ProofFault {
  return judge(
    () => {
      if (trust.by === 'challenge') {
        const { challenge } = trust;
        const same = challenge.vm === vm && vtpm !== null && bytesEqual(challenge.vtpm, vtpm);
        demand(same, 'vtpm-challenge', 'the challenge was made for another VM, or another vTPM');
      }
      const key = keyOf(trust);
      demand(
        key !== null && isStrongKey(key),
        'vtpm-ak',
        'the attestation key is none, or too weak to believe',
      );
      demand(
        signedBy(key, attest, signature),
        'vtpm-signature',
        'not signed by the attestation key of the guest',
      );
      const quote = quoteOf(attest);
      demand(quote.type === 'quote', 'vtpm-type', quote.type === 'none' ? quote.why : '');
      const nonce = trust.by === 'challenge' ? challengedNonce(trust.challenge) : trust.nonce;
      demand(
        bytesEqual(quote.extraData, nonce),
        'vtpm-nonce',
        'the quote of the guest was made for another nonce',
      );
      return { outcome: 'verified', quote, by: trust.by } as const;
    },
    () => null,
  );
}

function keyOf(trust: VtpmTrust): KeyObject | null {
  if (trust.by === 'known-key') return trust.ak;
  const area = parsePublicArea(trust.challenge.akPublic);
  return isAttestationKey(area) ? keyObjectOf(area) : null;
}
