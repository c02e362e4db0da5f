/** Who ends a guest that libvirt has made run twice, in the simulation. */
import assert from 'node:assert/strict';
import type { VmTruth } from './domain.ts';
import { Doubles } from './doubles.ts';
import { migrate } from './migration.ts';
import { Stage } from './stage.ts';

describe('an administrator who keeps a VM at the source that runs twice', () => {
  let stage: Stage;
  let vm: VmTruth;
  let doubles: Doubles;
  beforeEach(async () => {
    stage = await Stage.open();
    vm = await stage.vm(stage.alpha);
    doubles = new Doubles(stage.kernel, [stage.alpha, stage.beta], (host, session, outcome) =>
      host.resolve(session, outcome),
    );
    stage.network.losesAnswerMs = 30_000;
    const move = migrate(stage.network, stage.alpha.machine, vm.uuid, stage.beta.machine);
    await assert.rejects(stage.until(move), /the connection to the destination is gone/);
    await stage.pass(5_000);
    assert.deepEqual([...vm.doubled], ['alpha.test']);
  });
  afterEach(() => {
    stage.close();
  });

  const claimants = (): readonly string[] =>
    [stage.alpha, stage.beta]
      .filter((host) => stage.record(host, vm).holder === host.name)
      .map((host) => `${host.name} ${stage.record(host, vm).state}`);

  it('finds the conflict named at both hosts, and the destination starts its copy no more once that stopped', async () => {
    await stage.pass(60_000);
    for (const host of [stage.alpha, stage.beta])
      assert.match(host.journal.sessions(vm.uuid)[0]!.problem, /^hand-over-conflict: /);
    await stage.until(stage.beta.machine.stop(vm.uuid, 'shutdown'));
    await assert.rejects(stage.until(stage.beta.machine.start(vm.uuid)), /hand-over-conflict/);
  });

  it('finds the conflict over at both hosts where the copy of the source is stopped', async () => {
    await stage.pass(60_000);
    await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(20_000);
    assert.deepEqual(claimants(), ['beta.test running']);
    for (const host of [stage.alpha, stage.beta])
      assert.equal(host.journal.sessions(vm.uuid)[0]!.problem, '');
  });

  it('leaves one copy, which the source has', async () => {
    await stage.until(doubles.end(vm, 0));
    assert.deepEqual(claimants(), ['alpha.test running']);
    assert.equal(doubles.inHand.has(vm), false);
  });

  it('has it in hand while the word is still to be signed: both hosts are going to say that they have it', async () => {
    stage.alpha.tpm.failing = true;
    await stage.until(doubles.end(vm, 0));
    assert.deepEqual(claimants(), ['alpha.test departing', 'beta.test stopped']);
    assert.equal(doubles.inHand.has(vm), true);
    stage.alpha.tpm.failing = false;
    await stage.pass(30_000);
    assert.deepEqual(claimants(), ['alpha.test stopped', 'beta.test stopped']);
    assert.match(stage.alpha.journal.sessions(vm.uuid)[0]!.problem, /^hand-over-conflict: /);
  });
});
