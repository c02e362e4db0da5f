/** Uses of a slow TPM wait for each other, for a bounded time (SPEC 5.2). */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import { Company } from '../../../lib/migration/company.ts';
import { Gathering } from '../../../lib/migration/gathering.ts';
import { HandTimers, settle } from '../../support/hand-timers.ts';

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

describe('company at a slow TPM', () => {
  const commandMs = 200;
  let timers: HandTimers;
  let gone: string[];
  beforeEach(() => {
    timers = new HandTimers();
    gone = [];
  });
  const join = (company: Company, name: string) => void company.join().then(() => gone.push(name));

  it('lets those go together who come one shortly after the other', async () => {
    const company = new Company(timers, () => commandMs);
    join(company, 'alpha');
    await timers.pass(20);
    join(company, 'beta');
    await timers.pass(20);
    assert.deepEqual(gone, []);
    await timers.pass(5);
    assert.deepEqual(gone, ['alpha', 'beta']);
    assert.equal(timers.waiting, 0);
  });

  it('waits for two commands at most, however many come', async () => {
    const company = new Company(timers, () => commandMs);
    for (let ms = 0; ms < 400; ms += 20) {
      join(company, `${ms}`);
      await timers.pass(20);
      assert.equal(gone.length === 0, ms < 380);
    }
    assert.equal(gone.length, 20);
    join(company, 'later');
    await timers.pass(24);
    assert.equal(gone.length, 20);
    await timers.pass(1);
    assert.equal(gone.length, 21);
  });

  it('waits no longer than its bound where a command takes seconds, and for nobody where the TPM is fast', async () => {
    const slow = new Company(timers, () => 10_000);
    for (let ms = 0; ms < limits.gatheringMs; ms += 25) {
      join(slow, 'slow');
      await timers.pass(25);
      assert.equal(gone.length === 0, ms < limits.gatheringMs - 25);
    }
    join(new Company(timers, () => 1), 'fast');
    await settle();
    assert.equal(gone.at(-1), 'fast');
    assert.equal(timers.waiting, 0);
  });
});
