import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { ResilientSubscription, hypervisorEventOf } from '../../../lib/libvirt/events.ts';
import { domainEventOf, domainStateOf } from '../../../lib/libvirt/words.ts';
import type { HypervisorEvent } from '../../../lib/libvirt/port.ts';
import type { NativeLibvirtEvent } from '../../../lib/native/libvirt.ts';

type Emit = (event: NativeLibvirtEvent) => void;

/** A source of events that the test plays by hand: one entry for each subscription made. */
function playedSource(): {
  readonly made: { readonly emit: Emit; closed: number }[];
  readonly source: Parameters<typeof ResilientSubscription.open>[0];
} {
  const made: { emit: Emit; closed: number }[] = [];
  const source = {
    subscribe: (_uri: string, emit: Emit) => {
      const one = { emit, closed: 0 };
      made.push(one);
      return {
        close: () => {
          one.closed += 1;
          return Promise.resolve();
        },
      };
    },
  };
  return { made, source };
}

const uuid = '6F2A4C1E-0000-4000-8000-00000000ABCD';
const resumed: NativeLibvirtEvent = { kind: 'lifecycle', uuid, name: 'vm', event: 4, detail: 1 };

describe('events of libvirt', () => {
  it('come in words, with the UUID in lower case', () => {
    assert.deepEqual(hypervisorEventOf(resumed), {
      kind: 'lifecycle',
      uuid: uuid.toLowerCase(),
      name: 'vm',
      event: 'resumed',
      detail: 'migrated',
    });
  });

  it('carry the statistics of a job that ended', () => {
    const params = { operation: 5, time_elapsed: 1234n, downtime: 69n, data_total: 10n, success: true };
    const event = hypervisorEventOf({ kind: 'job-completed', uuid, name: 'vm', params });
    assert.ok(event.kind === 'job-completed');
    const { type, operation, timeElapsedMs, downtimeMs, success, errorMessage } = event.job;
    assert.deepEqual(
      { type, operation, timeElapsedMs, downtimeMs, success, errorMessage },
      {
        type: 'completed',
        operation: 'migration-out',
        timeElapsedMs: 1234,
        downtimeMs: 69,
        success: true,
        errorMessage: null,
      },
    );
    const failed = { operation: 5, success: false, errmsg: 'broken' };
    const failure = hypervisorEventOf({ kind: 'job-completed', uuid, name: 'vm', params: failed });
    assert.ok(failure.kind === 'job-completed');
    assert.deepEqual([failure.job.type, failure.job.errorMessage], ['failed', 'broken']);
  });

  it('have words for what TVMMP acts on, and unknown for what is newer', () => {
    assert.deepEqual(domainEventOf(2, 1), { event: 'started', detail: 'migrated' });
    assert.deepEqual(domainEventOf(5, 3), { event: 'stopped', detail: 'migrated' });
    assert.deepEqual(domainEventOf(5, 5), { event: 'stopped', detail: 'failed' });
    assert.deepEqual(domainEventOf(5, 99), { event: 'stopped', detail: 'unknown' });
    assert.deepEqual(domainEventOf(99, 0), { event: 'unknown', detail: 'unknown' });
    assert.deepEqual(domainStateOf(1, 2), { state: 'running', reason: 'migrated' });
    assert.deepEqual(domainStateOf(3, 2), { state: 'paused', reason: 'migration' });
    assert.deepEqual(domainStateOf(5, 4), { state: 'shutoff', reason: 'migrated' });
    assert.deepEqual(domainStateOf(42, 0), { state: 'unknown', reason: 'unknown' });
    assert.deepEqual(domainStateOf(1, 42), { state: 'running', reason: 'unknown' });
  });
});

describe('a subscription to events', () => {
  it('is refused when the daemon cannot be reached, and leaves nothing open', async () => {
    const { made, source } = playedSource();
    const opening = ResilientSubscription.open(source, 'x:///', () => undefined);
    made[0]!.emit({ kind: 'closed', reason: 'open-failed', message: 'no such socket', libvirtCode: 38 });
    await assert.rejects(opening, { code: 'libvirt-connection-lost' });
    assert.equal(made[0]!.closed, 1);
  });

  it('is made again after each loss, says so, and passes events in order', async () => {
    const { made, source } = playedSource();
    const seen: HypervisorEvent[] = [];
    const opening = ResilientSubscription.open(source, 'x:///', (event) => seen.push(event), [1]);
    made[0]!.emit({ kind: 'connected' });
    const subscription = await opening;
    made[0]!.emit(resumed);
    made[0]!.emit({ kind: 'closed', reason: 'eof' });
    while (made.length < 2) await delay(1);
    made[1]!.emit({ kind: 'closed', reason: 'open-failed' });
    while (made.length < 3) await delay(1);
    made[2]!.emit({ kind: 'connected' });
    while (seen.length < 3) await delay(1);
    made[2]!.emit(resumed);
    assert.deepEqual(
      seen.map(({ kind }) => kind),
      ['lifecycle', 'disconnected', 'reconnected', 'lifecycle'],
    );
    assert.deepEqual(
      made.map(({ closed }) => closed),
      [1, 1, 0],
    );
    await subscription.close();
    assert.equal(made[2]!.closed, 1);
  });

  it('says nothing and tries nothing after close', async () => {
    const { made, source } = playedSource();
    const seen: HypervisorEvent[] = [];
    const opening = ResilientSubscription.open(source, 'x:///', (event) => seen.push(event), [1]);
    made[0]!.emit({ kind: 'connected' });
    const subscription = await opening;
    await subscription.close();
    await subscription.close();
    made[0]!.emit(resumed);
    made[0]!.emit({ kind: 'closed', reason: 'client' });
    await delay(20);
    assert.deepEqual(seen, []);
    assert.equal(made.length, 1);
    assert.equal(made[0]!.closed, 1);
  });

  it('stops trying when it is closed while the daemon is away', async () => {
    const { made, source } = playedSource();
    const opening = ResilientSubscription.open(source, 'x:///', () => undefined, [20]);
    made[0]!.emit({ kind: 'connected' });
    const subscription = await opening;
    made[0]!.emit({ kind: 'closed', reason: 'eof' });
    await subscription.close();
    await delay(60);
    assert.equal(made.length, 1);
  });
});
