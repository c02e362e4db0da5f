/** A verified proof as people ask for it: who had the VM, from when to when, under which policy and platform states. */
import { DOMAIN_ATTRIBUTE, attributesSeen } from '../appraisal/domains.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import type { HostId, PolicyId } from './entry.ts';
import type { VerifiedEntry, VerifiedProof } from './verify.ts';

/** One epoch of a VM's life. Times are milliseconds since 1970, by the clock of the host that signed. */
export interface Holding {
  readonly epoch: number;
  readonly host: HostId;
  readonly since: number;
  /** When *arrived* opened the next epoch; null for the epoch that is open. */
  readonly until: number | null;
  /** When the holder stated that its copy was destroyed; null where it has not (yet), or still holds the VM. */
  readonly destroyed: number | null;
  /** Sequence numbers of its first and last entry. */
  readonly entries: readonly [number, number];
  /** Names of the approved states that it was seen in; empty where they were verified earlier. */
  readonly pcrStates: readonly string[];
  /** Policies in force there, by version. */
  readonly policies: readonly PolicyId[];
  /** What the policy of the VM's home calls the host's domain; null where it has no names for domains (SPEC 17.3). */
  readonly domain: string | null;
  /** Its authority. */
  readonly authority: RootCertificate;
  /** What the authority says of the host, by its last certificate in the epoch. */
  readonly attributes: HostAttributes;
}

/** The epochs of a proof in order. */
export function holdingsOf({ entries, departures, home }: VerifiedProof): readonly Holding[] {
  const epochs: VerifiedEntry[][] = [];
  for (const verified of entries) (epochs[verified.entry.epoch] ??= []).push(verified);
  return epochs.flatMap((group, index) => {
    const [first, last] = [group[0]?.entry, group.at(-1)?.entry];
    const authority = group[0]?.authority;
    if (first === undefined || last === undefined || authority === undefined) return [];
    const domain = attributesSeen(home, authority.digest, new Map()).get(DOMAIN_ATTRIBUTE);
    const destroyed = departures.find(({ entry }) => entry.epoch === first.epoch)?.entry.time ?? null;
    const states = new Set(group.flatMap(({ pcrState }) => (pcrState === null ? [] : [pcrState])));
    const policies = new Map(group.map(({ entry }) => [entry.policy.version, entry.policy]));
    return [
      {
        epoch: first.epoch,
        host: last.host,
        since: first.time,
        until: epochs[index + 1]?.[0]?.entry.time ?? null,
        destroyed,
        entries: [first.sequence, last.sequence] as const,
        pcrStates: [...states],
        policies: [...policies.values()],
        domain: domain === undefined ? null : String(domain),
        authority,
        attributes: group.at(-1)?.attributes ?? new Map(),
      },
    ];
  });
}
