/** What this host has found about hosts that attest themselves to it (SPEC 16.4), and what it does not do with those that failed. */
import type { Verdict } from '../appraisal/verdict.ts';
import { failedChecks, isAccepted, verdictReason } from '../appraisal/verdict.ts';
import { hex } from '../encoding/hex.ts';
import type { Journal } from '../ledger/journal.ts';
import type { ChainState } from '../proof/chain.ts';
import type { Host } from './host.ts';
import { verdictJson } from './hello.ts';
import { noteRefusal, Refused } from './refused.ts';

/** The latest word on a host, as the journal has it. */
export interface PeerStanding {
  readonly host: string;
  /** Name of the AK that it attested itself with, hexadecimal; journals of before have none. */
  readonly ak?: string;
  readonly outcome: 'accepted' | 'refused';
  /** When this outcome was first found, and when it was last, milliseconds since 1970. */
  readonly since: number;
  readonly time: number;
  /** One line, and the names of the checks that failed; of a host that was accepted '' and none. */
  readonly reason: string;
  readonly failed: readonly string[];
}

const prefix = 'peer/';

/** Every host that has attested itself here. */
export function peerStandings({
  journal,
}: {
  readonly journal: Pick<Journal, 'settings'>;
}): readonly PeerStanding[] {
  return journal.settings(prefix).map((text) => JSON.parse(text) as PeerStanding);
}

function standingOf({ journal }: Pick<Host, 'journal'>, host: string): PeerStanding | null {
  const text = journal.setting(prefix + host);
  return text === null ? null : (JSON.parse(text) as PeerStanding);
}

/** Keeps a verdict, on disk before it is told. One about a host that did not prove to be the one that it says it is is not kept. */
export function noteStanding(host: Host, verdict: Verdict, akName: Uint8Array): void {
  const before = standingOf(host, verdict.peer);
  const outcome = isAccepted(verdict) ? 'accepted' : 'refused';
  const reason = outcome === 'accepted' ? '' : verdictReason(verdict);
  const failed = failedChecks(verdict).map(({ name }) => name);
  const since = before?.outcome === outcome ? before.since : verdict.time;
  const { peer, time } = verdict;
  const next: PeerStanding = { host: peer, ak: hex(akName), outcome, since, time, reason, failed };
  host.journal.putSetting(prefix + verdict.peer, JSON.stringify(next));
  if (before?.outcome === outcome && before.reason === reason) return;
  const about = { peer: verdict.peer, failed, reason };
  if (outcome === 'accepted') {
    if (before !== null) host.log.warn(about, 'a host that was refused has attested itself well again');
    return;
  }
  host.log.error(about, 'a host that attested itself was refused');
  const why = new Refused(`host-quarantined: ${verdict.peer}: ${reason}`, { verdict: verdictJson(verdict) });
  noteRefusal(host, { vm: null, peer: verdict.peer, operation: 'attestation', why });
}

/** Nothing goes to a host that was refused, whatever it shows in a session, until it has attested itself well. Throws `Refused`. */
export function requireMayReceiveAt(host: Pick<Host, 'journal' | 'policy'>, peer: string): void {
  const standing = refusedBy(host, peer);
  if (standing !== null) throw new Refused(`${text(standing)}: it receives no VM from here; ${remedy}`);
}

/** VMs come from a host that was refused only where our policy lets them, and their proof says that it is quarantined. Throws `Refused`. */
export function requireMayLeaveFrom(
  host: Pick<Host, 'journal' | 'policy'>,
  peer: string,
  { quarantined }: Pick<ChainState, 'quarantined'>,
): void {
  const standing = refusedBy(host, peer);
  if (standing === null) return;
  const { quarantine } = host.policy().policy;
  if (quarantine?.leave !== 'trusted')
    throw new Refused(`${text(standing)}, and our policy lets no VM leave such a host; ${remedy}`);
  if (!quarantined)
    throw new Refused(
      `${text(standing)}, and the proof of the VM does not say that it is quarantined; ${remedy}`,
    );
}

const remedy = 'once it has attested itself well again (at the latest when its agent starts), this is over';

function refusedBy(host: Pick<Host, 'journal' | 'policy'>, peer: string): PeerStanding | null {
  if (host.policy().policy.quarantine === undefined) return null;
  const standing = standingOf(host, peer);
  return standing?.outcome === 'refused' ? standing : null;
}

function text({ host, since, failed }: PeerStanding): string {
  const when = new Date(since).toISOString().slice(0, 19);
  return `host-quarantined: ${host} attested itself here, and was refused since ${when}Z (${failed.join(', ')})`;
}
