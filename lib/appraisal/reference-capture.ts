/**
 * Takes reference values from a known-good host (SPEC 10.4): from its logs, once they lead to its PCRs, in the form of the rules
 * that will judge others by them. What those rules would not believe is not captured, and said.
 */
import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import { parseEventLog } from '../evidence/event-log.ts';
import type { UntrustedEventLog } from '../evidence/event-log.ts';
import { replayEventLog } from '../evidence/event-log-replay.ts';
import { ImaReplay } from '../evidence/ima-replay.ts';
import type { PcrValues } from '../evidence/pcr-replay.ts';
import { commandLinesOf, measuredDigests } from './event-log-rules.ts';
import { eventLogFindings } from './event-log-findings.ts';
import { ImaRuleSet, isBootAggregate, isDigestOf } from './ima-rules.ts';
import { findingText } from './log-finding.ts';
import type { EventLogRules, ImaRules } from './log-rules.ts';
import { policyError } from './policy-error.ts';
import { secureBootOf } from './secure-boot.ts';

/** What a host showed. */
export interface CaptureInput {
  /** PCRs of the SHA-256 bank, read from its TPM before the logs were. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly eventLog?: Uint8Array;
  readonly ima?: Uint8Array;
  /** Patterns of paths that may have any contents. */
  readonly excluded: readonly string[];
}

/** What was taken from it. */
export interface Captured {
  readonly eventLog?: EventLogRules;
  readonly ima?: ImaRules;
  /** What was left out, and why. */
  readonly notes: readonly string[];
}

const BANK = 'sha256';
const IMA_PCR = 10;
const ZERO = new Uint8Array(32);
/** Rules that are digests of a PCR's events; the first two cannot be kept by a log without any. */
const PCR_RULES = [
  ['firmware', 0, true],
  ['images', 4, true],
  ['drivers', 2, false],
  ['bootFiles', 9, false],
] as const;

/** Throws `policy-invalid`, reason `conflict`, where a log does not lead to the PCRs; `event-log-invalid`, `ima-list-invalid`. */
export function captureReference(input: CaptureInput): Captured {
  const notes: string[] = [];
  let values: PcrValues = new Map();
  let eventLog: EventLogRules | undefined;
  if (input.eventLog !== undefined) {
    const log = parseEventLog(input.eventLog);
    if (!log.banks.includes(BANK)) throw conflict('the event log has no SHA-256 bank');
    values = replayEventLog(log);
    leadsTo(values, input.pcrs);
    eventLog = rulesOf(log, notes);
  }
  const ima = input.ima === undefined ? undefined : filesOf(input.ima, input, values, notes);
  return {
    ...(eventLog === undefined || Object.keys(eventLog).length === 0 ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima }),
    notes,
  };
}

function leadsTo(values: PcrValues, pcrs: CaptureInput['pcrs']): void {
  for (const [pcr, value] of values.get(BANK) ?? []) {
    const read = pcrs.get(pcr);
    if (pcr !== IMA_PCR && read !== undefined && !bytesEqual(read, value))
      throw conflict(`the event log does not lead to PCR ${pcr}`);
  }
}

function rulesOf(log: UntrustedEventLog, notes: string[]): EventLogRules {
  const findings = eventLogFindings(log);
  /** Whether rules about this PCR could be kept; notes why not. */
  const good = (pcr: number, what: string): boolean => {
    const found = findings.find((one) => one.pcr === pcr);
    if (found !== undefined) notes.push(`${what} left out: ${findingText(found)}`);
    return found === undefined;
  };
  const boot = good(7, 'secureBoot, keys') ? secureBootOf(log) : undefined;
  const keys = [...(boot?.keys ?? [])].map(([name, of]) => [name, of.map(({ sha256 }) => hex(sha256))]);
  const digests = PCR_RULES.flatMap(([name, pcr, needed]) => {
    const list = good(pcr, name) ? measuredDigests(log, pcr) : undefined;
    return list === undefined || (needed && list.length === 0) ? [] : [[name, [...new Set(list)]]];
  });
  const { lines, flaws } = commandLinesOf(log);
  if (flaws.length > 0) notes.push(`commandLines left out: ${flaws[0] ?? ''}`);
  const commandLines = flaws.length === 0 && lines.length > 0 ? { commandLines: [...new Set(lines)] } : {};
  return {
    ...(boot === undefined || boot.enabled === null ? {} : { secureBoot: boot.enabled }),
    ...(keys.length === 0 ? {} : { keys: Object.fromEntries(keys) as NonNullable<EventLogRules['keys']> }),
    ...(Object.fromEntries(digests) as Partial<EventLogRules>),
    ...(good(8, 'commandLines') ? commandLines : {}),
  };
}

/** Digests by path, of the entries that PCR 10 covers: later ones came when it had been read. */
function filesOf(bytes: Uint8Array, input: CaptureInput, start: PcrValues, notes: string[]): ImaRules {
  const wanted = input.pcrs.get(IMA_PCR);
  const from = new Map([[BANK, start.get(BANK) ?? new Map<number, Uint8Array>()]] as const);
  const replay = new ImaReplay(bytes, [BANK], undefined, from);
  const { excluded } = new ImaRuleSet({ files: {}, excluded: input.excluded });
  const files = new Map<string, Set<string>>();
  let violations = 0;
  let covered = wanted === undefined;
  replay.finish((entry, at) => {
    const { path, digest, violation } = entry;
    if (violation) violations += 1;
    else if (entry.buffer !== null && !isDigestOf(entry))
      notes.push(`${path} left out: its digest is not that of its buffer`);
    else if (!isBootAggregate(entry) && !excluded.some((glob) => glob.test(path)))
      files.set(path, (files.get(path) ?? new Set()).add(digest));
    if (wanted !== undefined) covered = bytesEqual(at.value(BANK, IMA_PCR) ?? ZERO, wanted);
    return wanted !== undefined && covered;
  });
  if (!covered) throw conflict('the IMA list does not lead to PCR 10');
  if (violations > 0)
    notes.push(`${violations} violations in the IMA list: a policy accepts them with allowViolations alone`);
  const listed = [...files].map(([path, digests]) => [path, [...digests]] as const);
  return {
    files: Object.fromEntries(listed.sort(([a], [b]) => (a < b ? -1 : 1))),
    ...(input.excluded.length === 0 ? {} : { excluded: input.excluded }),
  };
}

function conflict(message: string): Error {
  return policyError('conflict', message);
}
