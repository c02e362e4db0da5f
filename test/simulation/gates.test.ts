import assert from 'node:assert/strict';
import { resolve } from '../../lib/migration/resolution.ts';
import { migrate } from './migration.ts';
import { Stage } from './stage.ts';

describe('gates of a host that a VM comes to', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await Stage.open();
    stage.gamma.boot('base');
    stage.gamma.startAgent();
    await stage.pass(1_000);
  });
  afterEach(() => {
    stage.close();
  });

  /** Small steps, ten minutes at most. */
  const come = async (so: () => boolean): Promise<void> => {
    for (let step = 0; !so(); step += 1) {
      assert.ok(step < 100_000, 'it did not come about');
      await stage.pass(0.1);
    }
  };

  it('do not let an old definition start with the permit of the VM that comes', async () => {
    const { alpha, beta, network } = stage;
    const vm = await stage.vm(alpha);
    await stage.virsh(vm, alpha, beta);
    await stage.virsh(vm, beta, alpha, false);
    const move = migrate(network, alpha.machine, vm.uuid, beta.machine);
    await come(() => beta.agent?.services.admitted.has(vm.uuid) === true);
    const left = beta.machine.domains.get(vm.uuid);
    const { hooks } = beta.machine;
    assert.ok(left !== undefined && hooks !== null);
    const start = { name: 'vm', operation: 'prepare', subOperation: 'begin', extra: '', xml: left.xml() };
    const started = hooks.handler(start).then(() => 'started', String);
    await stage.until(move);
    assert.match(await started, /is on its way from .*; it starts when it arrives/);
    assert.equal(left.runs, true);
  });

  for (const from of ['its source', 'elsewhere']) {
    it(`do not use the permit of a move that its source took back, when the VM comes from ${from}`, async () => {
      const { alpha, beta, gamma, network } = stage;
      const vm = await stage.vm(alpha);
      alpha.depart(vm.uuid, beta).catch(() => undefined);
      await come(() => beta.agent?.sessions.stagedFor(vm.uuid) != null);
      beta.machine.powerOff();
      beta.agent = null;
      const [session] = alpha.journal.unfinishedSessions('source');
      assert.equal(session?.state, 'offered');
      await stage.pass(5_000);
      const { agent } = alpha;
      assert.ok(agent !== null);
      await stage.until(resolve(agent.services, agent.sessions, session, 'keep'));
      const comes = from === 'elsewhere' ? gamma : alpha;
      if (comes === gamma) await stage.virsh(vm, alpha, gamma);
      beta.machine.powerOn();
      beta.startAgent();
      await stage.pass(1_000);
      assert.notEqual(beta.journal.permit(vm.uuid), null, 'the permit is still good');
      await stage.until(migrate(network, comes.machine, vm.uuid, beta.machine));
      await stage.pass(20_000);
      const { epoch, holder } = stage.record(beta, vm);
      assert.deepEqual([epoch, holder], [comes === gamma ? 2 : 1, beta.name]);
      const departed = [alpha, gamma].flatMap(({ journal }) => journal.departures(vm.uuid)).length;
      assert.ok(
        departed >= epoch,
        'each hand-over was in a session of its own, and its source has signed departed',
      );
    });
  }

  it('open no key where the host has booted something else since it attested itself', async () => {
    const { alpha, beta, network } = stage;
    const vm = await stage.vm(alpha);
    // It has opened a key before, and knows what its approved state is.
    await stage.virsh(vm, alpha, beta);
    await stage.virsh(vm, beta, alpha);
    const move = migrate(network, alpha.machine, vm.uuid, beta.machine);
    await come(() => beta.journal.vm(vm.uuid)?.state === 'staged');
    beta.boot('another');
    await assert.rejects(stage.until(move), /pcr-state: beta\.test is in no approved state/);
    await stage.pass(5_000);
    assert.equal(beta.machine.secrets.size, 0);
    // It cannot say in that state that it will not run the VM, which is held at its source until it can.
    assert.equal(stage.record(alpha, vm).state, 'departing');
    beta.boot('base');
    await stage.pass(30_000);
    assert.equal(stage.record(alpha, vm).state, 'running');
    assert.equal(stage.record(beta, vm).sealed, null);
  });
});
