/** What a policy's rules about logs say of a platform that was recorded, or is read now, without a quote: a dry run (SPEC 10.6). */
import { pcrDigest } from '../tpm/policy.ts';
import { checkEventLog, checkImaList, checkValues } from './evidence-appraisal.ts';
import { bootChecks, EvidenceChecks, fileChecks } from './evidence-verdict.ts';
import type { EvidenceCheck, EvidenceCheckName } from './evidence-verdict.ts';
import { judgeLogs } from './judge-logs.ts';
import { pcrsOfRules } from './log-rules.ts';
import type { PolicyDraft } from './policy-text.ts';
import { matchQuote } from './quoted-logs.ts';

/** PCR values of a platform, read before its logs; a log that there is none of is absent. */
export interface RecordedPlatform {
  /** SHA-256 bank. Has `pcrsWanted` of the policy. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly eventLog?: Uint8Array;
  readonly ima?: Uint8Array;
}

/** PCRs that a policy needs of a platform to judge its logs, ascending. */
export function pcrsWanted({ pcrs, rules = {} }: Pick<PolicyDraft, 'pcrs' | 'rules'>): readonly number[] {
  return [...new Set([...pcrs, ...pcrsOfRules(rules)])].sort((a, b) => a - b);
}

const judged: ReadonlySet<EvidenceCheckName> = new Set([
  'event-log',
  'ima-list',
  'pcr-values',
  'pcr-state',
  ...bootChecks,
  ...fileChecks,
]);

/** The checks of SPEC 10.3 that are about PCRs and logs; the values stand in for a quote of them. */
export function judgeRecorded(policy: PolicyDraft, platform: RecordedPlatform): readonly EvidenceCheck[] {
  const { pcrs: values, eventLog, ima } = platform;
  const checks = new EvidenceChecks();
  const pcrs = pcrsWanted(policy);
  const read = pcrs.map((pcr) => ({
    bank: 'sha256' as const,
    pcr,
    digest: values.get(pcr) ?? new Uint8Array(),
  }));
  const digest = pcrDigest([{ bank: 'sha256', pcrs }], read);
  const log = checkEventLog({ policy, ...(eventLog === undefined ? {} : { eventLog }) }, checks);
  const list = checkImaList({ policy, ...(ima === undefined ? {} : { ima }) }, checks, log?.values);
  if (log !== undefined && list !== undefined) {
    const quote = { attest: { pcrDigest: digest }, hash: 'sha256', pcrs } as const;
    const logs = matchQuote(quote, policy, log.values, list, [{ name: 'recorded', pcrs: values }]);
    checkValues(policy, checks, logs);
    judgeLogs(checks, policy.rules ?? {}, log.log, logs);
  }
  return checks.finish().filter(({ name }) => judged.has(name));
}
