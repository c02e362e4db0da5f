/** What a policy asks of an event log (SPEC 10.2), one function per rule. Events are believed as far as their digests cover them. */
import { hex } from '../encoding/hex.ts';
import { coverageOf, labelledText } from '../evidence/event-coverage.ts';
import { isMeasured } from '../evidence/event-log.ts';
import type { UntrustedEvent, UntrustedEventLog } from '../evidence/event-log.ts';
import { EVENT_TYPES } from '../evidence/event-types.ts';
import { eventText } from '../evidence/event-text.ts';
import { eventLogFindings } from './event-log-findings.ts';
import { findingText } from './log-finding.ts';
import type { EventLogRules } from './log-rules.ts';
import { keyVariables, secureBootOf } from './secure-boot.ts';

/** What a rule found: whether it holds, what it wanted, what is there. */
export interface RuleFinding {
  readonly pass: boolean;
  readonly expected: string;
  readonly found: string;
}

/** Things named in one line; the rest is counted. */
const NAMED_MAX = 3;

/** `event-log-events`: nothing in these PCRs that cannot be believed. */
export function judgeEvents(log: UntrustedEventLog, pcrs: readonly number[]): RuleFinding {
  const findings = eventLogFindings(log).filter(({ pcr }) => pcr !== null && pcrs.includes(pcr));
  return {
    pass: findings.length === 0,
    expected: `events of known types whose data are covered by their digests, in PCRs ${pcrs.join(',')}`,
    found: findings.length === 0 ? 'those' : named(findings.map(findingText)),
  };
}

/** `secure-boot`: on or off, as it has to be; where it is on, an image was let in by a key, and the firmware's part is closed. */
export function judgeSecureBoot(log: UntrustedEventLog, wanted: boolean): RuleFinding {
  const { enabled, closed, authorities } = secureBootOf(log);
  const state =
    enabled === null ? 'the log does not say in a way that can be believed' : enabled ? 'on' : 'off';
  const flaw =
    enabled === true && wanted
      ? !closed
        ? ', but no separator closes PCR 7'
        : authorities === 0
          ? ', but no key let an image run'
          : ''
      : '';
  return {
    pass: enabled === wanted && flaw === '',
    expected: `Secure Boot ${wanted ? 'on' : 'off'}`,
    found: `${state}${flaw}`,
  };
}

/** `secure-boot-keys`: PK, KEK and db hold none but these; dbx holds all of these. */
export function judgeKeys(log: UntrustedEventLog, rules: NonNullable<EventLogRules['keys']>): RuleFinding {
  const { keys, findings } = secureBootOf(log);
  const flaws = findings.map(findingText);
  for (const name of keyVariables) {
    const wanted = rules[name];
    if (wanted === undefined) continue;
    const measured = keys.get(name)?.map(({ sha256 }) => hex(sha256));
    if (measured === undefined) flaws.push(`${name} was not measured, or cannot be read`);
    else if (name === 'dbx') {
      for (const key of wanted) if (!measured.includes(key)) flaws.push(`dbx lacks ${short(key)}`);
    } else {
      for (const key of measured) if (!wanted.includes(key)) flaws.push(`${name} holds ${short(key)}`);
    }
  }
  return {
    pass: flaws.length === 0,
    expected: `the keys of the policy in ${Object.keys(rules).join(', ')}`,
    found: flaws.length === 0 ? 'those' : named(flaws),
  };
}

/**
 * `firmware`, `drivers`, `boot-images`, `boot-files`: every event of the PCR has a digest of the list. Only separators and the
 * firmware's own actions are left out, and those by hashing their data again: a type is not believed, so that nothing can be
 * passed off as harmless.
 */
export function judgeDigests(
  log: UntrustedEventLog,
  pcr: number,
  digests: readonly string[],
  { mayBeEmpty }: { readonly mayBeEmpty: boolean },
): RuleFinding {
  const listed = new Set(digests);
  const events = judgedEvents(log, pcr);
  const others = events.filter((event) => !listed.has(sha256Of(event)));
  const flaws = others.map((event) => `${short(sha256Of(event))} (${eventText(event) || 'no description'})`);
  return {
    pass: others.length === 0 && (mayBeEmpty || events.length > 0),
    expected: `listed digests in PCR ${pcr}`,
    found:
      events.length === 0
        ? `nothing was measured into PCR ${pcr}`
        : others.length === 0
          ? `${events.length} listed events`
          : named(flaws),
  };
}

/**
 * `command-lines`: every text of PCR 8 that names a file first is a command line of the list. The label that says whether GRUB
 * took a text for a command or a kernel command line is covered by nothing: a text that begins like a file counts as the latter.
 */
export function judgeCommandLines(log: UntrustedEventLog, commandLines: readonly string[]): RuleFinding {
  const listed = new Set(commandLines);
  const { lines, flaws: uncovered } = commandLinesOf(log);
  const flaws = [...uncovered, ...lines.filter((line) => !listed.has(line)).map((line) => `"${line}"`)];
  return {
    pass: flaws.length === 0 && lines.length > 0,
    expected: 'a kernel command line of the policy',
    found:
      flaws.length > 0
        ? named(flaws)
        : lines.length === 0
          ? 'no command line was measured into PCR 8'
          : 'those',
  };
}

/** The kernel command lines of PCR 8, and what there cannot be believed. */
export function commandLinesOf(log: UntrustedEventLog): {
  readonly lines: readonly string[];
  readonly flaws: readonly string[];
} {
  const [lines, flaws]: [string[], string[]] = [[], []];
  for (const event of judgedEvents(log, 8)) {
    const text = labelledText(event.data);
    if (coverageOf(event) !== 'text' || text === undefined) {
      flaws.push(`event ${event.number} has a text that its digest does not cover`);
      continue;
    }
    const line = Buffer.from(text.covered).toString('utf8');
    if (/^[/(]/.test(line) || text.label === 'kernel_cmdline:') lines.push(line);
  }
  return { lines, flaws };
}

/** SHA-256 digests of the events of a PCR that a list of digests has to have. */
export function measuredDigests(log: UntrustedEventLog, pcr: number): readonly string[] {
  return judgedEvents(log, pcr).map(sha256Of);
}

function judgedEvents(log: UntrustedEventLog, pcr: number): readonly UntrustedEvent[] {
  return eventsOf(log, pcr).filter((event) => !isHarmless(event));
}

function eventsOf(log: UntrustedEventLog, pcr: number): readonly UntrustedEvent[] {
  return log.events.filter((event) => isMeasured(event) && event.pcr === pcr);
}

function isHarmless(event: UntrustedEvent): boolean {
  const separator = event.type === EVENT_TYPES.EV_SEPARATOR && event.data.every((byte) => byte === 0);
  const action = event.type === EVENT_TYPES.EV_EFI_ACTION;
  return (separator ? event.data.byteLength === 4 : action) && coverageOf(event) === 'data';
}

function sha256Of(event: UntrustedEvent): string {
  return hex(event.digests.get('sha256') ?? new Uint8Array());
}

function short(digest: string): string {
  return digest === '' ? 'no SHA-256 digest' : `${digest.slice(0, 16)}...`;
}

/** The first of several things, and how many more there are. */
export function named(things: readonly string[]): string {
  const more = things.length - NAMED_MAX;
  return `${things.slice(0, NAMED_MAX).join('; ')}${more > 0 ? `; and ${more} others` : ''}`;
}
