import { randomBytes } from 'node:crypto';
import { approvedState, boundTo, quoteOf, selects, signedBy } from '../appraisal/quote.ts';
import { leafHash } from '../evidence/merkle.ts';
import { selfStatement } from '../evidence/statement.ts';
import { keyObjectOf, parsePublicArea } from '../tpm/public-area.ts';
import type { Host } from './host.ts';
import type { Quotes } from './quotes.ts';

/** What this needs of its host. */
interface Parts {
  readonly host: Host;
  readonly quotes: Pick<Quotes, 'sign'>;
}

/**
 * Whether this host is in an approved state, by a quote that is asked for after the call and shared with all that waits for one (SPEC 5.2). Rejects where the
 * TPM fails.
 */
export async function isApprovedNow({ host, quotes }: Parts): Promise<boolean> {
  const { policy } = host.policy();
  const statement = selfStatement(new Uint8Array(randomBytes(32)));
  const { attest, signature, statementPaths } = await quotes.sign(policy.selection, [], [statement]);
  const ak = keyObjectOf(parsePublicArea(host.identity.akPublic));
  const quote = quoteOf(attest);
  return (
    signedBy(ak, attest, signature) &&
    quote.type === 'quote' &&
    selects(quote, policy.selection) &&
    boundTo(quote, leafHash(statement), statementPaths[0] ?? []) &&
    approvedState(quote, policy) !== undefined
  );
}
