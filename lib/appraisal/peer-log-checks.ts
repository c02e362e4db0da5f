/** The checks of SPEC 6.5 that are about a peer's logs, made of what the logs said (log-evidence.ts). */
import { bytesEqual } from '../bytes/compare.ts';
import type { QuoteAttest } from '../tpm/attest.ts';
import type { PcrSelection } from '../tpm/port.ts';
import { check, skipped } from './check.ts';
import type { EvidenceCheckName } from './evidence-verdict.ts';
import type { LogFindings } from './log-evidence.ts';
import { pcrsOfRules } from './log-rules.ts';
import type { Policy } from './policy.ts';
import type { Check, LogCheck, PeerCheck } from './verdict.ts';

/** Whether a policy has rules about logs, so that evidence without them is none. */
export function asksForLogs({ rules }: Pick<Policy, 'rules'>): boolean {
  return rules?.eventLog !== undefined || rules?.ima !== undefined;
}

/** What a peer's quote has to cover: the policy's PCRs, and those of its rules about logs. */
export function evidenceSelection({ selection, rules }: Policy): PcrSelection {
  const pcrs = new Set([...selection.flatMap((bank) => bank.pcrs), ...pcrsOfRules(rules ?? {})]);
  return [{ bank: 'sha256', pcrs: [...pcrs].sort((a, b) => a - b) }];
}

const remedies: Readonly<Record<LogCheck | 'pcr-values' | 'pcr-state', string>> = {
  'event-log': "see `tvmmp doctor` on the peer: its agent has to be able to read the kernel's event log",
  'ima-list':
    "see `tvmmp doctor` on the peer: boot it with an IMA policy, and let its agent read the kernel's list",
  'pcr-values': 'its logs are not those of what it runs: reboot the peer, then look at it',
  'pcr-state': 'if the peer was updated on purpose, approve its new state in the policy',
  'event-log-events':
    'firmware or boot loader measure what nobody knows: look at the log with `tvmmp event-log`',
  'secure-boot': 'set Secure Boot in the firmware of the peer as the policy has it, and reboot it',
  'secure-boot-keys': "put the policy's keys into the firmware of the peer, or approve its keys",
  firmware: 'if its firmware was updated on purpose, approve it: `tvmmp reference capture` there',
  drivers: 'if a card or its firmware is new on purpose, approve it: `tvmmp reference capture` there',
  'boot-images':
    'if boot loader or kernel were updated on purpose, approve them: `tvmmp reference capture` there',
  'boot-files': 'if they were changed on purpose, approve them: `tvmmp reference capture` there',
  'command-lines': 'boot the peer with a command line of the policy, or add its own to the policy',
  'ima-boot-aggregate': 'the list is of another boot: reboot the peer, then look at it',
  'ima-violations': 'reboot the peer; if files are written while they are read on purpose, allow violations',
  'ima-files':
    'if these files were changed on purpose, approve them in the policy and reboot or retry; otherwise look at the peer',
};

/** One check: as the logs said; it passes where the policy does not ask. */
export function logCheck(
  name: LogCheck | 'pcr-values' | 'pcr-state',
  policy: Policy,
  quote: QuoteAttest | undefined,
  findings: LogFindings | null,
  because: PeerCheck,
): Check {
  if (!asksForLogs(policy))
    return check(name, true, {
      expected: 'nothing: the policy has no rule about it',
      found: 'not asked',
      remedy: '',
    });
  if (quote === undefined) return skipped(name, because);
  const noted = findings?.checks.find((one) => one.name === (name satisfies EvidenceCheckName));
  if (findings === null || noted === undefined || !bytesEqual(findings.pcrDigest, quote.pcrDigest))
    return check(name, false, { expected: 'logs of this quote', found: 'none', remedy: remedies[name] });
  return check(name, noted.outcome !== 'fail', {
    expected: noted.outcome === 'not-asked' ? 'nothing' : noted.expected,
    found: noted.found,
    remedy: remedies[name],
  });
}
