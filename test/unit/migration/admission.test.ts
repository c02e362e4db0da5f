/** The second lock (SPEC 8.1): what comes in by libvirt's hook, and what does not. */
import assert from 'node:assert/strict';
import { limits } from '../../../lib/limits.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe('a VM that libvirt brings (SPEC 8.1)', () => {
  let stage: Stage;
  let vm: VmTruth;
  stageBeforeEach(async (opened) => {
    stage = opened;
    vm = await stage.vm(stage.alpha);
  });

  const hook = (operation: string, xml: string): Promise<void> =>
    stage.until(
      stage.beta.machine.hooks!.handler({
        name: 'vm',
        operation,
        subOperation: 'begin',
        extra: '',
        xml,
      }),
    );
  const xmlOf = (): string => stage.alpha.machine.need(vm.uuid).xml();

  /** Beta has a permit for the VM, from a session that alpha has opened; libvirt has not moved it yet. */
  async function staged(): Promise<string> {
    const session = await stage.until(
      stage.alpha.agent!.sessions.leave(stage.record(stage.alpha, vm), stage.beta.address),
    );
    await stage.until(session.released);
    await stage.pass(100);
    return xmlOf();
  }

  it('comes in with the permit of a completed session', async () => {
    await hook('migrate', await staged());
    await hook('prepare', xmlOf());
    assert.equal(stage.beta.machine.secrets.size, 1);
  });

  /** As `staged`, where the TPM takes long and has opened the key ahead (SPEC 5.2). */
  async function stagedSlowly(): Promise<string> {
    stage.beta.tpm.delayMs = 400;
    const xml = await staged();
    await stage.pass(2_000);
    return xml;
  }

  it('comes in at a slow TPM by a key that was opened ahead, and a quote of now', async () => {
    const xml = await stagedSlowly();
    const { quotes } = stage.beta.agent!.services;
    const quoted = quotes.count;
    // The quote shows what it did before, and the TPM would open nothing.
    stage.beta.tpm.approved = false;
    await hook('migrate', xml);
    assert.equal(quotes.count, quoted + 1);
    assert.equal(stage.beta.machine.secrets.size, 1);
  });

  it('comes in at a slow TPM by no key that was opened ahead once the PCRs are in no approved state', async () => {
    const xml = await stagedSlowly();
    stage.beta.boot('surprise');
    await assert.rejects(hook('migrate', xml), /in no approved state/);
    assert.equal(stage.beta.machine.secrets.size, 0);
  });

  it('comes in at a slow TPM by a key that is opened for it where libvirt took longer than one stays open', async () => {
    const xml = await stagedSlowly();
    await stage.pass(limits.keysHeldMs);
    const { platform } = stage.beta.agent!.services;
    const opened = platform.bridgeCommands;
    await hook('migrate', xml);
    assert.equal(stage.beta.machine.secrets.size, 1);
    assert.ok(platform.bridgeCommands > opened);
  });

  it('comes in once for a permit', async () => {
    const xml = await staged();
    await hook('migrate', xml);
    await assert.rejects(hook('migrate', xml), /the permit of vm was used or has expired/);
  });

  it('passes the gate of its start once for a permit', async () => {
    const xml = await staged();
    await hook('migrate', xml);
    await hook('prepare', xml);
    await assert.rejects(hook('prepare', xml), /is on its way from alpha\.test/);
  });

  it('does not start for a permit that it has not shown', async () => {
    const xml = await staged();
    await assert.rejects(hook('prepare', xml), /is on its way from alpha\.test/);
  });

  it('comes in as the source has attested it, or not at all', async () => {
    const xml = (await staged()).replace('/disks/vm.img', '/disks/other.img');
    await assert.rejects(hook('migrate', xml), /facts: the domain XML is not that of the VM/);
    assert.equal(stage.beta.machine.secrets.size, 0, 'no key for it either');
    await assert.rejects(hook('prepare', xml), /is on its way from alpha\.test/);
  });

  it('comes in while its permit lasts', async () => {
    const xml = await staged();
    const { journal } = stage.beta;
    journal.putPermit({ ...journal.permit(vm.uuid)!, expires: 0 });
    await assert.rejects(hook('migrate', xml), /the permit of vm was used or has expired/);
  });

  it('does not come in with its mark stripped, where this host knows it', async () => {
    await stage.virsh(vm, stage.alpha, stage.beta);
    const xml = stage.beta.machine.need(vm.uuid).xml();
    const stripped = xml.replace(/<tvmmp:vm [^>]*>/, '');
    assert.doesNotMatch(stripped, /tvmmp/);
    for (const operation of ['migrate', 'prepare', 'restore'])
      await assert.rejects(hook(operation, stripped), /this definition has lost its tvmmp metadata/);
  });

  it('does not come in with a vTPM that is not encrypted', async () => {
    const xml = (await staged()).replace(/<encryption secret='[^']+'\s*\/>/, '');
    assert.doesNotMatch(xml, /encryption/);
    for (const operation of ['migrate', 'prepare', 'restore'])
      await assert.rejects(hook(operation, xml), /facts: the vTPM of vm is not encrypted/);
  });

  it('does not come in where nobody is named to ask, or this host itself', async () => {
    const nobody = xmlOf().replace(/ agent=["'][^"']*["']/, '');
    await assert.rejects(hook('migrate', nobody), /the metadata of vm names no tvmmp agent/);
    const self = xmlOf().replace('alpha.test:16515', 'beta.test:16515');
    await assert.rejects(hook('migrate', self), /the metadata of vm names this host's own agent/);
  });

  it('does not come in where its source is not heard', async () => {
    stage.network.link('beta.test', 'alpha.test', false);
    await assert.rejects(hook('migrate', xmlOf()), /peer-unreachable|nobody answers/);
    assert.equal(stage.beta.journal.permit(vm.uuid), null);
  });

  it('does not come in beyond what a host deals with at once', async () => {
    stage.network.delayMs = 10_000;
    const xml = xmlOf();
    const all = Array.from({ length: 80 }, () => hook('migrate', xml).then(String, String));
    const answers = await Promise.all(all);
    assert.equal(
      answers.some((answer) => /busy: \d+ protected VMs are coming in already/.test(answer)),
      true,
    );
  });

  it('is not touched where it is not protected', async () => {
    const xml = xmlOf()
      .replace(/<tvmmp:vm [^>]*>/, '')
      .replace(vm.uuid, '00000000-0000-4000-8000-000000000000');
    await hook('migrate', xml);
    await hook('prepare', xml);
  });
});
