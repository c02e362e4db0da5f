import type { UntrustedEventLog } from '../evidence/event-log.ts';
import type { PcrValues } from '../evidence/pcr-replay.ts';
import {
  judgeCommandLines,
  judgeDigests,
  judgeEvents,
  judgeKeys,
  judgeSecureBoot,
} from './event-log-rules.ts';
import type { RuleFinding } from './event-log-rules.ts';
import type { EvidenceCheckName, EvidenceChecks } from './evidence-verdict.ts';
import { pcrsOfRules } from './log-rules.ts';
import type { EventLogRules, LogRules } from './log-rules.ts';
import type { QuotedLogs } from './quoted-logs.ts';

/** PCRs that boot_aggregate is over. */
const AGGREGATED: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** The meaning of the logs (SPEC 10.2), once they lead to the quote; otherwise nothing is noted, and every check of it fails. */
export function judgeLogs(
  checks: EvidenceChecks,
  rules: LogRules,
  log: UntrustedEventLog | undefined,
  logs: QuotedLogs,
): void {
  if (logs.values === null) return;
  judgeBoot(checks, rules.eventLog, log);
  judgeFiles(checks, rules, logs);
  checks.notAsked(
    'host-rules',
    'rules about hosts need a certificate, which evidence of this form does not hold',
  );
}

/** The rules about the event log. */
export function judgeBoot(
  checks: EvidenceChecks,
  rules: EventLogRules | undefined,
  log: UntrustedEventLog | undefined,
): void {
  const pcrs = pcrsOfRules(rules === undefined ? {} : { eventLog: rules });
  const digests = (pcr: number, mayBeEmpty: boolean) => (of: UntrustedEventLog, list: readonly string[]) =>
    judgeDigests(of, pcr, list, { mayBeEmpty });
  judge(checks, 'event-log-events', log, pcrs.length === 0 ? undefined : pcrs, judgeEvents);
  judge(checks, 'secure-boot', log, rules?.secureBoot, judgeSecureBoot);
  judge(checks, 'secure-boot-keys', log, rules?.keys, judgeKeys);
  judge(checks, 'firmware', log, rules?.firmware, digests(0, false));
  judge(checks, 'drivers', log, rules?.drivers, digests(2, true));
  judge(checks, 'boot-images', log, rules?.images, digests(4, false));
  judge(checks, 'boot-files', log, rules?.bootFiles, digests(9, true));
  judge(checks, 'command-lines', log, rules?.commandLines, judgeCommandLines);
}

/** One rule about the event log, where the policy has it. */
function judge<Rule>(
  checks: EvidenceChecks,
  name: EvidenceCheckName,
  log: UntrustedEventLog | undefined,
  rule: Rule | undefined,
  by: (log: UntrustedEventLog, rule: Rule) => RuleFinding,
): void {
  if (rule === undefined) checks.notAsked(name, 'the policy has no rule about it');
  else if (log !== undefined) note(checks, name, by(log, rule));
}

/** The rules about the IMA list, of that part of it which the quote covers. */
export function judgeFiles(
  checks: EvidenceChecks,
  { ima: rules }: LogRules,
  { ima, values, eventLog }: QuotedLogs,
): void {
  if (ima === null || rules === undefined) {
    for (const name of ['ima-boot-aggregate', 'ima-violations', 'ima-files'] as const)
      checks.notAsked(name, 'the policy has no rule about it');
    return;
  }
  const quoted = AGGREGATED.every((pcr) => values?.has(pcr));
  const known: PcrValues = quoted && values !== null ? new Map([...eventLog, ['sha256', values]]) : eventLog;
  if (known.size === 0)
    checks.notAsked('ima-boot-aggregate', 'no event log, and PCRs 0-9 are not all quoted');
  else note(checks, 'ima-boot-aggregate', ima.judge.aggregate(known));
  note(checks, 'ima-violations', ima.judge.violations());
  note(checks, 'ima-files', ima.judge.files());
}

function note(checks: EvidenceChecks, name: EvidenceCheckName, { pass, expected, found }: RuleFinding): void {
  checks.note(name, pass, expected, found);
}
