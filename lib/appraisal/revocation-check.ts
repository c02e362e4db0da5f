/** The check of a peer against the revocation list (SPEC 1.3, 6.5). */
import type { HostCertificate } from '../certificates/host-certificate.ts';
import { check, skipped } from './check.ts';
import { revocationOf } from './revocation.ts';
import type { RevocationList } from './revocation.ts';
import type { Check } from './verdict.ts';

/** Member of a hello's versions that says which revocation list the speaker has (SPEC 1.3). */
export const REVOCATIONS_VERSION = 'revocations';

/** To a host of another domain: which list of the authority of that host the speaker has (SPEC 17.2). */
export const PEER_REVOCATIONS_VERSION = 'peer-revocations';

/** Version of the revocation list that a peer announced: 0 where it says nothing; NaN where it says no number. */
export function announcedRevocations(
  versions: ReadonlyMap<string, string>,
  member: typeof REVOCATIONS_VERSION | typeof PEER_REVOCATIONS_VERSION = REVOCATIONS_VERSION,
): number {
  const text = versions.get(member) ?? '0';
  return /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
}

/** `revocation` of SPEC 6.5: our list does not name the AK, and is not older than the one that the peer announced. */
export function revocation(
  list: RevocationList | null,
  versions: ReadonlyMap<string, string>,
  host: HostCertificate | undefined,
): Check {
  if (host === undefined) return skipped('revocation', 'ak-certificate');
  const ours = list?.version ?? 0;
  const announced = announcedRevocations(versions);
  const found = revocationOf(list, host.akName);
  const expected = `a host that revocation list v${ours} does not name`;
  if (found !== undefined) {
    return check('revocation', false, {
      expected,
      found: `${found.host}, revoked since ${found.since.toISOString()}: ${found.reason}`,
      remedy:
        'keep VMs away from it; if the revocation is over, `tvmmp authority reinstate` and install the new list',
    });
  }
  return check('revocation', announced <= ours, {
    expected: `${expected}, and no newer list at the peer`,
    found: announced <= ours ? 'not in it' : `list v${announced} is announced, and was not brought`,
    remedy: 'install the current revocation list here: `tvmmp revocation install`',
  });
}
