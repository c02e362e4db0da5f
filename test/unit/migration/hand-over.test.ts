/** What neither side does on the other's word alone, or before its turn (SPEC 6.8, 8.3): shipped agents, one thing amiss at a time. */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import type { DomainSummary, MigrationRequest } from '../../../lib/libvirt/port.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { metadataElement } from '../../../lib/libvirt/metadata.ts';
import { removeKeyAndState } from '../../../lib/migration/destruction.ts';
import type { Message } from '../../../lib/protocol/messages.ts';
import { withFiles, withHypervisor } from '../../simulation/altered.ts';
import { domainXml } from '../../simulation/domain.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { Liar } from '../../simulation/liar.ts';
import type { Attested } from '../../simulation/liar.ts';
import { migrate } from '../../simulation/migration.ts';
import { readMessage } from '../../simulation/network.ts';
import { Stage } from '../../simulation/stage.ts';
import { freshSession } from '../../support/proof-world.ts';

describe('a hand-over in which one thing is amiss (SPEC 6.8)', () => {
  let stage: Stage;
  const open = async (change: Partial<Record<'alpha' | 'beta', (host: Host) => Host>> = {}) => {
    stage = await Stage.open(change);
  };
  afterEach(() => {
    stage.close();
  });

  /** A VM of the liar's, staged at beta. */
  async function stagedAtBeta(liar: Liar): Promise<Attested> {
    const attested = await liar.attested(stage.beta);
    assert.equal((await liar.offer(attested, liar.depart(attested).bytes())).kind, 'staged');
    return attested;
  }

  /** Whether a message comes within a minute. */
  async function silence(work: Promise<Message>): Promise<void> {
    await assert.rejects(stage.until(work), /gone|did not answer in time/);
  }

  describe('at the target', () => {
    it('aborted is not said while what was received could not be thrown away, and is said once it could', async () => {
      let failing = true;
      await open({
        beta: withFiles((files) => ({
          removeVtpmState: (vm) => (failing ? Promise.reject(new Error('EBUSY')) : files.removeVtpmState(vm)),
        })),
      });
      const liar = new Liar(stage);
      const { channel, session, chain } = await stagedAtBeta(liar);
      stage.beta.machine.vtpms.set(chain.vm, { version: 1, key: null });
      await channel.send({ kind: 'abort', session, head: chain.head });
      await silence(channel.receive(60_000));
      for (let n = 0; n < 3; n += 1) {
        const again = await liar.connect(stage.beta);
        await again.send({ kind: 'abort', session, head: chain.head });
        await silence(again.receive(60_000));
      }
      assert.notEqual(stage.beta.journal.permit(chain.vm), null);
      failing = false;
      await stage.pass(5_000);
      assert.equal(stage.beta.machine.vtpms.has(chain.vm), false);
      const later = await liar.connect(stage.beta);
      await later.send({ kind: 'abort', session, head: chain.head });
      await liar.expect(later, 'aborted');
    });

    it('arrived is not signed before what came is on disk, and is once it is', async () => {
      let failing = true;
      await open({
        beta: withFiles((files) => ({
          keepArrived: (vm) => (failing ? Promise.reject(new Error('ENOSPC')) : files.keepArrived(vm)),
        })),
      });
      const vm = await stage.vm(stage.alpha);
      await stage.virsh(vm, stage.alpha, stage.beta);
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), true, 'the source keeps its copy');
      assert.equal(stage.beta.journal.vm(vm.uuid)?.holder, 'alpha.test');
      failing = false;
      await stage.pass(60_000);
      assert.equal(stage.beta.journal.vm(vm.uuid)?.holder, 'beta.test');
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), false);
    });

    it('aborted is not said of what a crash left before that is thrown away', async () => {
      let failing = true;
      await open({
        beta: withFiles((files) => ({
          removeVtpmState: (vm) => (failing ? Promise.reject(new Error('EBUSY')) : files.removeVtpmState(vm)),
        })),
      });
      const liar = new Liar(stage);
      const { session, chain } = await stagedAtBeta(liar);
      stage.beta.killAgent();
      stage.beta.journal.changeSession(session, { state: 'refused' }, 0);
      stage.beta.startAgent();
      await stage.pass(2_000);
      const asked = await liar.connect(stage.beta);
      await asked.send({ kind: 'abort', session, head: chain.head });
      await silence(asked.receive(20_000));
      assert.notEqual(stage.beta.journal.permit(chain.vm), null);
      failing = false;
      const later = await liar.connect(stage.beta);
      await later.send({ kind: 'abort', session, head: chain.head });
      await liar.expect(later, 'aborted');
      assert.equal(stage.beta.journal.permit(chain.vm), null);
    });

    it('its door is shut before libvirt is asked whether the VM came: what is not here then does not come', async () => {
      let looked: () => void = () => undefined;
      let answer: () => void = () => undefined;
      let slow = false;
      await open({
        beta: withHypervisor((hypervisor) => ({
          domain: async (uuid): Promise<DomainSummary> => {
            const seen = hypervisor.domain(uuid);
            if (!slow) return seen;
            slow = false;
            await seen.catch(() => undefined);
            looked();
            await new Promise<void>((resolve) => (answer = resolve));
            return seen;
          },
        })),
      });
      const vm = await stage.vm(stage.alpha);
      const { sessions } = stage.alpha.agent!;
      const session = await stage.until(sessions.leave(stage.record(stage.alpha, vm), stage.beta.address));
      await stage.until(session.released);
      const hook = (operation: string): Promise<void> =>
        stage.beta.machine.hooks!.handler({
          name: 'vm',
          operation,
          subOperation: 'begin',
          extra: '',
          xml: stage.alpha.machine.need(vm.uuid).xml(),
        });
      await stage.until(hook('migrate'));
      slow = true;
      const looking = new Promise<void>((resolve) => (looked = resolve));
      const target = stage.beta.agent!.sessions.stagedFor(vm.uuid)!;
      const lost = target.input({ kind: 'lost' });
      await stage.until(looking);
      const prepared = stage.until(hook('prepare'));
      await assert.rejects(prepared, /is on its way from alpha\.test/);
      answer();
      await stage.until(lost);
      assert.equal(target.state.tag, 'aborted');
      assert.equal(stage.beta.machine.secrets.size, 0);
    });

    it('arrived is not said again over another connection while the source takes its time to answer, and is after half a minute', async () => {
      let takesMs = 10_000;
      await open({
        alpha: withFiles((files) => ({
          removeVtpmState: async (vm) => {
            await stage.kernel.sleep(takesMs);
            await files.removeVtpmState(vm);
          },
        })),
      });
      const said = (): number =>
        stage.network.heard.filter(({ wire }) => readMessage(wire).kind === 'arrived').length;
      const vm = await stage.vm(stage.alpha);
      await stage.virsh(vm, stage.alpha, stage.beta);
      assert.deepEqual([said(), stage.record(stage.alpha, vm).state], [1, 'gone']);
      takesMs = 40_000;
      const other = await stage.vm(stage.alpha);
      await stage.virsh(other, stage.alpha, stage.beta);
      assert.equal(said(), 2);
      await stage.pass(40_000);
      assert.equal(said(), 3);
    });

    it('a VM whose arrival could not be signed at once names this agent as soon as it could', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const moving = migrate(stage.network, stage.alpha.machine, vm.uuid, stage.beta.machine, {
        undefine: true,
      });
      while (stage.beta.journal.permit(vm.uuid)?.consumed == null) await stage.pass(10);
      stage.beta.tpm.failing = true;
      await stage.until(moving);
      // Right after one of the looks at everything, which come every 10 s.
      await stage.pass(12_000 - (stage.kernel.time % 10_000));
      const agentOf = (): string => stage.beta.machine.need(vm.uuid).running?.metadata ?? '';
      assert.match(agentOf(), /alpha\.test:16515/);
      stage.beta.tpm.failing = false;
      await stage.pass(2_000);
      assert.match(agentOf(), /beta\.test:16515/);
    });

    it('a VM that came names this agent as soon as the agent is there again, or libvirt', async () => {
      let failing = true;
      await open({
        beta: withHypervisor((hypervisor) => ({
          setMetadata: (...call) =>
            failing ? Promise.reject(new Error('EPIPE')) : hypervisor.setMetadata(...call),
        })),
      });
      const vm = await stage.vm(stage.alpha);
      await stage.virsh(vm, stage.alpha, stage.beta);
      const agentOf = (): string => stage.beta.machine.need(vm.uuid).running?.metadata ?? '';
      assert.match(agentOf(), /alpha\.test:16515/);
      stage.beta.killAgent();
      failing = false;
      stage.beta.startAgent();
      await stage.pass(2_000);
      assert.match(agentOf(), /beta\.test:16515/);
    });

    it('nothing is thrown away of a VM that libvirt has here', async () => {
      await open();
      const liar = new Liar(stage);
      const { channel, session, chain } = await stagedAtBeta(liar);
      const vm: VmTruth = { uuid: chain.vm, name: 'vm', latest: 0, doubled: new Set() };
      const domain = stage.beta.machine.define(vm, domainXml(vm));
      const waits = { state: 'paused', reason: 'migration', id: 1, version: 0 } as const;
      domain.running = { ...waits, incoming: true, metadata: null };
      stage.beta.machine.vtpms.set(vm.uuid, { version: 0, key: null });
      await channel.send({ kind: 'abort', session, head: chain.head });
      await silence(channel.receive(60_000));
      assert.equal(stage.beta.machine.vtpms.has(vm.uuid), true);
      assert.equal(stage.beta.agent!.sessions.stagedFor(vm.uuid)?.state.tag, 'staged');
    });

    it('nothing is thrown away of a VM that came and stopped unseen, and it has arrived once the source says that it left', async () => {
      await open();
      const liar = new Liar(stage);
      const attested = await stagedAtBeta(liar);
      const { channel, session, chain } = attested;
      const vm: VmTruth = { uuid: chain.vm, name: 'vm', latest: 0, doubled: new Set() };
      stage.beta.machine.define(vm, domainXml(vm)).metadata = metadataElement('gamma.test:16515');
      stage.beta.machine.vtpms.set(vm.uuid, { version: 0, key: null });
      await channel.send({ kind: 'abort', session, head: chain.head });
      await silence(channel.receive(20_000));
      assert.equal(stage.beta.machine.vtpms.has(vm.uuid), true);
      const later = await liar.connect(stage.beta);
      await later.send({ kind: 'query', session, head: chain.head });
      await liar.expect(later, 'arrived');
      assert.equal(stage.record(stage.beta, vm).holder, 'beta.test');
    });

    it('a definition that was here before is told apart from one that came', async () => {
      await open();
      const liar = new Liar(stage);
      const chain = liar.chain();
      const vm: VmTruth = { uuid: chain.vm, name: 'vm', latest: 0, doubled: new Set() };
      stage.beta.machine.define(vm, domainXml(vm)).metadata = metadataElement('gamma.test:16515');
      const attested = await liar.attested(stage.beta, { chain });
      await liar.offer(attested, liar.depart(attested).bytes());
      const own = stage.beta.machine.need(vm.uuid).metadata ?? '';
      assert.match(own, /beta\.test:16515/);
      const later = await liar.connect(stage.beta);
      await later.send({ kind: 'query', session: attested.session, head: chain.head });
      await silence(later.receive(20_000));
      const last = await liar.connect(stage.beta);
      await last.send({ kind: 'abort', session: attested.session, head: chain.head });
      await liar.expect(last, 'aborted');
    });
  });

  describe('at the source', () => {
    it('nothing is destroyed because a target says that the VM arrived while it runs here', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const offered = await liar.offered();
      await offered.channel.send(liar.arrived(offered));
      await liar.expect(offered.channel, 'refused');
      await stage.pass(10_000);
      assert.equal(
        stage.hasLogged(stage.alpha, /the target says that VM \S+ arrived, and libvirt runs it here/),
        true,
      );
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), true);
      assert.notEqual(stage.record(stage.alpha, vm).sealed, null);
      const later = await liar.accept();
      const asked = await liar.expect(later, 'abort');
      await later.send(liar.aborted(asked));
      await stage.pass(2_000);
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('a target whose policy is older than the VM’s proof requires gets nothing', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const { id, version } = stage.world.policy.id;
      const policy = { id, version: version - 1, digest: new Uint8Array(32) };
      const channel = await liar.greeted({ policy });
      await liar.expect(channel, 'refused');
      assert.match(stage.refusal(stage.alpha), /target gamma\.test is not trusted: policy-version: /);
    });

    it('what has changed since the hello is seen before the key leaves', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      await stage.pass(500);
      Object.assign(stage.alpha.machine.need(vm.uuid).running!, { state: 'paused', reason: 'migration' });
      await liar.expect(await liar.greeted(), 'refused');
      assert.match(stage.refusal(stage.alpha), /libvirt does not run VM vm on this host/);
    });

    it('an appraisal that is older than its time releases no key', async () => {
      let late = false;
      await open({
        alpha: withHypervisor((hypervisor) => ({
          domain: (uuid) => {
            if (late) stage.alpha.clockOffMs = 120_000;
            return hypervisor.domain(uuid);
          },
        })),
      });
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const channel = await liar.greeted();
      late = true;
      await silence(channel.receive(30_000));
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
      assert.match(stage.refusal(stage.alpha), /its appraisal has expired/);
    });

    it('a VM that runs on here means nothing before libvirt had its turn', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const { session } = await liar.offered();
      await stage.pass(10_000);
      assert.equal(stage.alpha.journal.session(session)?.state, 'offered');
      await stage.pass(30_000);
      assert.equal(stage.alpha.journal.session(session)?.state, 'aborting');
    });

    it('what is refused over a connection that is gone meanwhile is over, and keeps no place of its peer', async () => {
      await open({
        alpha: withFiles((files) => ({
          outgoingMigration: async (name) => {
            await stage.kernel.sleep(100);
            return files.outgoingMigration(name);
          },
        })),
      });
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      const ask = async () => {
        const channel = await liar.connect(stage.alpha);
        await channel.send(liar.hello('target', freshSession(), vm.uuid));
        return channel;
      };
      for (let n = 0; n < limits.sessionsPerPeerMax; n += 1) (await ask()).close();
      await stage.pass(1_000);
      await liar.expect(await ask(), 'refused');
      assert.equal(stage.hasLogged(stage.alpha, /sessions in the making/), false);
    });

    it('abort is said over another connection where nobody answers over the one that there is', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const { session, channel } = await liar.offered();
      assert.equal((await liar.expect(channel, 'abort')).kind, 'abort');
      const other = await liar.accept();
      assert.deepEqual((await liar.expect(other, 'abort')).session, session);
    });

    it('there is no outcome while libvirt works on the VM', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const leaving = stage.alpha.agent!.sessions.leave(stage.record(stage.alpha, vm), stage.beta.address);
      const session = await stage.until(leaving);
      await stage.until(session.released);
      const domain = stage.alpha.machine.need(vm.uuid);
      domain.job = { startedMs: 0, cancelled: false };
      session.move = 'over';
      await stage.pass(20_000);
      assert.equal(session.state.tag, 'staged');
      domain.job = null;
      await stage.pass(5_000);
      assert.notEqual(session.state.tag, 'staged');
    });

    it('key and state of a VM that libvirt has active are not removed', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const { services } = stage.alpha.agent!;
      const removing = removeKeyAndState(services, stage.record(stage.alpha, vm));
      await assert.rejects(stage.until(removing), /VM vm is active on this host/);
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), true);
    });

    it('the word of the very target, about this very departure, is taken for aborted, and no other', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const offered = await liar.offered();
      const { head } = stage.record(stage.alpha, vm);
      const good = liar.aborted({ session: offered.session, head });
      const other = new Uint8Array(32);
      const { beta } = stage.world;
      for (const word of [
        { ...good, disclaimer: liar.aborted({ session: offered.session, head: other }).disclaimer },
        { ...good, disclaimer: liar.aborted({ session: other, head }).disclaimer },
        { ...good, disclaimer: { ...good.disclaimer, time: good.disclaimer.time + 1 } },
        { ...good, disclaimer: { ...good.disclaimer, host: beta.id }, certificates: [beta.certificate] },
      ]) {
        const channel = await liar.connect(stage.alpha);
        await channel.send(word);
        await silence(channel.receive(1_000));
        assert.equal(stage.record(stage.alpha, vm).state, 'departing');
        assert.equal(stage.alpha.journal.session(offered.session)?.state, 'offered');
      }
      const channel = await liar.connect(stage.alpha);
      await channel.send(good);
      await stage.pass(2_000);
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    });

    it('key and vTPM state are destroyed once the VM has arrived, and the proof says so', async () => {
      await open();
      const vm = await stage.vm(stage.alpha);
      await stage.virsh(vm, stage.alpha, stage.beta);
      assert.equal(stage.alpha.machine.vtpms.has(vm.uuid), false);
      assert.equal(stage.alpha.machine.secrets.size, 0);
      assert.equal(stage.record(stage.alpha, vm).sealed, null);
      assert.equal(stage.beta.journal.departures(vm.uuid).length, 1);
    });

    for (const [what, left] of [
      ['vTPM state', 'files'],
      ['a secret', 'hypervisor'],
    ] as const) {
      it(`departed is not signed while ${what} is still there`, async () => {
        let still = true;
        await open({
          alpha: (host) => ({
            ...host,
            files: {
              ...host.files,
              hasVtpmState: (vm) =>
                still && left === 'files' ? Promise.resolve(true) : host.files.hasVtpmState(vm),
            },
            hypervisor: {
              ...host.hypervisor,
              secretExists: (uuid) =>
                still && left === 'hypervisor' ? Promise.resolve(true) : host.hypervisor.secretExists(uuid),
            },
          }),
        });
        const vm = await stage.vm(stage.alpha);
        await stage.virsh(vm, stage.alpha, stage.beta);
        assert.equal(stage.alpha.journal.sessions(vm.uuid)[0]?.state, 'destroying');
        assert.equal(stage.beta.journal.departures(vm.uuid).length, 0);
        still = false;
        await stage.pass(20_000);
        assert.equal(stage.beta.journal.departures(vm.uuid).length, 1);
      });
    }

    it('arrived that is said again before departed was heard is no breach of the protocol, and departed answers it', async () => {
      let destroyed: () => void = () => undefined;
      let slow = true;
      await open({
        alpha: withFiles((files) => ({
          hasVtpmState: async (vm) => {
            if (slow) await new Promise<void>((resolve) => (destroyed = resolve));
            slow = false;
            return files.hasVtpmState(vm);
          },
        })),
      });
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const offered = await liar.offered();
      const arrived = liar.arrived(offered);
      stage.alpha.machine.domains.delete(vm.uuid);
      await offered.channel.send(arrived);
      await stage.pass(5_000);
      assert.equal(stage.alpha.journal.session(offered.session)?.state, 'destroying');
      const later = await liar.connect(stage.alpha);
      await later.send(arrived);
      await stage.pass(1_000);
      destroyed();
      await liar.expect(later, 'departed');
      await stage.pass(10_000);
      const last = await liar.connect(stage.alpha);
      await last.send(arrived);
      await liar.expect(last, 'departed');
      assert.equal(stage.alpha.journal.departures(vm.uuid).length, 1);
      assert.equal(stage.hasLogged(stage.alpha, /broke the protocol/), false);
    });

    it('the attested host alone is named to QEMU, and memory travels under TLS', async () => {
      const calls: MigrationRequest[] = [];
      await open({
        alpha: withHypervisor((hypervisor) => ({
          migrate: (uuid, options) => {
            calls.push(options);
            return hypervisor.migrate(uuid, options);
          },
        })),
      });
      const vm = await stage.vm(stage.alpha);
      await stage.until(stage.alpha.depart(vm.uuid, stage.beta));
      const [call] = calls;
      assert.equal(call?.params?.tlsDestination, 'beta.test');
      for (const flag of ['tls', 'peer2peer', 'undefineSource', 'abortOnError', 'live'] as const)
        assert.ok(call.flags.includes(flag), flag);
    });

    it('a look at libvirt from before tvmmp migrate let it go says nothing about the migration', async () => {
      let looks = 0;
      let slow = false;
      let answer: () => void = () => undefined;
      await open({
        alpha: withHypervisor((hypervisor) => ({
          jobInfo: async (uuid) => {
            const seen = await hypervisor.jobInfo(uuid);
            if (!slow) return seen;
            looks += 1;
            slow = false;
            await new Promise<void>((resolve) => (answer = resolve));
            return seen;
          },
          migrate: () => new Promise(() => undefined),
        })),
      });
      const vm = await stage.vm(stage.alpha);
      const liar = new Liar(stage);
      stage.alpha.depart(vm.uuid, stage.gamma).catch(() => undefined);
      const offered = await liar.offered();
      // Not a word of the target for as long as an offer may wait: the source begins to look.
      await stage.pass(29_000);
      slow = true;
      for (let waited = 0; looks === 0 && waited < 100; waited += 1) await stage.pass(50);
      await offered.channel.send(liar.staged(offered));
      const { journal } = stage.alpha;
      await stage.pass(20);
      assert.equal(journal.session(offered.session)?.state, 'staged');
      answer();
      await stage.pass(400);
      assert.equal(journal.session(offered.session)?.state, 'staged');
    });

    it('what has to be said again is said to the attested host alone, whoever answers at its address', async () => {
      let elsewhere = false;
      await open({
        alpha: (host) => ({
          ...host,
          connect: (address) => host.connect(elsewhere ? stage.gamma.address : address),
        }),
      });
      const vm = await stage.vm(stage.alpha);
      const session = await stage.until(
        stage.alpha.agent!.sessions.leave(stage.record(stage.alpha, vm), stage.beta.address),
      );
      await stage.until(session.released);
      const liar = new Liar(stage);
      elsewhere = true;
      stage.beta.killAgent();
      session.move = 'over';
      await stage.pass(1_000);
      const channel = await liar.accept();
      await silence(channel.receive(10_000));
      assert.equal(stage.hasLogged(stage.alpha, /beta\.test:16515 is gamma\.test, not beta\.test/), true);
    });
  });

  it('ends with nothing else changed where nothing is amiss', async () => {
    await open();
    const vm = await stage.vm(stage.alpha);
    await stage.until(stage.alpha.depart(vm.uuid, stage.beta));
    await stage.pass(5_000);
    assert.equal(stage.record(stage.beta, vm).state, 'running');
    assert.equal(stage.record(stage.alpha, vm).state, 'gone');
  });
});
