/** Attack: the whole disk of a host, its journal and the vTPMs, is put back to an earlier day; only the TPM is not (SPEC 8.8). */
import assert from 'node:assert/strict';
import { diskCopy } from '../support/disk-copy.ts';
import { ProductLab, assertRefused, withLab } from '../support/product-lab.ts';

const refused = /journal-rolled-back: the disk of this host was put back to an earlier state/;

describe('a host whose whole disk was put back', () => {
  let lab: ProductLab;
  withLab({}, (made) => {
    lab = made;
    return Promise.resolve();
  });

  const start = (name: string) => lab.exec('alpha', 'virsh', '-q', 'start', name);
  const rollbackOf = async (host: string) => (await lab.agentStatus(host)).rollback;

  it('is none after power cuts, whenever they come', async () => {
    const guest = await lab.guest('alpha', 'honest');
    for (const running of [true, false]) {
      await lab.must('reboot', 'alpha', '--hard');
      await lab.must('start-agent', 'alpha');
      await lab.endsWith('alpha', guest, 'stopped');
      assert.equal((await rollbackOf('alpha')).rolledBack, null);
      if (running) await lab.boot('alpha', guest);
    }
  });

  it('does not start a VM that another host holds by now, though journal, vTPM and definition say that it may', async () => {
    const guest = await lab.guest('alpha', 'moved', { start: false });
    const putBack = await diskCopy(lab, 'alpha', guest);
    await lab.boot('alpha', guest);
    await lab.moved('alpha', 'beta', guest, { undefineSource: false });
    await putBack();
    const { vms } = await rollbackOf('alpha');
    assert.ok(vms.includes(guest.uuid));
    assertRefused(await start(guest.name), refused);
    const doctor = await lab.exec('alpha', 'tvmmp', 'doctor', '--json');
    const { findings } = JSON.parse(doctor.stdout) as {
      findings: readonly { check: string; outcome: string }[];
    };
    assert.equal(findings.find(({ check }) => check === 'rollback')?.outcome, 'bad');
    assert.match(await lab.on('alpha', 'tvmmp', 'explain'), /journal-rolled-back/);
    await lab.ticksOn('beta', guest);
    assert.equal((await lab.proof('beta', guest)).outcome, 'verified');
    // Its holder may bring it back: the proof that comes says more than what was put back.
    await lab.moved('beta', 'alpha', guest);
    await lab.ticksOn('alpha', guest);
    await lab.unbroken(guest);
  });

  it('does not start a VM that has gone on since, until an administrator adopts it, in the proof', async () => {
    const guest = await lab.guest('alpha', 'ran', { start: false });
    const putBack = await diskCopy(lab, 'alpha', guest);
    await lab.boot('alpha', guest);
    await lab.halt('alpha', guest);
    await putBack();
    assertRefused(await start(guest.name), refused);
    await lab.must('reboot', 'alpha', '--hard');
    await lab.must('start-agent', 'alpha');
    assertRefused(await start(guest.name), refused);
    await lab.on('alpha', 'tvmmp', 'vm', 'adopt', guest.name, '--i-accept-rollback');
    await lab.boot('alpha', guest);
    await lab.endsWith('alpha', guest, 'adopted', 'started');
  });
});
