/** What an administrator can state of a hand-over without the other host, and what is refused (SPEC 6.9). */
import assert from 'node:assert/strict';
import { migrationMethods } from '../../../lib/agent/migration-methods.ts';
import type { SessionRecord } from '../../../lib/ledger/records.ts';
import { limits } from '../../../lib/limits.ts';
import { resolve } from '../../../lib/migration/resolution.ts';
import type { Outcome } from '../../../lib/migration/situation.ts';
import { decodeEntry, decodeSignedEntry } from '../../../lib/proof/entry.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { Liar } from '../../simulation/liar.ts';
import type { Offered } from '../../simulation/liar.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe('what an administrator states of a hand-over (SPEC 6.9)', () => {
  let stage: Stage;
  let vm: VmTruth;
  stageBeforeEach(async (opened) => {
    stage = opened;
    vm = await stage.vm(stage.alpha);
  });

  const sessionAt = (host: SimulatedHost): SessionRecord => host.journal.sessions(vm.uuid)[0]!;
  const state = (host: SimulatedHost, outcome: Outcome): Promise<SessionRecord> =>
    stage.until(resolve(host.agent!.services, host.agent!.sessions, sessionAt(host), outcome));

  /** The VM runs at alpha, whose hand-over to beta is over for libvirt; beta is not heard any more. */
  async function aborting(): Promise<void> {
    const { sessions } = stage.alpha.agent!;
    const session = await stage.until(sessions.leave(stage.record(stage.alpha, vm), stage.beta.address));
    await stage.until(session.released);
    stage.beta.killAgent();
    session.released.catch(() => undefined);
    session.move = 'over';
    await stage.pass(5_000);
    assert.equal(sessionAt(stage.alpha).state, 'aborting');
  }

  /** The VM has arrived at beta, and alpha is not heard any more. */
  async function arrived(): Promise<void> {
    stage.network.link('beta.test', 'alpha.test', true);
    const moving = stage.virsh(vm, stage.alpha, stage.beta);
    for (let n = 0; n < 2_000 && stage.beta.journal.vm(vm.uuid)?.holder !== 'beta.test'; n += 1) {
      await Promise.resolve();
      if (stage.beta.journal.sessions(vm.uuid)[0]?.state === 'staged') stage.alpha.killAgent();
      await new Promise((resolveNow) => setImmediate(resolveNow));
    }
    await moving;
    assert.equal(sessionAt(stage.beta).state, 'arrived');
  }

  describe('keep', () => {
    it('signs resolved, which names who was not heard, and the VM can go on', async () => {
      await aborting();
      assert.equal((await state(stage.alpha, 'keep')).state, 'resolved');
      const entries = stage.alpha.journal.entries(vm.uuid).map((bytes) => decodeSignedEntry(bytes).entry);
      const last = decodeEntry(entries.at(-1)!);
      assert.equal(last.kind, 'resolved');
      assert.equal(last.peer?.name, 'beta.test');
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('is refused while libvirt has a migration of the VM', async () => {
      await aborting();
      stage.alpha.machine.need(vm.uuid).job = { startedMs: 0, cancelled: false };
      await assert.rejects(state(stage.alpha, 'keep'), /libvirt still works on vm/);
    });

    it('is refused where neither the running VM nor its vTPM state is here', async () => {
      await aborting();
      const domain = stage.alpha.machine.need(vm.uuid);
      domain.running = null;
      stage.alpha.machine.vtpms.delete(vm.uuid);
      await assert.rejects(state(stage.alpha, 'keep'), /there is nothing of vm to keep/);
    });

    it('is refused where the hand-over is over', async () => {
      await stage.virsh(vm, stage.alpha, stage.beta);
      for (const host of [stage.alpha, stage.beta])
        await assert.rejects(state(host, 'keep'), /there is nothing to resolve/);
    });

    it('is not stated where the other host answers when it is asked once more', async () => {
      await aborting();
      stage.beta.startAgent();
      await assert.rejects(
        state(stage.alpha, 'keep'),
        /this migration is aborted: there is nothing to resolve/,
      );
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('is not stated where the migration has gone on since somebody looked', async () => {
      const { sessions } = stage.alpha.agent!;
      const session = await stage.until(sessions.leave(stage.record(stage.alpha, vm), stage.beta.address));
      await stage.until(session.released);
      stage.beta.killAgent();
      assert.equal(sessionAt(stage.alpha).state, 'staged');
      const stated = state(stage.alpha, 'keep');
      session.move = 'over';
      await assert.rejects(stated, /has gone on meanwhile, and is aborting now/);
      assert.equal((await state(stage.alpha, 'keep')).state, 'resolved');
    });

    it('is not stated while another migration of the VM is being made', async () => {
      await aborting();
      const liar = new Liar(stage);
      const { services, sessions } = stage.alpha.agent!;
      const hanging = sessionAt(stage.alpha);
      const stated = resolve(services, sessions, hanging, 'keep');
      stated.catch(() => undefined);
      await stage.pass(limits.resolutionWaitMs - 1_000);
      const making = sessions.leave(stage.record(stage.alpha, vm), stage.gamma.address);
      await liar.accept();
      await assert.rejects(stage.until(stated), /another migration of vm is being made here/);
      assert.equal(stage.alpha.journal.session(hanging.id)?.state, 'aborting');
      await stage.until(making);
    });

    it('destroys nothing where the target says arrived after all, tells both, and lets the VM start nowhere', async () => {
      const liar = new Liar(stage);
      const offered = await abortingWith(liar);
      assert.equal((await state(stage.alpha, 'keep')).state, 'resolved');
      const channel = await liar.connect(stage.alpha);
      await channel.send(liar.arrived(offered));
      await liar.expect(channel, 'refused');
      assert.match(
        sessionAt(stage.alpha).problem,
        /^hand-over-conflict: gamma\.test says that the VM arrived/,
      );
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), true);
      assert.notEqual(stage.record(stage.alpha, vm).sealed, null);
      await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
      await stage.pass(2_000);
      await assert.rejects(stage.until(stage.alpha.machine.start(vm.uuid)), /hand-over-conflict/);
    });

    /** The VM is kept at alpha by a word that its TPM does not sign, and the target says that it has it. */
    async function contradictedBeforeSigned(): Promise<void> {
      const liar = new Liar(stage);
      const offered = await abortingWith(liar);
      await stopAt(stage.alpha);
      stage.alpha.tpm.failing = true;
      assert.equal((await state(stage.alpha, 'keep')).state, 'aborting');
      const forged = await liar.connect(stage.alpha);
      await forged.send(liar.arrived(offered, { session: new Uint8Array(32) }));
      await assert.rejects(stage.until(forged.receive(30_000)), /gone/);
      assert.doesNotMatch(sessionAt(stage.alpha).problem, /^hand-over-conflict: /);
      const channel = await liar.connect(stage.alpha);
      await channel.send(liar.arrived(offered));
      await assert.rejects(stage.until(channel.receive(30_000)), /gone/);
      await stage.pass(2_000);
    }

    it('is contradicted by what the target says before it can be signed, and the VM does not start then', async () => {
      await contradictedBeforeSigned();
      stage.alpha.tpm.failing = false;
      await stage.pass(2_000);
      assert.equal(sessionAt(stage.alpha).state, 'resolved');
      assert.match(sessionAt(stage.alpha).problem, /^hand-over-conflict: gamma\.test says/);
      await assert.rejects(stage.until(stage.alpha.machine.start(vm.uuid)), /hand-over-conflict/);
    });

    it('stands against what the target said before, where it is stated again', async () => {
      await contradictedBeforeSigned();
      assert.equal((await state(stage.alpha, 'keep')).state, 'aborting');
      stage.alpha.tpm.failing = false;
      await stage.pass(2_000);
      assert.deepEqual([sessionAt(stage.alpha).state, sessionAt(stage.alpha).problem], ['resolved', '']);
      await stage.until(stage.alpha.machine.start(vm.uuid));
    });

    it('is believed over an arrival that is not the target’s', async () => {
      const liar = new Liar(stage);
      const offered = await abortingWith(liar);
      await state(stage.alpha, 'keep');
      const channel = await liar.connect(stage.alpha);
      await channel.send(liar.arrived(offered, { session: new Uint8Array(32) }));
      await assert.rejects(stage.until(channel.receive(30_000)), /gone/);
      assert.equal(sessionAt(stage.alpha).problem, '');
    });
  });

  describe('give up', () => {
    it('destroys what is here, durably decided first', async () => {
      await aborting();
      await stopAt(stage.alpha);
      assert.equal((await state(stage.alpha, 'give-up')).state, 'given-up');
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), false);
      const record = stage.record(stage.alpha, vm);
      assert.deepEqual([record.state, record.holder, record.sealed], ['gone', 'beta.test', null]);
    });

    for (const role of ['source', 'target'] as const)
      it(`is over at a ${role} when that is written down, however full the disk was at first`, async () => {
        const host = role === 'source' ? stage.alpha : stage.beta;
        await (role === 'source' ? aborting() : arrived());
        await stopAt(host);
        const { services, sessions } = host.agent!;
        const given = resolve(services, sessions, sessionAt(host), 'give-up');
        for (let n = 0; n < 200_000 && stage.record(host, vm).sealed !== null; n += 1) await stage.pass(0.1);
        host.disk.full = true;
        assert.equal((await stage.until(given)).state, 'giving-up');
        await stage.pass(5_000);
        assert.equal(sessionAt(host).state, 'giving-up');
        host.disk.full = false;
        await stage.pass(5_000);
        assert.equal(sessionAt(host).state, 'given-up');
        assert.deepEqual(host.journal.unfinishedSessions(), []);
      });

    it('is refused while libvirt has the VM active', async () => {
      await aborting();
      await assert.rejects(state(stage.alpha, 'give-up'), /libvirt runs vm on this host; stop it first/);
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), true);
    });

    it('is refused where the VM has moved on since', async () => {
      await aborting();
      await stopAt(stage.alpha);
      const record = stage.record(stage.alpha, vm);
      for (const change of [{ epoch: 5 }, { holder: 'gamma.test' }, { sealed: null }]) {
        stage.alpha.journal.putVm({ ...record, ...change });
        await assert.rejects(state(stage.alpha, 'give-up'), /vm has moved on since/);
      }
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), true);
    });

    it('is refused in a state of the proof in which another entry is still to come', async () => {
      await arrived();
      const domain = stage.beta.machine.need(vm.uuid);
      domain.running = null;
      stage.beta.tpm.failing = true;
      stage.beta.journal.putVm({ ...stage.record(stage.beta, vm), state: 'running' });
      await assert.rejects(state(stage.beta, 'give-up'), /vm is running according to its proof/);
      assert.equal(stage.beta.machine.vtpms.has(vm.uuid), true);
    });

    it('is followed by departed where the VM did arrive, and not where it has come back since', async () => {
      const liar = new Liar(stage);
      const offered = await abortingWith(liar);
      await stopAt(stage.alpha);
      assert.equal((await state(stage.alpha, 'give-up')).state, 'given-up');
      const record = stage.record(stage.alpha, vm);
      stage.alpha.journal.putVm({ ...record, state: 'stopped' });
      const early = await liar.connect(stage.alpha);
      await early.send(liar.arrived(offered));
      await assert.rejects(stage.until(early.receive(30_000)), /gone/);
      stage.alpha.journal.putVm(record);
      const channel = await liar.connect(stage.alpha);
      await channel.send(liar.arrived(offered));
      await liar.expect(channel, 'departed');
    });
  });

  describe('of what came to a target unseen', () => {
    /** The VM is at beta, whose agent was killed before it saw that, and alpha is not heard any more. */
    async function unseen(): Promise<void> {
      const moving = stage.virsh(vm, stage.alpha, stage.beta);
      const incoming = () => stage.beta.machine.domains.get(vm.uuid);
      for (let n = 0; n < 2_000 && incoming()?.running == null; n += 1)
        await new Promise((resolveNow) => setImmediate(resolveNow));
      stage.beta.killAgent();
      await moving;
      stage.alpha.killAgent();
      await stage.until(stage.beta.machine.stop(vm.uuid, 'shutdown'));
      stage.beta.startAgent();
      await stage.pass(2_000);
      assert.equal(sessionAt(stage.beta).state, 'staged');
    }

    it('keep: arrived is signed, and the VM starts', async () => {
      await unseen();
      await state(stage.beta, 'keep');
      assert.equal(stage.record(stage.beta, vm).holder, 'beta.test');
      await stage.until(stage.beta.machine.start(vm.uuid));
      stage.alpha.startAgent();
      await stage.pass(30_000);
      assert.equal(sessionAt(stage.alpha).state, 'departed');
    });

    it('give up: nothing of it is left', async () => {
      await unseen();
      assert.equal((await state(stage.beta, 'give-up')).state, 'aborted');
      assert.equal(stage.record(stage.beta, vm).state, 'gone');
      assert.equal(stage.beta.machine.vtpms.has(vm.uuid), false);
    });

    it('is refused where nothing came', async () => {
      await unseen();
      stage.beta.machine.domains.delete(vm.uuid);
      for (const outcome of ['keep', 'give-up'] as const)
        await assert.rejects(state(stage.beta, outcome), /nothing of vm has come here/);
    });
  });

  it('is not taken by the agent without its risk accepted, nor another outcome than the two', async () => {
    await aborting();
    const { services, sessions } = stage.alpha.agent!;
    const method = migrationMethods(services, sessions)['migration.resolve']!;
    const id = Buffer.from(sessionAt(stage.alpha).id).toString('hex');
    const ask = (params: Record<string, unknown>): Promise<unknown> =>
      stage.until(method({ session: id, ...params }, () => undefined));
    await assert.rejects(ask({ outcome: 'keep' }), /with its risk accepted/);
    await assert.rejects(ask({ outcome: 'keep', accepted: 'true' }), /with its risk accepted/);
    await assert.rejects(ask({ outcome: 'forget', accepted: true }), /an outcome is keep or give-up/);
    assert.equal(sessionAt(stage.alpha).state, 'aborting');
    await ask({ outcome: 'keep', accepted: true });
    assert.equal(sessionAt(stage.alpha).state, 'resolved');
  });

  /** A hand-over to the liar, which is over for libvirt; the liar does not answer. */
  async function abortingWith(liar: Liar): Promise<Offered> {
    stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
    const offered = await liar.offered();
    await stage.pass(40_000);
    assert.equal(sessionAt(stage.alpha).state, 'aborting');
    offered.channel.close();
    await stage.pass(1_000);
    return offered;
  }

  async function stopAt({ machine }: SimulatedHost): Promise<void> {
    await stage.until(machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(1_000);
  }
});
