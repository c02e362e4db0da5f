/**
 * The logs of one peer in one session (SPEC 6.11), replayed and judged piece by piece while they come: nothing of a list is kept but
 * its end. What is wrong with them is a failed check at the end, by the code that judges logs in files (SPEC 10.3).
 */
import { TvmmpError } from '../errors.ts';
import { sha256 } from '../encoding/hash.ts';
import type { LogKind } from '../evidence/logs-wanted.ts';
import type { PcrValues } from '../evidence/pcr-replay.ts';
import { limits } from '../limits.ts';
import type { CheckedQuote } from './evidence-appraisal.ts';
import { checkEventLog, checkValues } from './evidence-appraisal.ts';
import { bootChecks, EvidenceChecks } from './evidence-verdict.ts';
import type { EvidenceCheck } from './evidence-verdict.ts';
import type { ImaRuleSet } from './ima-rules.ts';
import { judgeBoot, judgeFiles } from './judge-logs.ts';
import type { DraftState, PolicyDraft } from './policy-text.ts';
import { continueIma, imaStart, matchQuote } from './quoted-logs.ts';
import type { ImaProgress, ReplayedIma } from './quoted-logs.ts';
import { logChecks } from './verdict.ts';

/** An event log that was read and judged: all that a later appraisal of the same boot needs of it. */
interface JudgedEventLog {
  /** SHA-256 of the log; null where it could not be read. */
  readonly digest: Uint8Array | null;
  readonly values: PcrValues;
  /** `event-log`, and the checks of what was booted. */
  readonly checks: readonly EvidenceCheck[];
}

/** What is remembered of a peer's logs once they led to its quote: plain values, some 20 KiB. */
export interface KnownLogs {
  readonly resetCount: number;
  readonly restartCount: number;
  readonly eventLog: JudgedEventLog | null;
  readonly ima: ImaProgress | null;
}

/** What the logs said. */
export interface LogFindings {
  /** All checks of SPEC 10.3 that are about logs, `pcr-values` and `pcr-state` among them. */
  readonly checks: readonly EvidenceCheck[];
  /** Name of the policy's state that the PCRs are in. */
  readonly state: string | null;
  /** Of the quote that the logs were held against. */
  readonly pcrDigest: Uint8Array;
  /** To be remembered; null where the logs do not lead to the quote. */
  readonly known: KnownLogs | null;
}

/** Parts of an IMA list are replayed once so much has come beyond the end that is kept. */
const PART_BYTES = 1024 * 1024;
/** More than an entry has before its data, which are no longer than the end that is kept. */
const ENTRY_HEAD_BYTES = 1024;
const EVENT_LOG_EXPECTED = 'the event log of this boot';
const IMA_EXPECTED = 'an IMA list of this boot that can be read';

/** See the head of this file. */
export class LogEvidence {
  readonly #policy: PolicyDraft;
  readonly #rules: ImaRuleSet;
  readonly #known: KnownLogs | null;
  #eventLog: Uint8Array[] = [];
  #eventLogBytes = 0;
  #judged: JudgedEventLog | null = null;
  #ima: ImaProgress | null = null;
  /** What came of the list and was not replayed yet. */
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  /** Whether the list goes on from what is known. */
  #continued = false;
  readonly #faults = new Map<LogKind, string>();

  constructor(policy: PolicyDraft, rules: ImaRuleSet, known: KnownLogs | null) {
    this.#policy = policy;
    this.#rules = rules;
    this.#known = known;
  }

  /** Bytes that are kept of what came. */
  get heldBytes(): number {
    return this.#restBytes + (this.#judged === null ? this.#eventLogBytes : 0);
  }

  /** Takes a piece. After a fault nothing of that log is kept any more. */
  add(log: LogKind, from: number, data: Uint8Array): void {
    if (this.#faults.has(log)) return;
    const fault = log === 'event-log' ? this.#addToEventLog(from, data) : this.#addToIma(from, data);
    if (fault !== null) this.refuse(log, fault);
  }

  /** Gives a log up, for a reason. */
  refuse(log: LogKind, fault: string): void {
    this.#faults.set(log, fault);
    if (log === 'event-log') this.#eventLog = [];
    if (log === 'event-log') this.#eventLogBytes = 0;
    else this.#drop();
  }

  /** All checks, held against a quote whose signature and binding somebody else looks at. `told`: what the peer says of its PCRs. */
  finish(quote: CheckedQuote, told: ReadonlyMap<number, Uint8Array>): LogFindings {
    const checks = new EvidenceChecks();
    const eventLog = this.#finishEventLog(quote, checks);
    const ima = this.#finishIma(quote, checks);
    const found = { pcrDigest: quote.attest.pcrDigest };
    if (eventLog === null || ima === 'failed')
      return { ...found, checks: aboutLogs(checks), state: null, known: null };
    const states: DraftState[] = told.size === 0 ? [] : [{ name: 'told', pcrs: told }];
    const logs = matchQuote(quote, this.#policy, eventLog.values, ima, states);
    checkValues(this.#policy, checks, logs);
    if (logs.values === null) return { ...found, checks: aboutLogs(checks), state: null, known: null };
    for (const check of eventLog.checks) checks.take(check);
    judgeFiles(checks, this.#policy.rules ?? {}, logs);
    const { resetCount, restartCount } = quote.attest.clock;
    const known = {
      resetCount,
      restartCount,
      eventLog: eventLog.digest === null ? null : eventLog,
      ima: logs.ima?.progress() ?? null,
    };
    return { ...found, checks: aboutLogs(checks), state: logs.state, known };
  }

  #addToEventLog(from: number, data: Uint8Array): string | null {
    if (this.#ima !== null || this.#judged !== null) return 'comes after the IMA list';
    if (from !== this.#eventLogBytes)
      return `goes on at byte ${from}, where byte ${this.#eventLogBytes} is due`;
    if (from + data.byteLength > limits.eventLogBytesMax)
      return `too-large: more than ${limits.eventLogBytesMax} bytes`;
    this.#eventLog.push(data);
    this.#eventLogBytes += data.byteLength;
    return null;
  }

  #addToIma(from: number, data: Uint8Array): string | null {
    if (this.#ima === null) {
      const known = this.#eventLogBytes > 0 ? null : (this.#known?.ima ?? null);
      this.#continued = from !== 0;
      if (from !== 0 && from !== known?.position.bytes)
        return `goes on at byte ${from}, and this host has ${known?.position.bytes ?? 0} bytes of it`;
      this.#ima = this.#continued && known !== null ? known : imaStart(this.#judgeEventLog().values);
    }
    const due = this.#ima.position.bytes + this.#restBytes;
    if (from !== due) return `goes on at byte ${from}, where byte ${due} is due`;
    if (from + data.byteLength > limits.imaListBytesMax)
      return `too-large: more than ${limits.imaListBytesMax} bytes`;
    this.#rest.push(data);
    this.#restBytes += data.byteLength;
    if (this.#restBytes < limits.logTailBytesMax + PART_BYTES) return null;
    return this.#replayPart(this.#ima);
  }

  /** All of the rest but its end, which an entry that begins before it does not outrun. */
  #replayPart(from: ImaProgress): string | null {
    const rest = Buffer.concat(this.#rest);
    try {
      const until = rest.byteLength - limits.logTailBytesMax - ENTRY_HEAD_BYTES;
      this.#ima = continueIma(rest, this.#rules, from, until).progress;
    } catch (error) {
      return textOf(error);
    }
    const read = this.#ima.position.bytes - from.position.bytes;
    this.#rest = [rest.subarray(read)];
    this.#restBytes = rest.byteLength - read;
    return null;
  }

  /** The event log that came, or none; once, before the list that begins where it ends. */
  #judgeEventLog(): JudgedEventLog {
    if (this.#judged !== null) return this.#judged;
    const checks = new EvidenceChecks();
    const bytes = Buffer.concat(this.#eventLog);
    this.#eventLog = [];
    const read = checkEventLog(
      bytes.byteLength === 0 ? { policy: this.#policy } : { policy: this.#policy, eventLog: bytes },
      checks,
    );
    if (read !== undefined) judgeBoot(checks, this.#policy.rules?.eventLog, read.log);
    this.#judged = {
      digest: read?.log === undefined ? null : sha256(bytes),
      values: read?.values ?? new Map(),
      checks: checks.noted(['event-log', ...bootChecks]),
    };
    return this.#judged;
  }

  /** Null where there is none that could be used, and the policy has rules about it. */
  #finishEventLog(quote: CheckedQuote, checks: EvidenceChecks): JudgedEventLog | null {
    const fault = this.#faults.get('event-log');
    if (fault !== undefined) {
      checks.note('event-log', false, EVENT_LOG_EXPECTED, fault);
      return null;
    }
    const known = this.#known?.eventLog ?? null;
    if (this.#eventLogBytes === 0 && known !== null) {
      if (!this.#isKnownBoot(quote)) {
        checks.note(
          'event-log',
          false,
          EVENT_LOG_EXPECTED,
          `none, and the one known is of ${this.#knownBoot(quote)}`,
        );
        return null;
      }
      checks.take(known.checks[0] as EvidenceCheck);
      return known;
    }
    const judged = this.#judgeEventLog();
    for (const check of judged.checks.filter(({ name }) => name === 'event-log')) checks.take(check);
    return checks.noted(['event-log'])[0]?.outcome === 'fail' ? null : judged;
  }

  /** Null where nobody asks for a list. */
  #finishIma(quote: CheckedQuote, checks: EvidenceChecks): ReplayedIma | null | 'failed' {
    const fail = (found: string): 'failed' => {
      checks.note('ima-list', false, IMA_EXPECTED, found);
      return 'failed';
    };
    if (this.#policy.rules?.ima === undefined) {
      checks.notAsked('ima-list', 'the policy has no rule about it');
      return null;
    }
    const fault = this.#faults.get('ima-list');
    if (fault !== undefined) return fail(fault);
    const known = this.#eventLogBytes > 0 ? null : (this.#known?.ima ?? null);
    const from = this.#ima ?? known;
    if (from === null) return fail('none, and the policy has rules about it');
    if ((this.#continued || this.#ima === null) && !this.#isKnownBoot(quote))
      return fail(`it goes on from a list of ${this.#knownBoot(quote)}`);
    try {
      const replayed = continueIma(Buffer.concat(this.#rest), this.#rules, from);
      checks.note('ima-list', true, IMA_EXPECTED, `${replayed.entries} entries`);
      return replayed;
    } catch (error) {
      return fail(textOf(error));
    } finally {
      this.#drop();
    }
  }

  #isKnownBoot({ attest }: CheckedQuote): boolean {
    const { resetCount, restartCount } = attest.clock;
    return this.#known?.resetCount === resetCount && this.#known.restartCount === restartCount;
  }

  #knownBoot({ attest }: CheckedQuote): string {
    const { resetCount, restartCount } = attest.clock;
    return `boot ${this.#known?.resetCount ?? 0}.${this.#known?.restartCount ?? 0}, the quote of boot ${resetCount}.${restartCount}`;
  }

  #drop(): void {
    this.#rest = [];
    this.#restBytes = 0;
  }
}

/** The others are about the quote. */
function aboutLogs(checks: EvidenceChecks): readonly EvidenceCheck[] {
  const names: ReadonlySet<string> = new Set([...logChecks, 'pcr-values', 'pcr-state']);
  return checks.finish().filter(({ name }) => names.has(name));
}

/** What a parser said. Anything else is a fault of ours. */
function textOf(error: unknown): string {
  if (error instanceof TvmmpError) return error.message;
  throw error;
}
