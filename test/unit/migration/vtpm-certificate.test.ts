/** The certificate of a vTPM's endorsement key (SPEC 4.5): handed out only where it is of the key that the proof names. */
import assert from 'node:assert/strict';
import { keyObjectOf, parsePublicArea } from '../../../lib/tpm/public-area.ts';
import { vtpmCertificate } from '../../../lib/migration/vtpm-certificate.ts';
import type { ExportedCertificate } from '../../../lib/migration/vtpm-certificate.ts';
import type { VmTruth } from '../../simulation/domain.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import { stageBeforeEach } from '../../simulation/stage.ts';
import type { Stage } from '../../simulation/stage.ts';

describe("the certificate of a VM's vTPM (SPEC 4.5)", () => {
  let stage: Stage;
  let good: Uint8Array;
  let other: Uint8Array;
  /** What lies in the vTPM, and how often it was looked at. */
  let inNv: Uint8Array;
  let reads: number;
  /** Whether the VM was said to run when it was looked at last, and the key in the place of its endorsement key. */
  let running: boolean | null;
  let inPlace: Uint8Array;
  stageBeforeEach(async (opened) => {
    stage = opened;
    const { alpha, gamma, authority } = stage.world;
    const certify = (publicArea: Uint8Array): Promise<Uint8Array> => {
      const { akName, receiveKeyName } = alpha.tpm;
      return authority.hostCertificate(
        { name: 'a-vm', akName, receiveKeyName },
        keyObjectOf(parsePublicArea(publicArea)),
      );
    };
    // The simulated endorsement key is the receive key of the host where the VM is born.
    good = await certify(alpha.tpm.receivePublic);
    other = await certify(gamma.tpm.receivePublic);
    inNv = good;
    reads = 0;
    running = null;
    inPlace = alpha.tpm.receivePublic;
    for (const host of [stage.alpha, stage.beta]) {
      host.killAgent();
      host.alter = (one) => ({
        ...one,
        bridge: {
          ...one.bridge,
          vtpmEndorsementKey: (options) => {
            reads += 1;
            running = options.running ?? null;
            const publicArea = options.from === 'seed' ? alpha.tpm.receivePublic : inPlace;
            return one.bridge
              .vtpmEndorsementKey(options)
              .then((read) => ({ ...read, publicArea, certificate: inNv }));
          },
        },
      });
      host.startAgent();
    }
    await stage.pass(1_000);
  });

  const ask = (vm: VmTruth, host: SimulatedHost = stage.alpha): Promise<Uint8Array> =>
    askAll(vm, host).then(({ certificate }) => certificate);
  const askAll = (vm: VmTruth, host: SimulatedHost = stage.alpha): Promise<ExportedCertificate> =>
    stage.until(vtpmCertificate(host.agent!.services, stage.record(host, vm)));
  async function stop(vm: VmTruth, host: SimulatedHost = stage.alpha): Promise<void> {
    await stage.until(host.machine.stop(vm.uuid, 'shutdown'));
    await stage.pass(2_000);
  }

  it('is read when the VM is protected, and kept: it is there while the VM runs', async () => {
    const vm = await stage.vm(stage.alpha);
    const before = reads;
    assert.deepEqual(await ask(vm), good);
    assert.equal(reads, before);
  });

  it('is read anew where the VM came to, while it runs too, and refused where it was', async () => {
    const vm = await stage.vm(stage.alpha);
    await stage.virsh(vm, stage.alpha, stage.beta);
    const asked = reads;
    assert.deepEqual(await ask(vm, stage.beta), good);
    assert.deepEqual([reads, running], [asked + 1, true]);
    await assert.rejects(ask(vm, stage.alpha), /vm is held by beta\.test: ask there/);
    await stop(vm, stage.beta);
    assert.deepEqual(await ask(vm, stage.beta), good);
    const before = reads;
    assert.deepEqual(await ask(vm, stage.beta), good);
    assert.equal(reads, before);
  });

  it('is not handed out where a guest has put one of another key there, or something else, or there is none', async () => {
    for (const [bytes, why] of [
      [other, /has a certificate of another key/],
      [Uint8Array.of(1, 2, 3), /has something else than a certificate/],
      [new Uint8Array(), /has no certificate of its endorsement key/],
    ] as const) {
      inNv = bytes;
      const vm = await stage.vm(stage.alpha);
      await assert.rejects(ask(vm), why);
      assert.equal(running, true);
      await stop(vm);
      await assert.rejects(ask(vm), why);
      assert.equal(running, false);
    }
  });

  it('is of the key that the seed of the vTPM gives, where a guest has put another one in its place', async () => {
    const vm = await stage.vm(stage.alpha);
    await stage.virsh(vm, stage.alpha, stage.beta);
    inPlace = stage.world.gamma.tpm.receivePublic;
    const asked = reads;
    assert.deepEqual(await ask(vm, stage.beta), good);
    assert.equal(reads, asked + 2);
  });

  it('is not handed out where what lies there is another vTPM than the proof names', async () => {
    const vm = await stage.vm(stage.alpha, { started: false });
    const record = stage.record(stage.alpha, vm);
    stage.alpha.journal.putVm({ ...record, vtpm: stage.world.gamma.tpm.receiveKeyName });
    await assert.rejects(ask(vm), /has another endorsement key than its proof names/);
  });
});
