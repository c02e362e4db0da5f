/** What a source looks at before it commits itself (SPEC 6.6), with hosts of the simulation. */
import assert from 'node:assert/strict';
import type { MigrationFlag } from '../../../lib/libvirt/migration-flags.ts';
import type { OutgoingMigration } from '../../../lib/libvirt/migration-job.ts';
import { checkSourceMayLeave } from '../../../lib/migration/source-checks.ts';
import { withFiles } from '../../simulation/altered.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { Liar } from '../../simulation/liar.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';
import { freshSession } from '../../support/proof-world.ts';

describe('what a source looks at before it commits itself (SPEC 6.6)', () => {
  let stage: Stage;
  let vm: VmTruth;
  let job: OutgoingMigration | null;
  stageBeforeEach(
    async (opened) => {
      stage = opened;
      vm = await stage.vm(stage.alpha);
      job = migrationOf(vm.uuid, ['live', 'peer2peer', 'tls']);
    },
    { alpha: withFiles(() => ({ outgoingMigration: () => Promise.resolve(job) })) },
  );

  const check = (opening: 'hook' | 'cli' = 'hook', session = freshSession()): Promise<void> =>
    stage.until(
      checkSourceMayLeave(stage.alpha.agent!.services, stage.record(stage.alpha, vm), session, opening),
    );

  it('lets a running VM go that libvirt migrates under TLS', async () => {
    await check();
  });

  it('refuses a migration without TLS', async () => {
    job = migrationOf(vm.uuid, ['live', 'peer2peer']);
    await assert.rejects(check(), /no-tls: memory would travel in clear/);
  });

  it('refuses post-copy', async () => {
    job = migrationOf(vm.uuid, ['live', 'tls', 'postcopy']);
    await assert.rejects(check(), /post-copy cannot be undone/);
  });

  it('refuses an offline migration', async () => {
    job = migrationOf(vm.uuid, ['live', 'tls', 'offline']);
    await assert.rejects(check(), /an offline migration moves no vTPM/);
  });

  it('refuses an unsafe migration', async () => {
    job = migrationOf(vm.uuid, ['live', 'tls', 'unsafe']);
    await assert.rejects(check(), /--unsafe is not for protected VMs/);
  });

  it('refuses a migration of a kind that nobody knows yet', async () => {
    job = { ...migrationOf(vm.uuid, ['live', 'tls']), unknownFlags: 1 << 30 };
    await assert.rejects(check(), /a kind of migration that tvmmp does not know/);
  });

  it('refuses a target that asks where libvirt migrates nothing, or another VM', async () => {
    for (const other of [null, migrationOf('00000000-0000-4000-8000-000000000000', ['tls'])]) {
      job = other;
      await assert.rejects(check(), /libvirt has no outgoing migration of vm under way/);
    }
    await check('cli');
  });

  it('says no more than that to who asks in vain, and gives nothing of itself away', async () => {
    job = null;
    const liar = new Liar(stage);
    const channel = await liar.connect(stage.alpha);
    const session = freshSession();
    await channel.send(liar.hello('target', session, vm.uuid));
    assert.deepEqual(await liar.expect(channel, 'refused'), { kind: 'refused', session, hint: 'no-job' });
    await assert.rejects(stage.until(channel.receive(60_000)), /gone/);
    assert.match(stage.refusal(stage.alpha), /libvirt has no outgoing migration of vm under way/);
  });

  it('refuses while another session has the VM', async () => {
    const other = freshSession();
    const times = { started: 0, updated: 0 };
    stage.alpha.journal.openSession({
      id: other,
      vm: vm.uuid,
      role: 'source',
      state: 'open',
      peer: 'beta.test',
      address: '',
      ...times,
    });
    await check();
    for (const state of ['offered', 'staged', 'declined', 'aborting', 'destroying', 'giving-up'] as const) {
      stage.alpha.journal.changeSession(other, { state }, 0);
      await assert.rejects(check(), /another migration of vm is under way/, state);
      await check('cli', other);
    }
  });

  it('refuses what it does not hold, or has no key of', async () => {
    const record = stage.record(stage.alpha, vm);
    stage.alpha.journal.putVm({ ...record, holder: 'beta.test' });
    await assert.rejects(check(), /this host is not the holder of vm; beta\.test is/);
    stage.alpha.journal.putVm({ ...record, sealed: null });
    await assert.rejects(check(), /this host is not the holder of vm/);
  });

  it('refuses what neither runs nor is paused by its chain', async () => {
    for (const state of ['stopped', 'saved', 'departing', 'staged', 'gone', 'destroyed'] as const) {
      stage.alpha.journal.putVm({ ...stage.record(stage.alpha, vm), state });
      await assert.rejects(check(), new RegExp(`VM vm is ${state}, only a running or paused VM can leave`));
    }
  });

  it('refuses what libvirt does not run here, whatever the chain says', async () => {
    const { running } = stage.alpha.machine.need(vm.uuid);
    Object.assign(running!, { state: 'paused', reason: 'migration' });
    await assert.rejects(check(), /libvirt does not run VM vm on this host/);
  });
});

function migrationOf(uuid: string, flags: readonly MigrationFlag[]): OutgoingMigration {
  return { uuid, phase: 'begin3', flags: new Set(flags), unknownFlags: 0, startedMs: 0 };
}
