/** The logs that a peer sends in pieces, as it likes, with its quote (SPEC 6.11). */
import { strict as assert } from 'node:assert';
import { LogEvidence } from '../../../lib/appraisal/log-evidence.ts';
import type { LogFindings } from '../../../lib/appraisal/log-evidence.ts';
import type { CheckedQuote } from '../../../lib/appraisal/evidence-appraisal.ts';
import type { PolicyDraft } from '../../../lib/appraisal/policy-text.ts';
import { quoteOf } from '../../../lib/appraisal/quote.ts';
import { ruleSetOf } from '../../../lib/appraisal/quoted-logs.ts';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { replayEventLog } from '../../../lib/evidence/event-log-replay.ts';
import { parseEventLog } from '../../../lib/evidence/event-log.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import type { LogKind } from '../../../lib/evidence/logs-wanted.ts';
import { SoftwareTpm } from '../../support/software-tpm.ts';
import type { Target } from '../target.ts';
import { vector, vectors } from './vectors.ts';

/** One message of the peer. */
interface Piece {
  readonly log: LogKind;
  readonly from: number;
  readonly data: Uint8Array;
}

/** A byte, of which bits 0 and 1 say which log it is, and whether it says itself where it goes on; 16 bits of length; 32 of where; data. */
const HEAD_BYTES = 7;
const quoted = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const zeros = new Uint8Array(32);
const policy: PolicyDraft = {
  id: 'fuzz',
  version: 1,
  pcrs: [0],
  states: [{ name: 'zeros', pcrs: new Map([[0, zeros]]) }],
  rules: { eventLog: { secureBoot: true }, ima: { files: {}, excluded: ['/usr/**'] } },
};
const set = ruleSetOf(policy.rules?.ima);
const kinds: readonly LogKind[] = ['event-log', 'ima-list'];

/** A genuine quote; what it is of is put in. */
const quote = ((): CheckedQuote => {
  const pcrs = new Map(quoted.map((pcr) => [pcr, zeros]));
  const { attest } = new SoftwareTpm(zeros, pcrs).quote(zeros, [{ bank: 'sha256', pcrs: quoted }]);
  const parsed = quoteOf(attest);
  assert.ok(parsed.type === 'quote');
  return { attest: parsed, hash: 'sha256', pcrs: quoted };
})();

function piecesOf(input: Uint8Array): readonly Piece[] {
  const bytes = Buffer.from(input);
  const pieces: Piece[] = [];
  const sent = new Map<LogKind, number>();
  for (let at = 0; at + HEAD_BYTES < bytes.byteLength;) {
    const [head = 0] = bytes.subarray(at);
    const log: LogKind = (head & 1) === 0 ? 'event-log' : 'ima-list';
    const due = sent.get(log) ?? 0;
    const from = (head & 2) === 0 ? due : bytes.readUInt32BE(at + 3);
    const start = at + HEAD_BYTES;
    const data = input.subarray(start, start + Math.max(1, bytes.readUInt16BE(at + 1)));
    pieces.push({ log, from, data });
    sent.set(log, due + data.byteLength);
    at = start + data.byteLength;
  }
  return pieces;
}

function program(pieces: readonly Piece[]): Uint8Array {
  return Buffer.concat(
    pieces.map(({ log, data }) => {
      const head = Buffer.alloc(HEAD_BYTES, kinds.indexOf(log));
      head.writeUInt16BE(data.byteLength, 1);
      head.writeUInt32BE(0, 3);
      return Buffer.concat([head, data]);
    }),
  );
}

/** Both logs as they are where the peer sends each from its beginning on, the event log first; null where it does not. */
function wholeOf(pieces: readonly Piece[]): Readonly<Record<LogKind, Uint8Array>> | null {
  const parts: Record<LogKind, Uint8Array[]> = { 'event-log': [], 'ima-list': [] };
  const sizeOf = (log: LogKind): number => parts[log].reduce((sum, { byteLength }) => sum + byteLength, 0);
  for (const { log, from, data } of pieces) {
    if (from !== sizeOf(log) || (log === 'event-log' && parts['ima-list'].length > 0)) return null;
    parts[log].push(data);
  }
  return { 'event-log': Buffer.concat(parts['event-log']), 'ima-list': Buffer.concat(parts['ima-list']) };
}

/** A quote of what these logs lead to: whoever sends them can have had his TPM extended so. */
function quoteAfter(logs: Readonly<Record<LogKind, Uint8Array>> | null): CheckedQuote {
  let values: ReadonlyMap<number, Uint8Array> = new Map();
  try {
    const start = replayEventLog(parseEventLog(logs?.['event-log'] ?? zeros));
    const replay = new ImaReplay(logs?.['ima-list'] ?? zeros, ['sha256'], undefined, start);
    replay.finish();
    values = replay.position().pcrs.get('sha256') ?? values;
  } catch (error) {
    if (!(error instanceof TvmmpError)) throw error;
  }
  const pcrDigest = sha256(Buffer.concat(quoted.map((pcr) => values.get(pcr) ?? zeros)));
  return { ...quote, attest: { ...quote.attest, pcrDigest } };
}

function judge(pieces: readonly Piece[], of: CheckedQuote, known: LogFindings['known'] = null): LogFindings {
  const evidence = new LogEvidence(policy, set, known);
  let sent = 0;
  for (const { log, from, data } of pieces) {
    evidence.add(log, from, data);
    sent += data.byteLength;
    assert.ok(evidence.heldBytes <= sent, 'more is held than came');
  }
  return evidence.finish(of, new Map());
}

const logEvidence: Target = {
  name: 'log-evidence',
  about:
    'logs of a peer in pieces: judged as they would be whole, remembered for their boot alone, or refused',
  seeds: () => {
    const eventLog = vector('event-log', 'good.json', 'log');
    return vectors('ima', 'list')
      .filter(({ byteLength }) => byteLength > 100)
      .map((list) => {
        const [half, third] = [list.byteLength >> 1, Math.floor(eventLog.byteLength / 3)];
        return program([
          { log: 'event-log', from: 0, data: eventLog.subarray(0, third) },
          { log: 'event-log', from: 0, data: eventLog.subarray(third) },
          { log: 'ima-list', from: 0, data: list.subarray(0, half) },
          { log: 'ima-list', from: 0, data: list.subarray(half) },
        ]);
      });
  },
  form: 'bytes',
  refusals: ['event-log-invalid'],
  bytesMax: 8192,
  executions: 2000,
  run: (input) => {
    const pieces = piecesOf(input);
    const whole = wholeOf(pieces);
    const of = quoteAfter(whole);
    const found = judge(pieces, of);
    if (whole !== null) {
      const once = kinds.map((log) => ({ log, from: 0, data: whole[log] }));
      const present = once.filter(({ data }) => data.byteLength > 0);
      assert.deepEqual(judge(present, of), found, 'in pieces it is judged otherwise than whole');
    }
    const { known } = found;
    if (known === null) throw new TvmmpError('event-log-invalid', 'nothing that leads to the quote');
    assert.ok(found.checks.some(({ name, outcome }) => name === 'pcr-values' && outcome === 'pass'));
    assert.deepEqual(judge([], of, known).checks, found.checks, 'remembered otherwise than judged');
    const clock = { ...of.attest.clock, resetCount: known.resetCount + 1 };
    const later = judge([], { ...of, attest: { ...of.attest, clock } }, known);
    assert.equal(later.known, null, 'remembered beyond its boot');
  },
};

export const peerLogTargets: readonly Target[] = [logEvidence];
