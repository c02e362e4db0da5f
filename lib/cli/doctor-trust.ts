/** Whether this host, its peers, and the vTPMs that came here are what they should be, as `tvmmp doctor` tells. */
import { bad, good, warning } from './finding.ts';
import type { Finding } from './finding.ts';
import { timeText } from './output.ts';
import type { TrustStatus, VtpmsStatus } from './status.ts';

/** What helps where the agent is down, or not well. */
export const agentRemedy = 'run systemctl start tvmmpd, and see journalctl -u tvmmpd';

/** Whether VMs came with the vTPMs that their proofs name (SPEC 4.5). */
export function vtpmsFinding({ unread, exchanged }: VtpmsStatus): Finding {
  const failed = unread.filter(({ problem }) => problem !== '');
  if (exchanged.length > 0)
    return bad(
      'vtpms',
      exchanged.map(({ problem }) => problem).join('; '),
      'put the right state back while the VM is off, and tvmmp vm adopt; tvmmp explain says what was found',
    );
  if (failed.length > 0)
    return warning(
      'vtpms',
      failed
        .map(({ vm, problem }) => `the vTPM that came with ${vm} could not be read: ${problem}`)
        .join('; '),
      'see that swtpm is installed, and that this host is in an approved state; it is tried again by itself',
    );
  return good('vtpms', 'none is known to be another than its proof names');
}

/** Whether the host satisfies its own policy now, not only when a VM comes or goes (SPEC 16). */
export function trustFinding({ rule, appraised, problem, quarantine }: TrustStatus): Finding {
  if (rule === null)
    return warning(
      'trust',
      'the policy has no quarantine: a host that has gone bad is noticed by its next migration alone',
      'put "quarantine" into the next version of the policy',
    );
  if (quarantine !== null)
    return bad(
      'trust',
      `quarantined since ${timeText(quarantine.since)}: ${quarantine.reason}`,
      `tvmmp explain says what to do about ${quarantine.failed.join(', ')}; then it ends by itself`,
    );
  if (problem !== '') return bad('trust', `this host cannot appraise itself: ${problem}`, agentRemedy);
  const last = appraised === null ? 'not yet' : timeText(appraised);
  return good('trust', `this host satisfies its policy (looked at ${last})`);
}

/** What the peers of this host found of it, and it of them (SPEC 16.4). */
export function peerFindings({ attested, peers }: TrustStatus): readonly Finding[] {
  const refusing = attested.filter(({ outcome }) => outcome === 'refused');
  const silent = attested.filter(({ outcome, problem }) => outcome !== 'refused' && problem !== '');
  const mute = peers.filter(({ silent }) => silent);
  const refused = peers.filter(({ outcome }) => outcome === 'refused');
  const names = (list: TrustStatus['attested']): string =>
    list.map(({ address, peer }) => peer ?? address).join(', ');
  return [
    ...(refusing.length === 0
      ? []
      : [
          bad(
            'attested',
            `refused by ${names(refusing)}`,
            'tvmmp explain there says why; they send no VM here',
          ),
        ]),
    ...(silent.length === 0
      ? []
      : [
          warning(
            'attested',
            silent.map(({ address, problem }) => `${address}: ${problem}`).join('; '),
            'see that their agents run, and that "peers" in the configuration names them',
          ),
        ]),
    ...mute.map(({ host, time }) =>
      warning(
        'peer',
        `${host} attested itself here until ${timeText(time)}, and is silent since`,
        `see that its agent runs and reaches this host, and that its "peers" names this one; where it is retired, tvmmp authority revoke`,
      ),
    ),
    ...refused.map(({ host, since, reason }) =>
      warning(
        'peer',
        `${host} is refused since ${timeText(since)}: ${reason}`,
        `look at ${host}: tvmmp doctor there`,
      ),
    ),
  ];
}
