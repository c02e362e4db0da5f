/** A host whose disk was put back to an earlier day (SPEC 8.8): what it does not do any more, and how it comes out of that. Shipped agents. */
import assert from 'node:assert/strict';
import { TvmmpError } from '../../../lib/errors.ts';
import { adopt } from '../../../lib/migration/adoption.ts';
import { Attestations } from '../../../lib/migration/attestation.ts';
import { unprotect } from '../../../lib/migration/protection.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { decodeEntry, decodeSignedEntry } from '../../../lib/proof/entry.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { Liar } from '../../simulation/liar.ts';
import { Stage } from '../../simulation/stage.ts';

const refused = /journal-rolled-back: the disk of this host was put back to an earlier state/;

describe('a host whose disk was put back (SPEC 8.8)', () => {
  let stage: Stage;
  afterEach(() => {
    stage.close();
  });

  /** Its journal is that of an earlier day: as if the TPM had counted on since. */
  async function putBack(host: SimulatedHost): Promise<void> {
    host.killAgent();
    host.tpm.counter = (host.tpm.counter ?? 0n) + 5n;
    host.startAgent();
    await stage.pass(2_000);
  }

  function kinds(host: SimulatedHost, vm: VmTruth): readonly string[] {
    return host.journal.entries(vm.uuid).map((bytes) => decodeEntry(decodeSignedEntry(bytes).entry).kind);
  }

  /** Every TPM command that counts fails, where `failing` says so. */
  function failing(isFailing: () => boolean): (host: Host) => Host {
    return (host) => ({
      ...host,
      tpm: {
        ...host.tpm,
        incrementCounter: (index) =>
          isFailing()
            ? Promise.reject(new TvmmpError('tpm-call-failed', 'TPM_RC_FAILURE'))
            : host.tpm.incrementCounter(index),
      },
    });
  }

  it('starts no VM that it takes for held, signs nothing for it, and does not unprotect it', async () => {
    stage = await Stage.open();
    const vm = await stage.vm(stage.alpha, { started: false });
    await putBack(stage.alpha);
    await assert.rejects(stage.until(stage.alpha.machine.start(vm.uuid)), refused);
    assert.equal(stage.alpha.machine.secrets.size, 0);
    const { services } = stage.alpha.agent!;
    await assert.rejects(stage.until(unprotect(services, vm.uuid)), refused);
    const attesting = new Attestations(services).attest(stage.record(stage.alpha, vm), new Uint8Array(32));
    await assert.rejects(stage.until(attesting), refused);
    await stage.pass(30_000);
    assert.deepEqual(kinds(stage.alpha, vm), ['created']);
    assert.deepEqual(services.anchor.status().vms, [vm.uuid]);
  });

  it('starts it when an administrator has adopted it, and says so in the proof', async () => {
    stage = await Stage.open();
    const vm = await stage.vm(stage.alpha, { started: false });
    await putBack(stage.alpha);
    const { services } = stage.alpha.agent!;
    await stage.until(adopt(services, stage.record(stage.alpha, vm)));
    await stage.until(stage.alpha.machine.start(vm.uuid));
    await stage.pass(2_000);
    assert.deepEqual(kinds(stage.alpha, vm), ['created', 'adopted', 'started']);
    assert.deepEqual(services.anchor.status().vms, []);
    assert.notEqual(services.anchor.status().rolledBack, null);
  });

  it('takes up a VM that ran on that day: stopped is signed with adopted, and not before', async () => {
    stage = await Stage.open();
    const vm = await stage.vm(stage.alpha);
    stage.alpha.killAgent();
    stage.alpha.machine.need(vm.uuid).running = null;
    await putBack(stage.alpha);
    await stage.pass(30_000);
    assert.deepEqual(kinds(stage.alpha, vm), ['created', 'started']);
    const { services } = stage.alpha.agent!;
    await stage.until(adopt(services, stage.record(stage.alpha, vm)));
    assert.deepEqual(kinds(stage.alpha, vm), ['created', 'started', 'stopped', 'adopted']);
    await stage.until(stage.alpha.machine.start(vm.uuid));
  });

  it('lets a VM that runs run on, and not leave', async () => {
    stage = await Stage.open();
    const vm = await stage.vm(stage.alpha);
    await putBack(stage.alpha);
    assert.notEqual(stage.alpha.machine.need(vm.uuid).running, null);
    await assert.rejects(stage.until(stage.alpha.depart(vm.uuid, stage.beta)), refused);
    await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
    await assert.rejects(stage.until(stage.alpha.machine.start(vm.uuid)), refused);
  });

  it('takes a VM back from the host that holds it, by its proof', async () => {
    stage = await Stage.open();
    const vm = await stage.vm(stage.alpha);
    const before = stage.record(stage.alpha, vm);
    const chain = stage.alpha.journal.entries(vm.uuid);
    await stage.virsh(vm, stage.alpha, stage.beta);
    stage.alpha.killAgent();
    stage.alpha.journal.rewindChain(vm.uuid, chain.length - 1, new Uint8Array(32));
    stage.alpha.journal.putVm(before);
    await putBack(stage.alpha);
    assert.deepEqual(stage.alpha.agent!.services.anchor.status().vms, [vm.uuid]);
    await stage.virsh(vm, stage.beta, stage.alpha);
    assert.equal(stage.record(stage.alpha, vm).state, 'running');
    assert.equal(stage.record(stage.alpha, vm).epoch, 2);
    assert.deepEqual(stage.alpha.agent!.services.anchor.status().vms, []);
  });

  it('disclaims no hand-over of before, and none that it does not know', async () => {
    stage = await Stage.open();
    const liar = new Liar(stage);
    const attested = await liar.attested(stage.beta);
    assert.equal((await liar.offer(attested, liar.depart(attested).bytes())).kind, 'staged');
    await putBack(stage.beta);
    for (const session of [attested.session, new Uint8Array(32)]) {
      const channel = await liar.connect(stage.beta);
      await channel.send({ kind: 'abort', session, head: attested.chain.head });
      await assert.rejects(stage.until(channel.receive(120_000)), /gone|did not answer in time/);
    }
    assert.equal(stage.hasLogged(stage.beta, /what became of a migration of before is not known here/), true);
    const later = await liar.attested(stage.beta);
    assert.equal((await liar.offer(later, liar.depart(later).bytes())).kind, 'staged');
    await later.channel.send({ kind: 'abort', session: later.session, head: later.chain.head });
    await liar.expect(later.channel, 'aborted');
  });

  it('has nothing to adopt where its disk was not put back', async () => {
    stage = await Stage.open();
    const vm = await stage.vm(stage.alpha, { started: false });
    stage.alpha.killAgent();
    stage.alpha.startAgent();
    await stage.pass(2_000);
    const { services } = stage.alpha.agent!;
    await assert.rejects(stage.until(adopt(services, stage.record(stage.alpha, vm))), /nothing to adopt/);
    await stage.until(stage.alpha.machine.start(vm.uuid));
  });

  describe('before its effect, waits for the counter:', () => {
    let broken = false;
    beforeEach(() => {
      broken = false;
    });

    it('the key of a VM that starts', async () => {
      stage = await Stage.open({ alpha: failing(() => broken) });
      const vm = await stage.vm(stage.alpha, { started: false });
      broken = true;
      await assert.rejects(stage.until(stage.alpha.machine.start(vm.uuid)), /TPM_RC_FAILURE/);
      assert.equal(stage.alpha.machine.secrets.size, 0);
      broken = false;
      await stage.until(stage.alpha.machine.start(vm.uuid));
    });

    /** Alpha's VM cannot move to beta while one of them has no counter. */
    async function stays(vm: VmTruth, move: () => Promise<unknown>): Promise<void> {
      broken = true;
      await assert.rejects(stage.until(move()));
      broken = false;
      await stage.pass(60_000);
      assert.equal(stage.record(stage.alpha, vm).state, 'running');
    }

    it('an offer: without it the VM stays', async () => {
      stage = await Stage.open({ alpha: failing(() => broken) });
      const vm = await stage.vm(stage.alpha);
      await stays(vm, () => stage.alpha.depart(vm.uuid, stage.beta));
      assert.equal(stage.beta.journal.vm(vm.uuid), null);
      await stage.until(stage.alpha.depart(vm.uuid, stage.beta));
    });

    it('the hook that lets a VM in: without it the VM is refused, whoever opened the session', async () => {
      stage = await Stage.open({ beta: failing(() => broken) });
      const vm = await stage.vm(stage.alpha);
      const { alpha, beta } = stage;
      for (const move of [() => alpha.depart(vm.uuid, beta), () => stage.virsh(vm, alpha, beta)]) {
        await stays(vm, move);
        assert.equal(beta.machine.secrets.size, 0);
        assert.equal(stage.record(beta, vm).sealed, null);
      }
    });

    it('arrived, which is said when there is one', async () => {
      stage = await Stage.open({ beta: failing(() => broken) });
      const vm = await stage.vm(stage.alpha);
      const moving = stage.alpha.depart(vm.uuid, stage.beta).catch(() => undefined);
      for (let n = 0; n < 20_000 && stage.beta.machine.domains.get(vm.uuid)?.running == null; n += 1)
        await stage.pass(1);
      broken = true;
      await stage.pass(20_000);
      assert.equal(stage.record(stage.beta, vm).holder, 'beta.test');
      assert.notEqual(stage.record(stage.alpha, vm).sealed, null);
      broken = false;
      await stage.until(moving);
      await stage.pass(60_000);
      assert.equal(stage.record(stage.alpha, vm).sealed, null);
    });

    it('the end of a run does not: it is made up for', async () => {
      stage = await Stage.open({ alpha: failing(() => broken) });
      const vm = await stage.vm(stage.alpha);
      const { counter } = stage.alpha.tpm;
      broken = true;
      await stage.until(stage.alpha.machine.stop(vm.uuid, 'shutdown'));
      assert.equal(stage.alpha.tpm.counter, counter);
      broken = false;
      await stage.pass(70_000);
      assert.equal(stage.alpha.tpm.counter, (counter ?? 0n) + 1n);
    });
  });
});
