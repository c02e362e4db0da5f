/** What a simulated libvirt knows after it, or its host, was away. */
import assert from 'node:assert/strict';
import { migrate } from './migration.ts';
import { Stage } from './stage.ts';

describe('a simulated libvirt', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await Stage.open();
  });
  afterEach(() => {
    stage.close();
  });

  for (const [what, away, back] of [
    ['it', 'stopLibvirtd', 'startLibvirtd'],
    ['its host', 'powerOff', 'powerOn'],
  ] as const)
    it(`knows nothing of a VM that was coming in, and whose QEMU ended, while ${what} was away`, async () => {
      const { alpha, beta, network } = stage;
      const vm = await stage.vm(alpha);
      const move = migrate(network, alpha.machine, vm.uuid, beta.machine);
      for (let n = 0; n < 20_000 && beta.machine.domains.get(vm.uuid)?.running?.incoming !== true; n += 1)
        await stage.pass(0.1);
      beta.machine[away]();
      await assert.rejects(stage.until(move));
      await stage.pass(40_000);
      beta.machine[back]();
      assert.equal(beta.machine.domains.has(vm.uuid), false);
      assert.equal(alpha.machine.need(vm.uuid).runs, true);
    });
});
