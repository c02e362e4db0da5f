/** An administrator takes up a vTPM state (SPEC 8.5): never where that could make a second holder, or another vTPM. */
import assert from 'node:assert/strict';
import { adopt } from '../../../lib/migration/adoption.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe('taking up a vTPM state (SPEC 8.5)', () => {
  let stage: Stage;
  let vm: VmTruth;
  stageBeforeEach(async (opened) => {
    stage = opened;
    vm = await stage.vm(stage.alpha);
  });

  const adoptAt = (host: SimulatedHost): Promise<unknown> =>
    stage.until(adopt(host.agent!.services, stage.record(host, vm)));

  /** The VM is off, and its state is another one than it stopped with. */
  async function changedWhileOff(): Promise<void> {
    await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(2_000);
    stage.alpha.machine.vtpms.get(vm.uuid)!.version = 1_000;
    vm.latest = 1_000;
  }

  it('is said in the proof, and the VM starts with it', async () => {
    await changedWhileOff();
    await assert.rejects(stage.until(stage.alpha.machine.start(vm.uuid)), /vtpm-state-changed/);
    await adoptAt(stage.alpha);
    await stage.until(stage.alpha.machine.start(vm.uuid));
    await assert.rejects(adoptAt(stage.alpha), /libvirt runs vm|is running/);
  });

  it('is refused where there is nothing to take up', async () => {
    await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(2_000);
    await assert.rejects(adoptAt(stage.alpha), /there is nothing to adopt/);
  });

  it('is refused where this host is not the holder, or a migration has it staged', async () => {
    await changedWhileOff();
    const record = stage.record(stage.alpha, vm);
    for (const change of [{ holder: 'beta.test' }, { sealed: null }, { state: 'staged' as const }]) {
      stage.alpha.journal.putVm({ ...record, ...change });
      await assert.rejects(adoptAt(stage.alpha), /what lies here is an old copy; only its holder can adopt/);
    }
  });

  it('is refused while a migration is not over, or in conflict', async () => {
    await changedWhileOff();
    const id = new Uint8Array(32);
    stage.alpha.journal.openSession({
      id,
      vm: vm.uuid,
      role: 'source',
      state: 'open',
      peer: 'beta.test',
      address: '',
      started: 0,
      updated: 0,
    });
    for (const state of ['staged', 'aborting'] as const) {
      stage.alpha.journal.changeSession(id, { state }, 0);
      await assert.rejects(adoptAt(stage.alpha), /a migration of vm is not over/, state);
    }
    stage.alpha.journal.changeSession(id, { state: 'resolved' }, 0);
    stage.alpha.journal.noteProblem(id, 'hand-over-conflict: both have it', 0);
    await assert.rejects(adoptAt(stage.alpha), /a migration of vm is not over/);
  });

  it('is refused while libvirt runs the VM', async () => {
    await changedWhileOff();
    Object.assign(stage.alpha.machine.need(vm.uuid), {
      running: { state: 'paused', reason: 'migration', id: 9, version: 0, incoming: true, metadata: null },
    });
    await assert.rejects(adoptAt(stage.alpha), /libvirt runs vm; shut it down first/);
  });

  it('is refused where what lies there is another vTPM', async () => {
    await changedWhileOff();
    const record = stage.record(stage.alpha, vm);
    stage.alpha.journal.putVm({ ...record, vtpm: Uint8Array.from([0, 11, ...new Uint8Array(32)]) });
    await assert.rejects(adoptAt(stage.alpha), /what lies there is not the vTPM of vm/);
  });
});
