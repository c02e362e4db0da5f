/** The third lock (SPEC 8.2): where a protected VM starts or is restored, and where it does not. */
import assert from 'node:assert/strict';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe('the start of a protected VM (SPEC 8.2)', () => {
  let stage: Stage;
  let vm: VmTruth;
  stageBeforeEach(async (opened) => {
    stage = opened;
    vm = await stage.vm(stage.alpha);
  });

  const start = (host: SimulatedHost): Promise<void> => stage.until(host.machine.start(vm.uuid));
  const stop = async (host: SimulatedHost): Promise<void> => {
    await stage.until(host.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(2_000);
  };

  /** A copy of what alpha has of the VM, at another host: definition, vTPM state, and the key that it is encrypted with. */
  function copyTo(host: SimulatedHost): void {
    const from = stage.alpha.machine.need(vm.uuid);
    const copy = host.machine.define(vm, from.base);
    copy.metadata = from.metadata;
    const state = stage.alpha.machine.vtpms.get(vm.uuid);
    if (state !== undefined) host.machine.vtpms.set(vm.uuid, { ...state });
  }

  it('is allowed where it is held, again and again', async () => {
    await stop(stage.alpha);
    await start(stage.alpha);
    await stage.pass(2_000);
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
  });

  it('is refused at a host that has never held it', async () => {
    stage.gamma.startAgent();
    await stage.pass(1_000);
    copyTo(stage.gamma);
    await assert.rejects(start(stage.gamma), /protected, and this host has never held it/);
  });

  it('is refused at the old host once the VM has moved', async () => {
    const kept = { ...stage.alpha.machine.vtpms.get(vm.uuid)! };
    await stage.virsh(vm, stage.alpha, stage.beta, false);
    stage.alpha.machine.vtpms.set(vm.uuid, kept);
    await assert.rejects(
      start(stage.alpha),
      /held by beta\.test since epoch 1: what is left here is an old copy/,
    );
  });

  it('is refused while a target has it staged, but for the one start that the permit was for', async () => {
    const { beta } = stage;
    beta.agent!.services.admitted.clear();
    const incoming = { ...stage.record(stage.alpha, vm), state: 'staged' as const };
    beta.journal.putVm(incoming);
    copyTo(beta);
    await assert.rejects(start(beta), /is on its way from alpha\.test/);
  });

  it('is refused while the chain says that it leaves, or has ended', async () => {
    await stop(stage.alpha);
    for (const state of ['departing', 'gone', 'destroyed'] as const) {
      stage.alpha.journal.putVm({ ...stage.record(stage.alpha, vm), state });
      await assert.rejects(start(stage.alpha), new RegExp(`is ${state} according to its proof`), state);
    }
  });

  it('is refused where its hand-over is in conflict', async () => {
    await stage.virsh(vm, stage.alpha, stage.beta);
    await stop(stage.beta);
    const [session] = stage.beta.journal.sessions(vm.uuid);
    stage.beta.journal.noteProblem(session!.id, 'hand-over-conflict: both hosts have it', 0);
    await assert.rejects(start(stage.beta), /hand-over-conflict: another host says that vm arrived there/);
  });

  it('is refused where the host has been told that it is revoked itself, and allowed once that is taken back', async () => {
    await stop(stage.alpha);
    const { alpha, beta } = stage.world;
    stage.alpha.revocations.learn(revocationsOf(stage.world, 1, [beta], 0));
    stage.alpha.revocations.learn(revocationsOf(stage.world, 2, [alpha, beta], 0));
    await assert.rejects(
      start(stage.alpha),
      /host-revoked: the authority has revoked this host \(key-compromise\)/,
    );
    stage.alpha.revocations.learn(revocationsOf(stage.world, 3, [beta], 0));
    await start(stage.alpha);
  });

  it('of an old saved state is refused once the VM has gone on', async () => {
    await stage.until(stage.alpha.machine.save(vm.uuid));
    await stage.pass(2_000);
    await start(stage.alpha);
    await stage.pass(2_000);
    await stop(stage.alpha);
    stage.alpha.machine.need(vm.uuid).savedVersion = 0;
    await assert.rejects(start(stage.alpha), /the last entry of vm is not saved: this is an old saved state/);
  });

  it('is refused with another secret than it was protected with', async () => {
    await stop(stage.alpha);
    const domain = stage.alpha.machine.need(vm.uuid);
    domain.base = domain.base.replace(/secret='[^']+'/, "secret='11111111-2222-4333-8444-555555555555'");
    await assert.rejects(start(stage.alpha), /names another encryption secret than it was protected with/);
  });

  it('is refused where its vTPM state is gone: no new vTPM takes its place', async () => {
    await stop(stage.alpha);
    stage.alpha.machine.vtpms.delete(vm.uuid);
    await assert.rejects(start(stage.alpha), /the vTPM state of vm is gone from this host/);
  });

  it('takes the key out of libvirt as soon as swtpm has started', () => {
    assert.equal(stage.alpha.machine.secrets.size, 0);
  });
});
