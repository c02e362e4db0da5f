/** What can be protected, and whose secrets and hints are touched (SPEC 2, 5.1, 7.2). */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { pointAllToUs } from '../../../lib/migration/agent-hint.ts';
import { forgetSecret, secretUsage } from '../../../lib/migration/incoming.ts';
import { forgetLeftKeys } from '../../../lib/migration/left-keys.ts';
import { protect, unprotect } from '../../../lib/migration/protection.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { withFiles } from '../../simulation/altered.ts';
import { domainXml } from '../../simulation/domain.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import { Stage } from '../../simulation/stage.ts';

describe('the protection of a VM (SPEC 5.1)', () => {
  let stage: Stage;
  let alter: Partial<Host['files']>;
  const newVm = (): VmTruth => ({ uuid: randomUUID(), name: 'vm', latest: 0, doubled: new Set() });
  beforeEach(async () => {
    alter = {};
    stage = await Stage.open({ alpha: withFiles(() => alter) });
  });
  afterEach(() => {
    stage.close();
  });
  const services = () => stage.alpha.agent!.services;
  const protecting = (vm: VmTruth): Promise<unknown> => stage.until(protect(services(), vm.uuid));
  const define = (change: (xml: string) => string = (xml) => xml): VmTruth => {
    const vm = newVm();
    stage.alpha.machine.define(vm, change(domainXml(vm)));
    return vm;
  };

  it('is given to a VM that is off', async () => {
    const vm = define();
    await protecting(vm);
    assert.equal(stage.record(stage.alpha, vm).state, 'stopped');
  });

  it('is not given to a VM that runs, is saved, or goes away by itself', async () => {
    const running = define();
    await stage.until(stage.alpha.machine.start(running.uuid));
    await assert.rejects(protecting(running), /runs; shut it down first/);
    await stage.until(stage.alpha.machine.save(running.uuid));
    await assert.rejects(protecting(running), /is saved; start it and shut it down first/);
    const transient = define();
    stage.alpha.machine.need(transient.uuid).persistent = false;
    await assert.rejects(protecting(transient), /is transient; define it first/);
  });

  it('is not given to a VM without an emulated TPM, or with a key of its user’s', async () => {
    const without = define((xml) => xml.replace(/<tpm .*<\/tpm>/, ''));
    await assert.rejects(protecting(without), /has no emulated TPM/);
    const own = define((xml) =>
      xml.replace("version='2.0'/>", `version='2.0'><encryption secret='${randomUUID()}'/></backend>`),
    );
    await assert.rejects(protecting(own), /is encrypted with a secret of your own/);
  });

  it('is not given where two hosts would see one vTPM state', async () => {
    stage.close();
    alter = { vtpmFileSystem: () => Promise.resolve({ directory: '/vtpm', type: 0x6969 }) };
    stage = await Stage.open({ alpha: withFiles(() => alter) });
    await assert.rejects(protecting(define()), /vTPM state on shared storage is not supported/);
  });

  it('is given once', async () => {
    const vm = define();
    await protecting(vm);
    const { head } = stage.record(stage.alpha, vm);
    stage.alpha.journal.putVm({ ...stage.record(stage.alpha, vm), holder: 'beta.test', sealed: null });
    await assert.rejects(protecting(vm), /is protected already|ledger-conflict/);
    assert.deepEqual(stage.record(stage.alpha, vm).head, head);
  });

  it('is ended by the holder alone, while the VM is off', async () => {
    const vm = await stage.vm(stage.alpha);
    await assert.rejects(stage.until(unprotect(services(), vm.uuid)), /is running; shut it down/);
    await stage.virsh(vm, stage.alpha, stage.beta, false);
    await assert.rejects(stage.until(unprotect(services(), vm.uuid)), /is gone; shut it down on the host/);
  });

  it('touches no secret of somebody else’s', async () => {
    const vm = await stage.vm(stage.alpha);
    const { secret } = stage.record(stage.alpha, vm);
    const { machine } = stage.alpha;
    machine.secrets.set(secret, { uuid: secret, usageType: 'vtpm', usageName: 'mine', value: 'x' } as never);
    await stage.until(forgetSecret(services().host.hypervisor, { uuid: vm.uuid, secret }));
    assert.equal(machine.secrets.has(secret), true);
    machine.secrets.set(secret, {
      uuid: secret,
      usageType: 'vtpm',
      usageName: secretUsage(vm.uuid),
      value: 'x',
    } as never);
    await stage.until(forgetSecret(services().host.hypervisor, { uuid: vm.uuid, secret }));
    assert.equal(machine.secrets.has(secret), false);
  });

  it('takes a key out of libvirt that a killed agent left there, but for a VM that starts', async () => {
    const vm = await stage.vm(stage.alpha);
    const { secret } = stage.record(stage.alpha, vm);
    const { machine } = stage.alpha;
    const left = { uuid: secret, usageType: 'vtpm', usageName: secretUsage(vm.uuid), value: 'x' } as never;
    const running = machine.need(vm.uuid).running!;
    Object.assign(running, { state: 'paused', reason: 'starting-up' });
    machine.secrets.set(secret, left);
    await stage.until(forgetLeftKeys(services()));
    assert.equal(machine.secrets.has(secret), true);
    Object.assign(running, { state: 'running', reason: 'booted' });
    await stage.until(forgetLeftKeys(services()));
    assert.equal(machine.secrets.has(secret), false);
  });

  it('writes this agent’s address into the VMs that it holds, and into no others', async () => {
    const vm = await stage.vm(stage.alpha);
    const domain = stage.alpha.machine.need(vm.uuid);
    const elsewhere = domain.metadata!.replace('alpha.test', 'beta.test');
    domain.metadata = elsewhere;
    stage.alpha.journal.putVm({ ...stage.record(stage.alpha, vm), holder: 'beta.test' });
    await stage.until(pointAllToUs(services()));
    assert.equal(domain.metadata, elsewhere);
    stage.alpha.journal.putVm({ ...stage.record(stage.alpha, vm), holder: 'alpha.test' });
    await stage.until(pointAllToUs(services()));
    assert.match(domain.metadata, /alpha\.test:16515/);
  });
});
