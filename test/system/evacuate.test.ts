/** `tvmmp evacuate` on real hosts: empties one, goes on after an interruption, and tells what stays. */
import assert from 'node:assert/strict';
import { withLab } from '../support/product-lab.ts';
import type { Guest, ProductLab } from '../support/product-lab.ts';

interface Report {
  readonly moved: readonly { readonly name: string; readonly to: string; readonly departed: boolean }[];
  readonly failed: readonly {
    readonly name: string;
    readonly attempts: readonly { readonly to: string }[];
  }[];
  readonly stay: readonly { readonly name: string; readonly state: string }[];
}

describe('evacuation of a host', function () {
  this.timeout(300_000);
  let lab: ProductLab;
  let guests: readonly Guest[];

  withLab({}, async (fresh) => {
    lab = fresh;
    const running: Guest[] = [];
    for (const name of ['one', 'two', 'three']) running.push(await lab.guest('alpha', name));
    guests = running;
    await lab.guest('alpha', 'off', { start: false });
  });

  async function allOn(host: string): Promise<void> {
    await lab.settled('alpha', 'beta');
    const empty = host === 'alpha' ? 'beta' : 'alpha';
    for (const guest of guests) {
      const vm = await lab.vm(host, guest);
      assert.deepEqual([vm?.state, vm?.holder], ['running', host], guest.name);
      await lab.ticksOn(host, guest);
      await lab.unbroken(guest);
      await lab.nothingLeft(empty, guest);
    }
  }

  it('says where to is missing, and begins nothing', async () => {
    const result = await lab.exec('alpha', 'tvmmp', 'evacuate');
    assert.equal(result.status, 2);
    assert.match(result.stderr, /say where to: --to HOST/);
  });

  it('leaves all VMs where they are when nobody takes them, and says so', async () => {
    await lab.must('stop-agent', 'beta');
    const result = await lab.exec('alpha', 'tvmmp', 'evacuate', '--to', 'beta', '--json');
    assert.equal(result.status, 3, result.stderr);
    const { moved, failed } = JSON.parse(result.stdout) as Report;
    assert.deepEqual([moved.length, failed.map(({ name }) => name).sort()], [0, ['one', 'three', 'two']]);
    await lab.must('start-agent', 'beta');
    await allOn('alpha');
  });

  it('moves every VM that runs, and tells which one stays', async () => {
    const result = await lab.exec('alpha', 'tvmmp', 'evacuate', '--to', 'beta', '--parallel', '2', '--json');
    assert.equal(result.status, 0, result.stderr);
    const { moved, failed, stay } = JSON.parse(result.stdout) as Report;
    assert.deepEqual(moved.map(({ name, to }) => [name, to]).sort(), [
      ['one', 'beta'],
      ['three', 'beta'],
      ['two', 'beta'],
    ]);
    assert.deepEqual([failed, stay.map(({ name, state }) => [name, state])], [[], [['off', 'stopped']]]);
    await allOn('beta');
  });

  it('goes on with what is left after it was interrupted, to where VMs came from', async () => {
    const [first] = guests;
    assert.ok(first !== undefined);
    const interrupted = lab.exec(
      'beta',
      ...['timeout', '-s', 'INT', '--foreground', '6'],
      ...['tvmmp', 'evacuate', '--parallel', '1', '--bandwidth', '16'],
    );
    const result = await interrupted;
    assert.notEqual(result.status, 0);
    const again = await lab.exec('beta', 'tvmmp', 'evacuate');
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stdout, /VMs have left beta/);
    await allOn('alpha');
    const nothing = await lab.exec('beta', 'tvmmp', 'evacuate');
    assert.equal(nothing.status, 0, nothing.stderr);
    assert.match(nothing.stdout, /0 of 0 VMs have left beta/);
  });
});
