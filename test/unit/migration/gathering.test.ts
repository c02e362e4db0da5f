/** Uses of a slow TPM wait for each other, for a bounded time (SPEC 5.2). */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import { Gathering } from '../../../lib/migration/gathering.ts';
import type { Timers } from '../../../lib/migration/timers.ts';

/** Time that passes when a test says so. */
class HandTimers implements Timers {
  #now = 0;
  #due: { at: number; work: () => void }[] = [];

  elapsed(): number {
    return this.#now;
  }
  sleep(span: number): Promise<void> {
    return new Promise((resolve) => void this.after(span, resolve));
  }
  after(span: number, work: () => void) {
    const entry = { at: this.#now + span, work };
    this.#due.push(entry);
    return { stop: () => void (this.#due = this.#due.filter((one) => one !== entry)) };
  }
  every(): never {
    throw new Error('not used here');
  }
  soon(work: () => void): void {
    this.after(0, work);
  }
  async pass(span: number): Promise<void> {
    this.#now += span;
    const due = this.#due.filter(({ at }) => at <= this.#now);
    this.#due = this.#due.filter(({ at }) => at > this.#now);
    for (const { work } of due) work();
    await settle();
  }
  get waiting(): number {
    return this.#due.length;
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('gathering for a slow TPM', () => {
  const commandMs = 200;
  let timers: HandTimers;
  let gathering: Gathering;
  let gone: string[];
  const [alpha, beta, gamma] = [{}, {}, {}];

  beforeEach(() => {
    timers = new HandTimers();
    gathering = new Gathering(timers, () => commandMs, 2);
    gone = [];
  });

  function join(who: object, name: string): void {
    void gathering.join(who).then(() => gone.push(name));
  }

  it('lets go at once whoever is alone', async () => {
    gathering.expect(alpha);
    join(alpha, 'alpha');
    await settle();
    assert.deepEqual(gone, ['alpha']);
    assert.equal(timers.waiting, 0);
  });

  it('lets go together when the last one is there', async () => {
    for (const who of [alpha, beta, gamma]) gathering.expect(who);
    join(alpha, 'alpha');
    join(beta, 'beta');
    await settle();
    assert.deepEqual(gone, []);
    assert.ok(gathering.pending);
    join(gamma, 'gamma');
    await settle();
    assert.deepEqual(gone, ['alpha', 'beta', 'gamma']);
    assert.ok(!gathering.pending);
  });

  it('does not wait for one that ended', async () => {
    gathering.expect(alpha);
    gathering.expect(beta);
    join(alpha, 'alpha');
    await settle();
    gathering.forget(beta);
    await settle();
    assert.deepEqual(gone, ['alpha']);
  });

  it('waits no longer than its bound for one that does not come, and takes it along later', async () => {
    gathering.expect(alpha);
    gathering.expect(beta);
    join(alpha, 'alpha');
    await timers.pass(limits.gatheringMs - 201);
    assert.deepEqual(gone, []);
    await timers.pass(201);
    assert.deepEqual(gone, ['alpha']);
    assert.ok(gathering.pending);
    join(beta, 'beta');
    await settle();
    assert.deepEqual(gone, ['alpha', 'beta']);
  });

  it('waits for nobody where the TPM is fast', async () => {
    const fast = new Gathering(timers, () => 1, 2);
    fast.expect(alpha);
    fast.expect(beta);
    void fast.join(alpha).then(() => gone.push('alpha'));
    await timers.pass(0);
    assert.deepEqual(gone, ['alpha']);
  });
});
