/** What firmware and kernel have written down, or whoever sends it instead: event logs, IMA lists (SPEC 14); what an authority signs about hosts: revocation lists (SPEC 1.3), recovery statements (15.4). */
import { strict as assert } from 'node:assert';
import { eventLogFindings } from '../../../lib/appraisal/event-log-findings.ts';
import { formatRecovery, parseRecovery } from '../../../lib/appraisal/recovery-text.ts';
import { formatRevocations, parseRevocations } from '../../../lib/appraisal/revocation-text.ts';
import { secureBootOf } from '../../../lib/appraisal/secure-boot.ts';
import { parseEventLog } from '../../../lib/evidence/event-log.ts';
import { replayEventLog } from '../../../lib/evidence/event-log-replay.ts';
import { eventText } from '../../../lib/evidence/event-text.ts';
import { ImaReplay } from '../../../lib/evidence/ima-replay.ts';
import type { Target } from '../target.ts';
import { vectors } from './vectors.ts';

const eventLog: Target = {
  name: 'event-log',
  about: 'a TCG event log: replayed, examined and told line by line, or refused',
  seeds: () => vectors('event-log', 'log'),
  form: 'bytes',
  refusals: ['event-log-invalid'],
  bytesMax: 8192,
  executions: 3000,
  run: (input) => {
    const log = parseEventLog(input);
    replayEventLog(log);
    eventLogFindings(log);
    secureBootOf(log);
    for (const event of log.events) assert.doesNotMatch(eventText(event), /\p{Cc}/u);
  },
};

const ima: Target = {
  name: 'ima-list',
  about: 'an IMA list: its replay in two parts is its replay in one',
  seeds: () => vectors('ima', 'list'),
  form: 'bytes',
  refusals: ['ima-list-invalid'],
  bytesMax: 4096,
  executions: 3000,
  run: (input) => {
    let first: number | undefined;
    const whole = new ImaReplay(input, ['sha256']);
    whole.finish((_, replay) => {
      first ??= replay.position().bytes;
      return false;
    });
    if (first === undefined) return;
    const begin = new ImaReplay(input.subarray(0, first), ['sha256']);
    begin.finish(() => false);
    const rest = new ImaReplay(input.subarray(first), ['sha256'], begin.position());
    rest.finish(() => false);
    assert.deepEqual(rest.position(), whole.position());
  },
};

const revocations: Target = {
  name: 'revocations',
  about: 'the payload of a revocation list: what is accepted is the one spelling of its value (SPEC 1.3)',
  seeds: () => {
    const [issuedAt, since] = [new Date('2026-01-01T00:00:00Z'), new Date('2026-01-02T00:00:00Z')];
    const akName = new Uint8Array(Buffer.from(`000b${'11'.repeat(32)}`, 'hex'));
    const hosts = [{ host: 'beta', akName, since, reason: 'stolen' }];
    return [[], hosts].map((each) => Buffer.from(formatRevocations({ version: 1, issuedAt, hosts: each })));
  },
  form: 'json',
  refusals: ['policy-invalid'],
  bytesMax: 4096,
  executions: 5000,
  run: (input) => {
    const text = Buffer.from(input).toString();
    assert.equal(formatRevocations(parseRevocations(text)), text);
  },
};

const recovery: Target = {
  name: 'recovery-statement',
  about: 'the payload of a recovery statement: what is accepted is the one spelling of its value (SPEC 15.4)',
  seeds: () => {
    const [digest, name] = [new Uint8Array(32).fill(1), Uint8Array.from([0, 11, ...new Uint8Array(32)])];
    const told = {
      ...{ vm: '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77', birth: digest, epoch: 0, head: digest },
      ...{ lost: { name: 'alpha', ak: name }, to: { name: 'beta', ak: name }, receiveKey: name },
      ...{ request: digest, issuedAt: new Date('2026-01-01T00:00:00Z') },
    };
    return [null, digest].map((state) => Buffer.from(formatRecovery({ ...told, state })));
  },
  form: 'json',
  refusals: ['policy-invalid'],
  bytesMax: 4096,
  executions: 5000,
  run: (input) => {
    const text = Buffer.from(input).toString();
    assert.equal(formatRecovery(parseRecovery(text)), text);
  },
};

export const logTargets: readonly Target[] = [eventLog, ima, revocations, recovery];
