/** Keys in libvirt of which nothing came, or whose agent was killed before it could take them out again (SPEC 8.3). */
import assert from 'node:assert/strict';
import { GivenKeys } from '../../../lib/migration/given-keys.ts';
import { Stage } from '../../simulation/stage.ts';

describe('a key that a killed agent left in libvirt (SPEC 8.3)', () => {
  it('is taken out when the agent starts', async () => {
    const stage = await Stage.open();
    try {
      const vm = await stage.vm(stage.alpha, { started: false });
      const { machine } = stage.alpha;
      const starting = machine.start(vm.uuid);
      for (let n = 0; n < 20_000 && machine.need(vm.uuid).running === null; n += 1) await stage.pass(0.1);
      stage.alpha.killAgent();
      await stage.until(starting);
      await stage.until(machine.stop(vm.uuid, 'shutdown'));
      assert.equal(machine.secrets.size, 1);
      stage.alpha.startAgent();
      await stage.pass(2_000);
      assert.equal(machine.secrets.size, 0);
    } finally {
      stage.close();
    }
  });
});

describe('a key that libvirt was given (SPEC 8.3)', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await Stage.open();
  });
  afterEach(() => {
    stage.close();
  });

  /** libvirtd ends while its hook waits for the TPM; the key comes to the next one. */
  async function leftKey(): Promise<string> {
    const vm = await stage.vm(stage.alpha, { started: false });
    const { machine, tpm } = stage.alpha;
    tpm.delayMs = 1_000;
    const starting = machine.start(vm.uuid);
    starting.catch(() => undefined);
    await stage.pass(500);
    machine.stopLibvirtd();
    machine.startLibvirtd();
    await assert.rejects(stage.until(starting), /libvirtd ended/);
    tpm.delayMs = 10;
    for (let n = 0; n < 200 && stage.alpha.agent!.services.givenKeys.all.length === 0; n += 1)
      await stage.pass(10);
    assert.equal(machine.secrets.size, 1);
    return vm.uuid;
  }

  it('is taken back where libvirt ended while it waited for it', async () => {
    await leftKey();
    await stage.pass(11_000);
    assert.equal(stage.alpha.machine.secrets.size, 0);
  });

  it('is taken back later where libvirt was away when that was due', async () => {
    const uuid = await leftKey();
    const { machine } = stage.alpha;
    const left = [...machine.secrets];
    machine.stopLibvirtd();
    // As if it kept what it has over a restart.
    for (const [id, secret] of left) machine.secrets.set(id, secret);
    await stage.pass(25_000);
    assert.equal(machine.secrets.size, 1);
    machine.startLibvirtd();
    await stage.pass(11_000);
    assert.equal(machine.secrets.size, 0);
    await stage.until(machine.start(uuid));
  });

  it('stays while the VM that it is for is staged, and is still to come', async () => {
    const vm = await stage.vm(stage.alpha);
    const { machine } = stage.beta;
    const xml = stage.alpha.machine.need(vm.uuid).xml();
    stage.alpha.machine.need(vm.uuid).job = { startedMs: stage.kernel.time, cancelled: false };
    const asked = { name: vm.name, operation: 'migrate', subOperation: 'begin', extra: '', xml };
    await stage.until(machine.hookCall(asked, true));
    assert.equal(stage.record(stage.beta, vm).state, 'staged');
    await stage.pass(25_000);
    assert.equal(machine.secrets.size, 1);
    // Nothing comes: the session ends, and the key with it.
    await stage.pass(60_000);
    assert.equal(machine.secrets.size, 0);
  });

  it('stays while libvirt starts the VM', async () => {
    const domain = stage.alpha.machine.need(await leftKey());
    const id = 7;
    domain.running = {
      state: 'paused',
      reason: 'starting-up',
      id,
      version: 0,
      incoming: false,
      metadata: null,
    };
    await stage.pass(25_000);
    assert.equal(stage.alpha.machine.secrets.size, 1);
    domain.running = null;
    await stage.pass(11_000);
    assert.equal(stage.alpha.machine.secrets.size, 0);
  });

  it('stays where the VM was given it again since somebody looked', async () => {
    const keys = new GivenKeys();
    const vm = { uuid: 'vm', secret: 'secret' };
    await keys.give(vm, () => Promise.resolve());
    const [seen] = keys.all;
    let given = (): void => undefined;
    const again = keys.give(vm, () => new Promise<void>((resolve) => void (given = resolve)));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(keys.all, []);
    let taken = 0;
    const count = (): Promise<void> => Promise.resolve(void (taken += 1));
    const stale = keys.takeBack(seen!, count);
    given();
    await Promise.all([again, stale]);
    assert.equal(taken, 0);
    assert.deepEqual(keys.all, [vm]);
    await keys.takeBack(keys.all[0]!, count);
    assert.equal(taken, 1);
    assert.deepEqual(keys.all, []);
  });

  it('is one that may be there, where giving it failed', async () => {
    const keys = new GivenKeys();
    const vm = { uuid: 'vm', secret: 'secret' };
    await assert.rejects(
      keys.give(vm, () => Promise.reject(new Error('libvirt is gone'))),
      /libvirt is gone/,
    );
    assert.deepEqual(keys.all, [vm]);
  });
});
