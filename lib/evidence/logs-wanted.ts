/**
 * What a verifier asks of a peer's logs, and how far it has them (SPEC 6.11). What it says of itself costs nobody anything: a peer
 * that is told a lie sends more than it had to.
 */
import { hash, listOf, nullable, numbered, record, uintUpTo } from '../encoding/shape.ts';
import type { Of } from '../encoding/shape.ts';
import { limits } from '../limits.ts';

/** Logs that hosts send each other; on the wire 0 and 1. */
export const logKind = numbered({ 'event-log': 0, 'ima-list': 1 });
export type LogKind = Of<typeof logKind>;

const UINT32_MAX = 0xffffffff;

/** Which boot of the peer's the verifier has logs of, as its quotes say, and how far. */
const logsKnown = record({
  /** TPMS_CLOCK_INFO. */
  resetCount: uintUpTo(UINT32_MAX),
  restartCount: uintUpTo(UINT32_MAX),
  /** SHA-256 of the event log that was appraised. */
  eventLog: nullable(hash),
  /** Bytes of the IMA list that were appraised, from its beginning. */
  imaBytes: uintUpTo(limits.imaListBytesMax),
});
export type LogsKnown = Of<typeof logsKnown>;

/** `wanted` of a hello: there if the verifier's policy has rules about logs. */
export const logsWanted = record({
  /** PCRs of the SHA-256 bank that the quote has to cover, ascending. */
  pcrs: listOf(uintUpTo(23), { min: 1, max: 24 }),
  kinds: listOf(logKind, { min: 1, max: 2 }),
  known: nullable(logsKnown),
});
export type LogsWanted = Of<typeof logsWanted>;
