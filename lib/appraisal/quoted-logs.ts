/** Finds the PCR values that a quote covers: what the logs replay to, and what a policy's states say of the other PCRs. */
import { hash } from 'node:crypto';
import { hex } from '../encoding/hex.ts';
import { ImaReplay } from '../evidence/ima-replay.ts';
import type { ImaPosition } from '../evidence/ima-replay.ts';
import type { PcrValues } from '../evidence/pcr-replay.ts';
import type { CheckedQuote } from './evidence-appraisal.ts';
import { ImaJudge, ImaRuleSet } from './ima-rules.ts';
import type { ImaJudgement } from './ima-rules.ts';
import type { ImaRules } from './log-rules.ts';
import { explainValues } from './pcr-explanation.ts';
import type { DraftState, PolicyDraft } from './policy-text.ts';

const NO_IMA_RULES: ImaRules = { files: {}, excluded: ['**'] };
/** Ways to fill in PCRs that no log speaks of, for which an IMA list that grew after the quote is searched. */
const SEARCHED_MAX = 4;
const BANK = 'sha256';

/** Where an appraisal of an IMA list stands, as plain values: with what was appended to the list it can be continued. */
export interface ImaProgress {
  readonly position: ImaPosition;
  /** PCRs that entries were of. */
  readonly touched: readonly number[];
  readonly judgement: ImaJudgement;
}

/** A replayed IMA list, judged on the way. */
export interface ReplayedIma {
  readonly entries: number;
  readonly values: ReadonlyMap<number, Uint8Array>;
  readonly judge: ImaJudge;
  readonly progress: ImaProgress;
  /** Replays it again up to the first entry after which `accepts` is true; undefined where there is none. */
  readonly search: (
    accepts: (values: ReadonlyMap<number, Uint8Array>) => boolean,
  ) =>
    { readonly covered: number; readonly judge: ImaJudge; readonly progress: () => ImaProgress } | undefined;
}

/** What the quote covers. */
export interface QuotedLogs {
  /** Values of the quoted PCRs; null where nothing that was given leads to the quote (`why`). */
  readonly values: ReadonlyMap<number, Uint8Array> | null;
  readonly why: string;
  /** Name of the approved state that they are in. */
  readonly state: string | null;
  readonly ima: {
    readonly covered: number;
    readonly later: number;
    readonly judge: ImaJudge;
    readonly progress: () => ImaProgress;
  } | null;
  /** What the event log replays to, in all its banks. */
  readonly eventLog: PcrValues;
}

/** Replays and judges an IMA list in the SHA-256 bank, from what the event log left in its PCRs. Throws `ima-list-invalid`. */
export function replayIma(bytes: Uint8Array, rules: ImaRules | undefined, start: PcrValues): ReplayedIma {
  return continueIma(bytes, ruleSetOf(rules), imaStart(start));
}

/** The rules about files, made ready; without rules everything is excluded. */
export function ruleSetOf(rules: ImaRules | undefined): ImaRuleSet {
  return new ImaRuleSet(rules ?? NO_IMA_RULES);
}

/** Before the first entry: what the event log left in the PCRs. */
export function imaStart(start: PcrValues): ImaProgress {
  const pcrs = new Map([[BANK, start.get(BANK) ?? new Map<number, Uint8Array>()]] as const);
  return {
    position: { entries: 0, bytes: 0, pcrs },
    touched: [],
    judgement: new ImaJudge(ruleSetOf(undefined)).judgement(),
  };
}

/**
 * Goes on from where an appraisal stood, with the bytes that follow, up to the first entry that ends at byte `until` of them or later.
 * Throws `ima-list-invalid`.
 */
export function continueIma(
  bytes: Uint8Array,
  set: ImaRuleSet,
  from: ImaProgress,
  until = Infinity,
): ReplayedIma {
  const touched = new Set(from.touched);
  const judge = new ImaJudge(set, from.judgement);
  const replay = new ImaReplay(bytes, [BANK], from.position);
  replay.finish((entry) => {
    touched.add(entry.pcr);
    judge.judge(entry);
    return replay.offset >= until;
  });
  const valuesOf = (one: ImaReplay): ReadonlyMap<number, Uint8Array> =>
    new Map([...touched].map((pcr) => [pcr, one.value(BANK, pcr) ?? new Uint8Array(32)]));
  const progressOf = (one: ImaReplay, by: ImaJudge): ImaProgress => {
    return { position: one.position(), touched: [...touched], judgement: by.judgement() };
  };
  const { entries } = replay.position();
  const search: ReplayedIma['search'] = (accepts) => {
    const again = new ImaJudge(set, from.judgement);
    const second = new ImaReplay(bytes, [BANK], from.position);
    const progress = (): ImaProgress => progressOf(second, again);
    let covered: number | undefined;
    if (accepts(valuesOf(second))) return { covered: from.position.entries, judge: again, progress };
    second.finish((entry, at) => {
      again.judge(entry);
      if (!accepts(valuesOf(at))) return false;
      covered = entry.number + 1;
      return true;
    });
    return covered === undefined ? undefined : { covered, judge: again, progress };
  };
  return { entries, values: valuesOf(replay), judge, progress: progressOf(replay, judge), search };
}

/**
 * Looks for the values that the quote's digest is that of. `guesses`: what the attester says that its PCRs hold, which is as good
 * a guess as a state of the policy.
 */
export function matchQuote(
  quote: Omit<CheckedQuote, 'attest'> & { readonly attest: Pick<CheckedQuote['attest'], 'pcrDigest'> },
  policy: Pick<PolicyDraft, 'pcrs' | 'states'>,
  eventLog: PcrValues,
  ima: ReplayedIma | null,
  guesses: readonly DraftState[] = [],
): QuotedLogs {
  const logged = eventLog.get(BANK) ?? new Map<number, Uint8Array>();
  const matches = (values: ReadonlyMap<number, Uint8Array>): boolean =>
    hash(quote.hash, Buffer.concat(quote.pcrs.map((pcr) => values.get(pcr) ?? initial(pcr))), 'hex') ===
    hex(quote.attest.pcrDigest);
  const bases = basesOf(quote.pcrs, [...guesses, ...policy.states], logged, ima?.values);
  const done = (
    base: ReadonlyMap<number, Uint8Array>,
    found: QuotedLogs['ima'],
    imaValues?: ReadonlyMap<number, Uint8Array>,
  ): QuotedLogs => {
    const all = new Map([...base, ...(imaValues ?? [])]);
    const values = new Map(quote.pcrs.map((pcr) => [pcr, all.get(pcr) ?? initial(pcr)]));
    return { values, why: '', state: stateOf(values, policy), ima: found, eventLog };
  };
  for (const base of bases) {
    if (matches(new Map([...base, ...(ima?.values ?? [])])))
      return done(
        base,
        ima === null
          ? null
          : { covered: ima.entries, later: 0, judge: ima.judge, progress: () => ima.progress },
        ima?.values,
      );
  }
  // The list may have been read after the quote was made: then a part of it, from its beginning, leads to the quote.
  for (const base of ima === null ? [] : bases.slice(0, SEARCHED_MAX)) {
    let values: ReadonlyMap<number, Uint8Array> = new Map();
    const found = ima?.search((at) => {
      values = at;
      return matches(new Map([...base, ...at]));
    });
    if (found !== undefined)
      return done(base, { ...found, later: (ima?.entries ?? 0) - found.covered }, values);
  }
  const told = new Map([...(bases[0] ?? []), ...(ima?.values ?? [])]);
  const shown = new Map(policy.pcrs.map((pcr) => [pcr, told.get(pcr) ?? initial(pcr)]));
  const others = quote.pcrs.filter((pcr) => !shown.has(pcr));
  const why = `other values: what was given leads to ${explainValues(shown, policy.states)}${others.length > 0 ? `, and to its own values in PCRs ${others.join(',')}` : ''}`;
  return { values: null, why, state: null, ima: null, eventLog };
}

/** What the PCRs that no IMA list speaks of may hold: as logged, else as in a state, else as at the beginning. Each way once. */
function basesOf(
  pcrs: readonly number[],
  states: readonly DraftState[],
  logged: ReadonlyMap<number, Uint8Array>,
  imaValues: ReadonlyMap<number, Uint8Array> | undefined,
): readonly ReadonlyMap<number, Uint8Array>[] {
  const open = pcrs.filter((pcr) => !logged.has(pcr) && imaValues?.has(pcr) !== true);
  const bases = new Map<string, ReadonlyMap<number, Uint8Array>>();
  for (const state of [...states, undefined]) {
    const filled = open.map((pcr): [number, Uint8Array] => [pcr, state?.pcrs.get(pcr) ?? initial(pcr)]);
    const key = Buffer.concat(filled.map(([, value]) => value)).toString('hex');
    if (!bases.has(key)) bases.set(key, new Map([...logged, ...filled]));
  }
  return [...bases.values()];
}

function stateOf(
  values: ReadonlyMap<number, Uint8Array>,
  policy: Pick<PolicyDraft, 'pcrs' | 'states'>,
): string | null {
  const state = policy.states.find((one) =>
    policy.pcrs.every(
      (pcr) =>
        Buffer.compare(one.pcrs.get(pcr) ?? new Uint8Array(), values.get(pcr) ?? new Uint8Array(1)) === 0,
    ),
  );
  return state?.name ?? null;
}

/** What a PCR holds that nothing was extended into (PC Client Platform TPM Profile, 5.9): ones for 17 to 22, zeros for others. */
function initial(pcr: number): Uint8Array {
  return new Uint8Array(32).fill(pcr >= 17 && pcr <= 22 ? 0xff : 0);
}
