/**
 * What a target signs when it will not run a VM that left for it (SPEC 6.10): that it has nothing of it and will take nothing.
 * No entry of a chain: the source signs *aborted* itself, and only on this word.
 */
import { approvedState, boundTo, quoteOf, selectionText, selects, signedBy } from '../appraisal/quote.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { H } from '../encoding/hash.ts';
import { record, time } from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { attestBytes, signatureBytes } from '../evidence/claim.ts';
import { hostId, policyId } from '../evidence/identity.ts';
import { leafHash, merklePath } from '../evidence/merkle.ts';
import { demandPolicyAfter, sameHost } from './chain.ts';
import type { ChainState } from './chain.ts';
import { Credentials } from './credentials.ts';
import type { CredentialBytes } from './credentials.ts';
import { demandCrossing } from './crossing.ts';
import type { Side } from './crossing.ts';
import { demand } from './fault.ts';
import type { ProofFault } from './fault.ts';
import { judge } from './verify.ts';

/** `disclaimer` of SPEC 6: who disclaims, under which policy, when by its own clock, and the quote. UNVERIFIED. */
export const disclaimerShape = record({
  host: hostId,
  policy: policyId,
  time,
  path: merklePath,
  attest: attestBytes,
  signature: signatureBytes,
});
export type Disclaimer = Of<typeof disclaimerShape>;

/** What is disclaimed: the VM that left in this session with this *departing* entry (its hash). */
export interface Disclaimed {
  readonly session: Uint8Array;
  readonly head: Uint8Array;
}

/** What the quote states, 32 bytes. Its `leafHash` is a leaf of the quote's tree. */
export function disclaimerStatement(
  { session, head }: Disclaimed,
  { host, policy, time: at }: Pick<Disclaimer, 'host' | 'policy' | 'time'>,
): Uint8Array {
  return H('tvmmp/aborted/1', session, head, hostId.write(host), policyId.write(policy), at);
}

/** A disclaimer, what came with it, and what it has to be about: a chain whose head is *departing*. */
export interface DisclaimerInput {
  readonly chain: ChainState;
  readonly disclaimer: Disclaimer;
  readonly credentials: CredentialBytes;
  readonly root: RootCertificate;
  /** Roots of other domains that are believed too, and whose *departing* it was (SPEC 17.3). */
  readonly others?: readonly RootCertificate[];
  readonly from?: Side;
}

/**
 * Verifies that the host which *departing* named disclaims the VM of this very departure (SPEC 6.10); the first check that fails
 * is the fault. Throws nothing for bad input.
 */
export function verifyDisclaimer(input: DisclaimerInput): { readonly outcome: 'verified' } | ProofFault {
  return judge(
    () => {
      const { chain, disclaimer } = input;
      const { host, policy, time: at, path, attest, signature } = disclaimer;
      const credentials = new Credentials(input.root, input.credentials, input.others);
      const { publicKey } = credentials.host(host, at);
      demand(chain.departure !== null, 'life-cycle', 'a disclaimer where no VM departs');
      const { to, session } = chain.departure;
      demand(sameHost(host, to), 'holder', `${host.name} disclaims what departed to ${to.name}`);
      demand(signedBy(publicKey, attest, signature), 'quote-signature', `not signed by ${host.name}'s AK`);
      const quote = quoteOf(attest);
      demand(quote.type === 'quote', 'quote-type', quote.type === 'none' ? quote.why : '');
      const statement = disclaimerStatement({ session, head: chain.head }, disclaimer);
      const bound = boundTo(quote, leafHash(statement), path);
      demand(bound, 'quote-binding', 'the quote was not made for this session and departure');
      const root = credentials.authorityOf(host);
      const approved = credentials.policy(policy, at, root);
      demandPolicyAfter(chain, policy, input.from !== undefined);
      if (input.from !== undefined) demandCrossing(input.from, { root, policy: approved }, host.name);
      const selected = `the quote covers ${selectionText(quote.pcrSelection)}, not what the policy selects`;
      demand(selects(quote, approved.selection), 'pcr-selection', selected);
      const why = `${host.name} was in no approved state of policy ${policy.id} v${policy.version}`;
      demand(approvedState(quote, approved) !== undefined, 'pcr-state', why);
      credentials.demandAllUsed();
      return { outcome: 'verified' } as const;
    },
    () => null,
  );
}
