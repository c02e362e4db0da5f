/** The revocation lists of other domains (SPEC 17.2): each by the root of its authority, kept apart from ours and told on to nobody. */
import { domainOf } from '../appraisal/domains.ts';
import type { Domain } from '../appraisal/domains.ts';
import { parseEnvelope, verifyEnvelope } from '../appraisal/dsse.ts';
import { policyError } from '../appraisal/policy-error.ts';
import { compareRevocations, decodeRevocations } from '../appraisal/revocation.ts';
import type { RevocationList } from '../appraisal/revocation.ts';
import { keyOfSpki } from '../certificates/public-key.ts';
import { hex } from '../encoding/hex.ts';
import type { Host } from './host.ts';

type Parts = Pick<Host, 'journal' | 'policy'>;

/**
 * The list of the authority with this root (digest of its certificate), from the journal; null where there is none yet. It stays there when
 * its domain leaves the policy: its version never goes back.
 */
export function domainRevocations(
  { journal }: Pick<Host, 'journal'>,
  root: Uint8Array,
): RevocationList | null {
  const envelope = journal.setting(keyOf(root));
  return envelope === null ? null : decodeRevocations(envelope);
}

/**
 * Takes a list of a domain that our policy names: by its policy key, and no older one. One that is not newer is no news. Gives the
 * version in force. Throws `policy-invalid`.
 */
export function learnDomainRevocations(host: Parts, root: Uint8Array, envelope: string): number {
  const domain = domainOf(host.policy().policy.domains, root);
  if (domain === null) throw policyError('untrusted-signer', 'our policy names no domain whose list it is');
  const list = verifyDomainRevocations(envelope, domain);
  const before = domainRevocations(host, root);
  if (before !== null && list.version < before.version) return before.version;
  if (compareRevocations(before, list) === 'newer') host.journal.putSetting(keyOf(root), envelope);
  return list.version;
}

/** The same by an operator, who is told where the list is older than the one in force. */
export function installDomainRevocations(host: Parts, name: string, envelope: string): number {
  const domain = host.policy().policy.domains?.others.find((one) => one.name === name);
  if (domain === undefined) throw policyError('untrusted-signer', `our policy names no domain ${name}`);
  const { digest } = domain.root;
  compareRevocations(domainRevocations(host, digest), verifyDomainRevocations(envelope, domain));
  return learnDomainRevocations(host, digest, envelope);
}

function verifyDomainRevocations(envelope: string, { name, policyKey }: Domain): RevocationList {
  if (!verifyEnvelope(parseEnvelope(envelope), keyOfSpki(policyKey)))
    throw policyError(
      'bad-signature',
      `the revocation list is not signed by the policy key of the domain ${name}`,
    );
  return decodeRevocations(envelope);
}

function keyOf(root: Uint8Array): string {
  return `domain-revocations/${hex(root)}`;
}
