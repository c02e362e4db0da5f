/** Migrations whose other host does not come back in time, or says something else: named states, and what an administrator states. */
import assert from 'node:assert/strict';
import { assertRefused, withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

interface Shown {
  readonly id: string;
  readonly state: string;
  readonly waitsFor: string;
  readonly problem: string;
  readonly outcomes: readonly string[];
  readonly steps: readonly { readonly state: string; readonly note: string }[];
  readonly setAside: readonly string[];
}

describe('resolution of a migration without the other host', function () {
  this.timeout(180_000);
  let lab: ProductLab;
  let guest: Guest;

  withLab({}, async (fresh) => {
    lab = fresh;
    guest = await lab.guest('alpha', 'guest');
  });

  async function show(host: string, session: string = guest.name): Promise<Shown> {
    return JSON.parse(await lab.on(host, 'tvmmp', 'migration', 'show', session, '--json')) as Shown;
  }

  /** Waits until the latest migration of the guest is in this state, with a problem like this. */
  function stands(host: string, state: string, problem: RegExp): Promise<Shown> {
    let last: Shown | null = null;
    return lab.eventually(
      `the migration is ${state} on ${host}, because of ${problem.source}`,
      async () => {
        last = await show(host);
        return last.state === state && problem.test(last.problem) ? last : null;
      },
      () => JSON.stringify(last),
    );
  }

  const resolve = (host: string, ...options: readonly string[]) =>
    lab.exec(host, 'tvmmp', 'migration', 'resolve', guest.name, ...options);

  async function resolved(host: string, ...options: readonly string[]): Promise<void> {
    const result = await resolve(host, ...options);
    assert.equal(result.status, 0, result.stderr);
  }

  /** A migration that its user cancels while the destination's agent is dead: alpha cannot know that beta has nothing. */
  async function cancelledWithoutBeta(): Promise<void> {
    const migration = await lab.slowly('alpha', 'beta', guest);
    await lab.killAgent('beta');
    await lab.on('alpha', 'virsh', '-q', 'domjobabort', guest.name);
    assert.notEqual((await migration.ended).status, 0);
  }

  /** The guest is at beta, and nobody has told alpha. */
  async function movedWithoutBeta(options: { readonly undefineSource?: boolean } = {}): Promise<void> {
    const migration = await lab.slowly('alpha', 'beta', guest, options);
    await lab.killAgent('beta');
    const result = await migration.finish();
    assert.equal(result.status, 0, result.stderr);
  }

  async function heldBy(host: string): Promise<void> {
    await lab.settled('alpha', 'beta');
    const empty = host === 'alpha' ? 'beta' : 'alpha';
    assert.equal((await lab.vm(host, guest))?.holder, host);
    assert.equal((await lab.vm(empty, guest))?.state, 'gone');
    await lab.nothingLeft(empty, guest);
    assert.equal((await lab.proof(host, guest)).holder, host);
  }

  it('keeps the VM at the source when the destination is lost: named state, accepted risk, entry in the proof', async () => {
    await cancelledWithoutBeta();
    const stuck = await stands('alpha', 'aborting', /^peer-unreachable: /);
    assert.deepEqual([stuck.waitsFor, stuck.outcomes], ['peer', ['keep', 'give-up']]);
    const status = await lab.agentStatus('alpha');
    assert.deepEqual(
      status.migrations.map(({ state }) => state),
      ['aborting'],
    );
    assert.equal((await resolve('alpha')).status, 2);
    const unaccepted = await resolve('alpha', '--keep-here');
    assert.equal(unaccepted.status, 2);
    assert.match(unaccepted.stderr, /two hosts can run it.*--i-accept-two-copies/);
    const running = await resolve('alpha', '--give-up', '--i-accept-loss');
    assert.equal(running.status, 1);
    assert.match(running.stderr, /stop it first/);
    assert.equal((await show('alpha')).state, 'aborting');
    await resolved('alpha', '--keep-here', '--i-accept-two-copies');
    const { steps } = await show('alpha');
    assert.deepEqual(
      steps.slice(-2).map(({ state, note }) => [state, note]),
      [
        ['aborting', 'an administrator resolves it: keep'],
        ['resolved', ''],
      ],
    );
    await lab.endsWith('alpha', guest, 'departing', 'resolved');
    const { entries } = await lab.proof('alpha', guest);
    assert.equal(entries.at(-1)?.host, 'alpha');
    await lab.unbroken(guest);
    const again = await resolve('alpha', '--keep-here', '--i-accept-two-copies');
    assert.equal(again.status, 1);
    assert.match(again.stderr, /nothing to resolve/);
  });

  it('then lets the VM stop, start and move, and the destination come back with nothing', async () => {
    await lab.halt('alpha', guest);
    await lab.boot('alpha', guest);
    await lab.must('start-agent', 'beta');
    await heldBy('alpha');
    await lab.moved('alpha', 'beta', guest);
    await heldBy('beta');
    await lab.moved('beta', 'alpha', guest);
    await heldBy('alpha');
  });

  it('resolves nothing where the other host answers after all', async () => {
    await cancelledWithoutBeta();
    await stands('alpha', 'aborting', /^peer-unreachable: /);
    await lab.must('start-agent', 'beta');
    const result = await resolve('alpha', '--keep-here', '--i-accept-two-copies');
    assert.equal(result.status, 1);
    assert.match(result.stderr, /there is nothing to resolve/);
    await lab.endsWith('alpha', guest, 'departing', 'aborted');
    await heldBy('alpha');
  });

  it('says what recovery did after a restart', async () => {
    await cancelledWithoutBeta();
    await stands('alpha', 'aborting', /^peer-unreachable: /);
    await lab.killAgent('alpha');
    await lab.must('start-agent', 'alpha');
    await stands('alpha', 'aborting', /^peer-unreachable: /);
    const { steps } = await show('alpha');
    assert.ok(steps.some(({ note }) => note === 'taken up again after a restart of the agent'));
    await lab.must('start-agent', 'beta');
    await heldBy('alpha');
  });

  it('gives the VM up at the source, and signs departed when it is heard that it arrived', async () => {
    await movedWithoutBeta();
    await stands('alpha', 'staged', /^peer-unreachable: /);
    const nothing = await resolve('alpha', '--keep-here', '--i-accept-two-copies');
    assert.equal(nothing.status, 1);
    assert.match(nothing.stderr, /nothing of guest to keep/);
    await resolved('alpha', '--give-up', '--i-accept-loss');
    assert.equal((await show('alpha')).state, 'given-up');
    await lab.nothingLeft('alpha', guest);
    await lab.must('start-agent', 'beta');
    await heldBy('beta');
    assert.equal((await show('alpha')).state, 'departed');
    const { holdings } = await lab.proof('beta', guest);
    assert.notEqual(holdings.at(-2)?.destroyed, null);
    await lab.ticksOn('beta', guest);
    await lab.moved('beta', 'alpha', guest);
    await heldBy('alpha');
  });

  /** Kept at alpha by a mistaken administrator, and running on beta. */
  async function conflict(): Promise<void> {
    await movedWithoutBeta({ undefineSource: false });
    await stands('alpha', 'staged', /^peer-unreachable: /);
    await resolved('alpha', '--keep-here', '--i-accept-two-copies');
    await lab.endsWith('alpha', guest, 'departing', 'resolved', 'stopped');
    await lab.must('start-agent', 'beta');
    await stands('alpha', 'resolved', /^hand-over-conflict: beta says/);
    await stands(
      'beta',
      'arrived',
      /^hand-over-conflict: alpha runs the VM too, or an administrator kept it there/,
    );
    for (const host of ['alpha', 'beta']) assert.equal((await show(host)).waitsFor, 'administrator');
    assertRefused(await lab.exec('alpha', 'virsh', 'start', guest.name), /hand-over-conflict/);
    await lab.ticksOn('beta', guest);
  }

  it('starts no second copy where both hosts have the VM, and ends with the destination', async () => {
    await conflict();
    await resolved('alpha', '--give-up', '--i-accept-loss');
    const { setAside } = await show('alpha');
    assert.equal(setAside.length, 2);
    await heldBy('beta');
    await lab.ticksOn('beta', guest);
    await lab.on('alpha', 'virsh', '-q', 'undefine', guest.name);
    await lab.moved('beta', 'alpha', guest);
    await heldBy('alpha');
  });

  it('or with the source', async () => {
    await conflict();
    const running = await resolve('beta', '--give-up', '--i-accept-loss');
    assert.equal(running.status, 1);
    assert.match(running.stderr, /stop it first/);
    await lab.halt('beta', guest);
    assertRefused(await lab.exec('beta', 'virsh', 'start', guest.name), /hand-over-conflict/);
    await resolved('beta', '--give-up', '--i-accept-loss');
    assert.equal((await show('beta')).setAside.length, 2);
    await resolved('alpha', '--keep-here', '--i-accept-two-copies');
    await heldBy('alpha');
    await lab.boot('alpha', guest);
    await lab.on('beta', 'virsh', '-q', 'undefine', guest.name);
    await lab.moved('alpha', 'beta', guest);
    await heldBy('beta');
  });

  it('takes up a VM that came and stopped unseen, where its source does not say that it left', async () => {
    const migration = await lab.slowly('beta', 'alpha', guest);
    await lab.killAgent('alpha');
    const result = await migration.finish();
    assert.equal(result.status, 0, result.stderr);
    await lab.killAgent('beta');
    await lab.on('alpha', 'virsh', '-q', 'destroy', guest.name);
    await lab.must('start-agent', 'alpha');
    await stands('alpha', 'staged', /^/);
    assertRefused(await lab.exec('alpha', 'virsh', 'start', guest.name), /is on its way from/);
    await resolved('alpha', '--keep-here', '--i-accept-two-copies');
    await lab.boot('alpha', guest);
    await lab.must('start-agent', 'beta');
    await heldBy('alpha');
    await lab.moved('alpha', 'beta', guest);
    await heldBy('beta');
  });

  it('ends the waiting for a source that is lost, and the proof says what is missing', async () => {
    const migration = await lab.slowly('beta', 'alpha', guest);
    await lab.killAgent('beta');
    const result = await migration.finish();
    assert.equal(result.status, 0, result.stderr);
    await stands('alpha', 'arrived', /^peer-unreachable: /);
    await resolved('alpha', '--keep-here');
    assert.equal((await lab.agentStatus('alpha')).migrations.length, 0);
    const { holdings, holder } = await lab.proof('alpha', guest);
    assert.deepEqual([holder, holdings.at(-2)?.destroyed], ['alpha', null]);
    await lab.ticksOn('alpha', guest);
  });
});
