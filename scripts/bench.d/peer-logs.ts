/** What the logs of a peer cost the agent (SPEC 6.11): a first long list through the thread, and appraisals without new entries. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { serialize } from 'node:v8';
import type { KnownLogs, LogFindings } from '../../lib/appraisal/log-evidence.ts';
import type { QuoteToMatch } from '../../lib/appraisal/log-table.ts';
import { LogThread } from '../../lib/appraisal/log-thread.ts';
import { ImaReplay } from '../../lib/evidence/ima-replay.ts';
import { limits } from '../../lib/limits.ts';
import { imaEntry, longImaList } from '../../test/support/ima-builder.ts';
import { makeWorld } from '../../test/support/proof-world.ts';
import { median } from './figures.ts';

const PCRS = [0, 10];
const ROUNDS = 200;
const RESOLUTION_MS = 1;

/** Milliseconds and bytes, by the real clock. */
export interface PeerLogFigures {
  readonly entriesPerSecond: number;
  /** By the CPU time of the whole process: on a busy machine wall time says little. */
  readonly entriesPerCpuSecond: number;
  /** What the event loop does for one piece of 256 KiB, median. */
  readonly loopPieceMs: number;
  /** The longest time for which the event loop was kept from other work meanwhile. */
  readonly loopHeldMs: number;
  readonly rememberedBytes: number;
  readonly withoutNewEntriesMs: { readonly after1000: number; readonly after100000: number };
}

/** Sends a list of so many entries through the thread in the pieces that travel between hosts. */
export async function peerLogFigures(entries: number): Promise<PeerLogFigures> {
  const world = await makeWorld();
  const states = [{ name: 'zeros', pcrs: new Map([[0, new Uint8Array(32)]]) }];
  const rules = { ima: { files: {}, excluded: ['/usr/lib/**'] } };
  const envelope = world.signPolicy({ pcrs: [0], states, rules }).text;
  const thread = new LogThread();
  let id = 0;
  let pieces: number[] = [];
  const quoteOf = (list: Uint8Array): QuoteToMatch => {
    const replay = new ImaReplay(list, ['sha256']);
    replay.finish();
    const { tpm } = world.beta;
    tpm.pcrs = new Map([[10, replay.value('sha256', 10) ?? new Uint8Array(32)]]);
    const { attest } = tpm.quote(new Uint8Array(32), [{ bank: 'sha256', pcrs: PCRS }]);
    return { attest, hash: 'sha256', told: new Map() };
  };
  const appraise = async (
    list: Uint8Array,
    quote: QuoteToMatch,
    known: KnownLogs | null,
  ): Promise<KnownLogs> => {
    id += 1;
    await thread.open(id, envelope, known);
    const begin = known?.ima?.position.bytes ?? 0;
    for (let at = begin; at < list.byteLength; at += limits.logPieceBytesMax) {
      const piece = list.subarray(at, at + limits.logPieceBytesMax);
      const began = performance.now();
      const added = thread.add(id, 'ima-list', at, piece);
      pieces.push(performance.now() - began);
      await added;
    }
    return accepted(await thread.finish(id, quote));
  };
  const listOf = (count: number): Uint8Array =>
    Buffer.concat([imaEntry({ path: 'boot_aggregate', contents: '' }), longImaList(count - 1)]);
  const again = async (list: Uint8Array): Promise<{ ms: number; known: KnownLogs }> => {
    const quote = quoteOf(list);
    const known = await appraise(list, quote, null);
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const began = performance.now();
      await appraise(list, quote, known);
      times.push(performance.now() - began);
    }
    return { ms: Number(median(times).toFixed(3)), known };
  };
  try {
    const small = await again(listOf(1_000));
    const list = listOf(entries);
    const quote = quoteOf(list);
    const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    delay.enable();
    pieces = [];
    const cpu = process.cpuUsage();
    const began = performance.now();
    await appraise(list, quote, null);
    const tookMs = performance.now() - began;
    const { user, system } = process.cpuUsage(cpu);
    delay.disable();
    const loopPieceMs = Number(median(pieces).toFixed(3));
    const long = await again(list);
    return {
      entriesPerSecond: Math.round(entries / (tookMs / 1000)),
      entriesPerCpuSecond: Math.round(entries / ((user + system) / 1e6)),
      loopPieceMs,
      loopHeldMs: Number(Math.max(0, delay.max / 1e6 - RESOLUTION_MS).toFixed(2)),
      rememberedBytes: serialize(long.known).byteLength,
      withoutNewEntriesMs: { after1000: small.ms, after100000: long.ms },
    };
  } finally {
    await thread.close();
  }
}

function accepted(findings: LogFindings | null): KnownLogs {
  const failed = findings?.checks.find(({ outcome }) => outcome === 'fail');
  if (findings?.known == null || failed !== undefined)
    throw new Error(`the list was not accepted: ${failed?.found ?? 'no findings'}`);
  return findings.known;
}
