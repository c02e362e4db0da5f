/**
 * What appraising logs costs, in one thread: a long IMA list parsed, replayed and judged; the next appraisal of a list that has
 * grown; an appraisal without new entries. Rates are by CPU time as well: on a busy machine wall time says little.
 */
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { appraiseEvidence } from '../../lib/appraisal/evidence-appraisal.ts';
import { ImaJudge, ImaRuleSet } from '../../lib/appraisal/ima-rules.ts';
import { ImaReplay } from '../../lib/evidence/ima-replay.ts';
import type { ImaPosition } from '../../lib/evidence/ima-replay.ts';
import { limits } from '../../lib/limits.ts';
import { BootEvidence } from '../../test/support/boot-evidence.ts';
import { imaEntry, longImaList, longListPath } from '../../test/support/ima-builder.ts';
import { median } from './figures.ts';
import { peerLogFigures } from './peer-logs.ts';

const ENTRIES = 100_000;
const NEW_ENTRIES = 10;
const ROUNDS = 7;

const { values } = parseArgs({ options: { json: { type: 'boolean' } } });
const note = (text: string): void => void process.stderr.write(`${text}\n`);

/** Milliseconds of wall and of CPU that something takes. */
function timed<T>(work: () => T): { readonly wallMs: number; readonly cpuMs: number; readonly result: T } {
  const cpu = process.cpuUsage();
  const began = performance.now();
  const result = work();
  const wallMs = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  return { wallMs, cpuMs: (user + system) / 1000, result };
}

/** A rule set that lists every file of a long list, with its digest. */
function rulesFor(list: Uint8Array): ImaRuleSet {
  const files: Record<string, readonly string[]> = {};
  new ImaReplay(list, ['sha256']).finish(({ path, digest }) => {
    files[path] = [digest];
    return false;
  });
  return new ImaRuleSet({ files });
}

/** Replays and judges, as an appraisal does it. */
function judged(
  list: Uint8Array,
  rules: ImaRuleSet,
  from?: ImaPosition,
): { replay: ImaReplay; judge: ImaJudge } {
  const replay = new ImaReplay(list, ['sha256'], from);
  const judge = new ImaJudge(rules);
  replay.finish((entry) => {
    judge.judge(entry);
    return false;
  });
  if (!judge.files().pass) throw new Error(judge.files().found);
  return { replay, judge };
}

/** The longest time for which a list that is read in steps keeps other work waiting, by CPU time of one step. */
function longestStepMs(list: Uint8Array, rules: ImaRuleSet): number {
  const replay = new ImaReplay(list, ['sha256']);
  const judge = new ImaJudge(rules);
  const step = (): boolean =>
    replay.step(limits.imaStepEntries, (entry) => {
      judge.judge(entry);
      return false;
    });
  for (let longest = 0; ;) {
    const { cpuMs, result: more } = timed(step);
    longest = Math.max(longest, cpuMs);
    if (!more) return longest;
  }
}

/** CPU milliseconds for what was appended to a list of `entries` entries since it was appraised. */
function nextAppraisalMs(entries: number): number {
  const list = longImaList(entries);
  const appended = Buffer.concat(
    Array.from({ length: NEW_ENTRIES }, (_, i) =>
      imaEntry({ path: longListPath(entries + i), contents: 'new' }),
    ),
  );
  const whole = Buffer.concat([list, appended]);
  const rules = rulesFor(whole);
  const position = judged(list, rules).replay.position();
  const times = Array.from({ length: 200 }, () => {
    const began = performance.now();
    judged(whole.subarray(position.bytes), rules, position);
    return performance.now() - began;
  });
  return median(times);
}

const list = longImaList(ENTRIES);
const rules = rulesFor(list);
const runs = Array.from({ length: ROUNDS }, () => timed(() => judged(list, rules)));
const cpuMs = median(runs.map((run) => run.cpuMs));
const wallMs = median(runs.map((run) => run.wallMs));
const bestMs = Math.min(...runs.map((run) => run.wallMs));

const boot = new BootEvidence('debian-secure-boot').input();
const { ima, ...withoutList } = boot;
if (ima === undefined) throw new Error('the recording has no IMA list');
const policy = { ...boot.policy, rules: { eventLog: boot.policy.rules?.eventLog ?? {} } };
const quoteMs = median(
  Array.from({ length: 200 }, () => {
    const began = performance.now();
    appraiseEvidence({ ...withoutList, policy });
    return performance.now() - began;
  }),
);
const next = [nextAppraisalMs(1_000), nextAppraisalMs(ENTRIES)] as const;

const betweenHosts = await peerLogFigures(ENTRIES);
const figures = {
  entries: ENTRIES,
  entriesPerCpuSecond: Math.round(ENTRIES / (cpuMs / 1000)),
  entriesPerSecond: Math.round(ENTRIES / (wallMs / 1000)),
  entriesPerSecondBest: Math.round(ENTRIES / (bestMs / 1000)),
  stepEntries: limits.imaStepEntries,
  longestStepMs: Number(longestStepMs(list, rules).toFixed(2)),
  nextAppraisalMs: { after1000: Number(next[0].toFixed(3)), after100000: Number(next[1].toFixed(3)) },
  nextAppraisalRatio: Number((next[1] / next[0]).toFixed(2)),
  withoutNewEntriesMs: Number(quoteMs.toFixed(2)),
  betweenHosts,
};
note(
  `IMA list of ${ENTRIES} entries parsed, replayed (SHA-256) and judged, one thread, median of ${ROUNDS}:`,
);
note(
  `  ${figures.entriesPerCpuSecond} entries a CPU second, ${figures.entriesPerSecond} a second of wall time (best run ${figures.entriesPerSecondBest})`,
);
note(`  longest step of ${limits.imaStepEntries} entries: ${figures.longestStepMs} ms of CPU`);
note(
  `${NEW_ENTRIES} new entries after 1,000 / after ${ENTRIES}: ${figures.nextAppraisalMs.after1000} / ${figures.nextAppraisalMs.after100000} ms, ratio ${figures.nextAppraisalRatio}`,
);
note(
  `quote and event log (47 events) appraised without an IMA list: ${figures.withoutNewEntriesMs} ms, median`,
);
note(
  `a peer's list of ${ENTRIES} entries, in pieces, on the agent's thread for logs: ${betweenHosts.entriesPerCpuSecond} entries a CPU second, ${betweenHosts.entriesPerSecond} a second of wall time; the event loop spends ${betweenHosts.loopPieceMs} ms on a piece, and was held for ${betweenHosts.loopHeldMs} ms at most (a busy machine holds it too)`,
);
note(
  `a peer without new entries after 1,000 / after ${ENTRIES}: ${betweenHosts.withoutNewEntriesMs.after1000} / ${betweenHosts.withoutNewEntriesMs.after100000} ms, median; remembered of it: ${betweenHosts.rememberedBytes} bytes`,
);
if (values.json === true) process.stdout.write(`${JSON.stringify(figures)}\n`);
