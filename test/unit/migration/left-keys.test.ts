/** Keys that an agent gave to libvirt for a start, and was killed before it could take them out again (SPEC 8.3). */
import assert from 'node:assert/strict';
import { Stage } from '../../simulation/stage.ts';

describe('a key that a killed agent left in libvirt (SPEC 8.3)', () => {
  it('is taken out when the agent starts', async () => {
    const stage = await Stage.open();
    try {
      const vm = await stage.vm(stage.alpha, { started: false });
      const { machine } = stage.alpha;
      const starting = machine.start(vm.uuid);
      for (let n = 0; n < 20_000 && machine.need(vm.uuid).running === null; n += 1) await stage.pass(0.1);
      stage.alpha.killAgent();
      await stage.until(starting);
      await stage.until(machine.stop(vm.uuid, 'shutdown'));
      assert.equal(machine.secrets.size, 1);
      stage.alpha.startAgent();
      await stage.pass(2_000);
      assert.equal(machine.secrets.size, 0);
    } finally {
      stage.close();
    }
  });
});
