/** The sealed keys of a host are put under one envelope while nothing else wants the TPM (SPEC 5.2, 5.3). */
import assert from 'node:assert/strict';
import { Stage } from '../../simulation/stage.ts';
import type { SimulatedHost } from '../../simulation/host.ts';

/** E of each sealed key that the host holds. */
function envelopes(host: SimulatedHost): ReadonlySet<string> {
  const held = host.agent!.services.host.journal.vms().filter(({ sealed }) => sealed !== null);
  return new Set(held.map(({ sealed }) => Buffer.from(sealed!.subarray(1, 66)).toString('hex')));
}

describe('sealed keys at rest', () => {
  it('come under one envelope, and the VMs start and move as before', async () => {
    const stage = await Stage.open();
    try {
      const vms = [];
      for (let n = 0; n < 12; n += 1) vms.push(await stage.vm(stage.alpha, { started: n % 2 === 0 }));
      await stage.pass(60_000);
      assert.equal(envelopes(stage.alpha).size, 1);
      const [moving, starting] = [vms[0]!, vms[1]!];
      await stage.until(stage.alpha.machine.start(starting.uuid));
      await stage.until(stage.alpha.depart(moving.uuid, stage.beta));
      await stage.pass(30_000);
      assert.ok(stage.beta.machine.need(moving.uuid).running !== null);
      assert.ok(stage.alpha.machine.need(starting.uuid).running !== null);
    } finally {
      stage.close();
    }
  });

  it('stay as they are where the TPM fails, and come together when it works again', async () => {
    const stage = await Stage.open();
    try {
      for (let n = 0; n < 3; n += 1) await stage.vm(stage.alpha, { started: false });
      stage.alpha.tpm.failing = true;
      const before = envelopes(stage.alpha).size;
      await stage.pass(60_000);
      assert.equal(envelopes(stage.alpha).size, before);
      stage.alpha.tpm.failing = false;
      await stage.pass(60_000);
      assert.equal(envelopes(stage.alpha).size, 1);
    } finally {
      stage.close();
    }
  });
});
