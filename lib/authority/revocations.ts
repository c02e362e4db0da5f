/** What an authority does about hosts that are not trusted any more (SPEC 1.2, 1.3). Each change signs a new list. */
import { REVOCATION_REASON, signRevocations } from '../appraisal/revocation.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { Authority } from './authority.ts';
import type { Enrolment } from './registry.ts';

/** Why and from when on a host is not trusted. */
export interface RevocationTerms {
  readonly since: Date;
  /** 1 to 128 printable ASCII characters. */
  readonly reason: string;
}

/**
 * Revokes every key that was enrolled under a host's name and signs the next list. Throws `usage-invalid`, and
 * `authority-invalid` without the policy key. Returns the envelope.
 */
export function revokeHost(authority: Authority, host: string, terms: RevocationTerms, now: Date): string {
  const { since, reason } = terms;
  if (!REVOCATION_REASON.test(reason)) throw usage('a reason has 1 to 128 printable ASCII characters');
  if (Number.isNaN(since.getTime())) throw usage('the time of a revocation is no time');
  const { registry } = authority;
  return registry.atomically(() => {
    const known = registry.historyOf(host);
    if (known.length === 0) throw usage(`no host ${host} was ever enrolled`);
    const revoked = registry.revocations.all();
    const keys = new Map(known.map(({ akName }) => [hex(akName), akName]));
    const fresh = [...keys.values()].filter((key) => !revoked.some(({ akName }) => bytesEqual(akName, key)));
    if (fresh.length === 0) throw usage(`${host} is revoked already; reinstate it first to change that`);
    for (const akName of fresh)
      registry.revocations.add({ host, akName: Uint8Array.from(akName), since, reason });
    return signList(authority, now);
  });
}

/** Takes the revocation of a host back, in the next list. Throws `usage-invalid`. Returns the envelope. */
export function reinstateHost(authority: Authority, host: string, now: Date): string {
  const { registry } = authority;
  return registry.atomically(() => {
    if (registry.revocations.remove(host) === 0) throw usage(`${host} is not revoked`);
    return signList(authority, now);
  });
}

/** Records an enrolment; keys that it replaces by others are revoked in the same transaction (SPEC 1.2). */
export function recordEnrolment(
  authority: Authority,
  enrolment: Enrolment,
  options: { readonly replace: boolean },
): void {
  const { registry } = authority;
  registry.atomically(() => {
    const ended = registry.enrol(enrolment, options);
    const replaced = ended.filter(({ akName }) => !bytesEqual(akName, enrolment.akName));
    if (replaced.length === 0) return;
    const since = new Date(enrolment.time);
    const reason = `replaced by the enrolment of ${enrolment.name}`.slice(0, 128);
    const revoked = registry.revocations.all();
    for (const { name: host, akName } of replaced) {
      if (!revoked.some((one) => bytesEqual(one.akName, akName)))
        registry.revocations.add({ host, akName: Uint8Array.from(akName), since, reason });
    }
    signList(authority, since);
  });
}

/** The revocation list signed last, or null. */
export function currentRevocations(authority: Authority): string | null {
  return authority.registry.revocations.currentList()?.envelope ?? null;
}

function signList(authority: Authority, now: Date): string {
  const { revocations } = authority.registry;
  const version = (revocations.currentList()?.version ?? 0) + 1;
  const envelope = signRevocations(
    { version, issuedAt: now, hosts: revocations.all() },
    authority.policyKeys(),
  );
  revocations.addList({ version, envelope, time: now.getTime() });
  return envelope;
}

function usage(message: string): TvmmpError {
  return new TvmmpError('usage-invalid', message);
}
