/** A host that is in the revocation list that it has itself (SPEC 1.3, 8.2). */
import { revocationOf } from '../appraisal/revocation.ts';
import type { Host } from './host.ts';
import { Refused } from './refused.ts';

/** Nobody believes what a revoked host signs: it begins nothing, and another host may have been given its VMs (SPEC 15.5). Throws `Refused`. */
export function requireUnrevoked(host: Pick<Host, 'identity' | 'revocations'>): void {
  const found = revocationOf(host.revocations()?.list ?? null, host.identity.id.akName);
  if (found === undefined) return;
  throw new Refused(
    `host-revoked: the authority has revoked this host (${found.reason}): nobody believes the proof that it would write, and its VMs may be ` +
      'held elsewhere by now; enrol it anew (tvmmp host enroll) or have the authority reinstate it',
  );
}
