/** What an appraisal found (SPEC 9): every check by name, what was expected, what was found, what to do about it. */
import { H } from '../encoding/hash.ts';
import { uuidBytes } from '../encoding/uuid.ts';
import { roleNumbers } from '../evidence/statement.ts';
import type { Role } from '../evidence/statement.ts';
import { bootChecks, fileChecks } from './evidence-verdict.ts';

/** Those about logs. */
export const logChecks = ['event-log', 'ima-list', ...bootChecks, ...fileChecks] as const;
export type LogCheck = (typeof logChecks)[number];

/** The checks of SPEC 6.5, in their order. */
export const peerChecks = [
  'peer-name',
  'ak-certificate',
  'revocation',
  'ak-public',
  'receive-key',
  'quote-signature',
  'quote-type',
  'quote-binding',
  'pcr-selection',
  'event-log',
  'ima-list',
  'pcr-values',
  'pcr-state',
  'rule-attributes',
  'rule-versions',
  'rule-states',
  ...bootChecks,
  ...fileChecks,
  'policy-version',
] as const;
/** Comes first where the peer is a host of another domain (SPEC 17.2). */
export const domainCheck = 'domain';
export type PeerCheck = (typeof peerChecks)[number] | typeof domainCheck;

/** One check. `remedy` is empty where the outcome is `pass`. Texts are one line each. */
export interface Check {
  readonly name: PeerCheck;
  readonly outcome: 'pass' | 'fail';
  readonly expected: string;
  readonly found: string;
  readonly remedy: string;
}

/** All checks of one appraisal of one peer. */
export interface Verdict {
  readonly vm: string;
  readonly session: Uint8Array;
  /** Whether the peer is a host of another domain. */
  readonly foreign?: true;
  /** The peer's role and the name that it gave itself; with that of its domain, where it is another (SPEC 17.2). */
  readonly role: Role;
  readonly peer: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Policy that was appraised against. */
  readonly policy: { readonly id: string; readonly version: number; readonly digest: Uint8Array };
  readonly checks: readonly Check[];
}

/** Whether every check of SPEC 6.5 is there, once, and passed. */
export function isAccepted({ checks, foreign }: Verdict): boolean {
  const all: readonly PeerCheck[] = foreign === true ? [domainCheck, ...peerChecks] : peerChecks;
  return (
    checks.length === all.length &&
    checks.every(({ name, outcome }, index) => name === all[index] && outcome === 'pass')
  );
}

/** `H("tvmmp/verdict/1", appraisal)`: what *departing* and *arrived* entries say about the appraisal of the peer. */
export function verdictDigest(verdict: Verdict): Uint8Array {
  const { id, version, digest } = verdict.policy;
  return H('tvmmp/verdict/1', [
    uuidBytes(verdict.vm),
    verdict.session,
    roleNumbers[verdict.role],
    verdict.peer,
    verdict.time,
    [id, version, digest],
    verdict.checks.map(({ name, outcome, expected, found }) => [name, outcome, expected, found]),
  ]);
}

/** The checks that failed, in order. */
export function failedChecks({ checks }: Verdict): readonly Check[] {
  return checks.filter(({ outcome }) => outcome === 'fail');
}

/**
 * One line for hook messages, journals and the CLI: the first failed check and what was found and expected, how many
 * more failed, and the remedy. For an accepted verdict, that it was accepted.
 */
export function verdictReason(verdict: Verdict): string {
  const failed = failedChecks(verdict);
  const [first] = failed;
  if (first === undefined) return isAccepted(verdict) ? `accepted: ${verdict.peer}` : 'incomplete appraisal';
  const own = failed.filter(({ found }) => !found.startsWith(notChecked));
  const others = own.slice(1).map(({ name }) => name);
  const more = others.length === 0 ? '' : `; also failed: ${others.join(', ')}`;
  return `${first.name}: ${first.found}, expected ${first.expected}${more}; ${first.remedy}`;
}

/** How `found` begins where an earlier failure left a check without anything to look at; it counts as failed. */
export const notChecked = 'not checked';
