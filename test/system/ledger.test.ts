import assert from 'node:assert/strict';
import { decodeRow } from '../../lib/ledger/ledger-row.ts';
import type { LedgerRow } from '../../lib/ledger/ledger-row.ts';
import { diskCopy } from '../support/disk-copy.ts';
import type { Guest } from '../support/product-lab.ts';
import { ProductLab, assertRefused, withLab } from '../support/product-lab.ts';

describe('a ledger in etcd', () => {
  let lab: ProductLab;
  let guest: Guest;
  withLab({ etcd: true }, async (made) => {
    lab = made;
    guest = await lab.guest('alpha', 'guest');
  });

  /** What etcd has of a VM. */
  const row = async (of: Guest): Promise<LedgerRow> => {
    const stdout = await lab.must('etcd', 'ctl', 'get', `/tvmmp/vm/${of.uuid}`, '-w', 'json');
    const { kvs } = JSON.parse(stdout) as { readonly kvs?: readonly { readonly value: string }[] };
    assert.equal(kvs?.length, 1, `etcd has no row of ${of.name}`);
    return decodeRow(of.uuid, Buffer.from(kvs[0]?.value ?? '', 'base64'));
  };

  /** Waits until etcd has the head of the host's proof. */
  const told = async (host: string, of: Guest): Promise<LedgerRow> =>
    lab.eventually(`etcd has heard of ${of.name}`, async () => {
      const [vm, found] = [await lab.vm(host, of), await row(of)];
      return vm !== null && Buffer.from(found.head).toString('hex') === vm.head ? found : null;
    });

  const ledgerOf = async (host: string) => (await lab.agentStatus(host)).ledger;

  it('knows who holds a VM from its birth on, and who takes it over', async () => {
    const before = await told('alpha', guest);
    assert.deepEqual([before.epoch, before.holder.name, before.life], [0, 'alpha', 'held']);
    await lab.moved('alpha', 'beta', guest);
    const after = await told('beta', guest);
    assert.deepEqual([after.epoch, after.holder.name, after.leaving], [1, 'beta', null]);
    await lab.ticksOn('beta', guest);
    await lab.unbroken(guest);
    for (const host of ['alpha', 'beta']) {
      const { kind, problem, behind, conflicts } = await ledgerOf(host);
      assert.deepEqual([kind, problem, behind, conflicts], ['etcd', '', [], []]);
    }
  });

  it('without a quorum: what runs runs on, what would start or move is refused with the reason', async () => {
    const idle = await lab.guest('beta', 'idle', { start: false });
    await told('beta', idle);
    await lab.must('etcd', 'stop', 'm1');
    await lab.must('etcd', 'stop', 'm3');
    assertRefused(await lab.migrate('beta', 'alpha', guest), /ledger-unavailable/);
    assertRefused(await lab.exec('beta', 'virsh', '-q', 'start', idle.name), /ledger-unavailable/);
    const moved = await lab.exec('beta', 'tvmmp', 'migrate', guest.name, 'alpha');
    assert.match(moved.stderr, /ledger-unavailable/);
    assert.match((await ledgerOf('beta')).problem, /does not answer/);
    const doctor = await lab.exec('beta', 'tvmmp', 'doctor', '--json');
    const { findings } = JSON.parse(doctor.stdout) as { findings: { check: string; outcome: string }[] };
    assert.equal(findings.find(({ check }) => check === 'ledger')?.outcome, 'bad');
    await lab.on('beta', 'virsh', '-q', 'suspend', guest.name);
    await lab.state('beta', guest, 'paused');
    await lab.on('beta', 'virsh', '-q', 'resume', guest.name);
    await lab.ticksOn('beta', guest);
    assert.ok((await ledgerOf('beta')).behind.includes(guest.uuid));

    await lab.must('etcd', 'start', 'm1');
    await lab.must('etcd', 'start', 'm3');
    await lab.eventually('the ledger answers', async () =>
      (await ledgerOf('beta')).problem === '' && (await ledgerOf('alpha')).problem === '' ? true : null,
    );
    await told('beta', guest);
    await lab.moved('beta', 'alpha', guest);
    assert.deepEqual((await told('alpha', guest)).holder.name, 'alpha');
    await lab.ticksOn('alpha', guest);
    await lab.unbroken(guest);
  });

  it('refuses the start of an old copy on a host that was put back to an earlier day', async () => {
    const old = await lab.guest('alpha', 'old', { start: false });
    const putBack = await diskCopy(lab, 'alpha', old);
    await lab.boot('alpha', old);
    await lab.moved('alpha', 'beta', old, { undefineSource: false });
    await told('beta', old);
    await putBack();
    // The counter of the TPM speaks first; the ledger has the last word.
    assertRefused(await lab.exec('alpha', 'virsh', '-q', 'start', old.name), /journal-rolled-back/);
    const adopted = await lab.exec('alpha', 'tvmmp', 'vm', 'adopt', old.name, '--i-accept-rollback');
    assert.match(adopted.stderr, /ledger-conflict: the ledger says that beta holds old in epoch 1/);
    await lab.eventually('alpha says what is wrong', async () =>
      (await ledgerOf('alpha')).conflicts.some(({ vm }) => vm === old.uuid) ? true : null,
    );
    await lab.ticksOn('beta', old);
    assert.equal((await lab.proof('beta', old)).outcome, 'verified');
  });

  it('refuses it within an epoch too: the VM ran since', async () => {
    const run = await lab.guest('alpha', 'run', { start: false });
    const putBack = await diskCopy(lab, 'alpha', run);
    await lab.boot('alpha', run);
    await lab.halt('alpha', run);
    await told('alpha', run);
    await putBack();
    assertRefused(await lab.exec('alpha', 'virsh', '-q', 'start', run.name), /journal-rolled-back/);
    const adopted = await lab.exec('alpha', 'tvmmp', 'vm', 'adopt', run.name, '--i-accept-rollback');
    assert.match(adopted.stderr, /ledger-conflict: .* was its disk put back to an earlier state/);
  });

  it('can be left, and come back to, with every VM', async () => {
    const out = await lab.guest('alpha', 'out');
    for (const host of ['alpha', 'beta']) await useLedger(host, 'sqlite');
    assert.equal((await ledgerOf('beta')).kind, 'sqlite');
    await lab.moved('alpha', 'beta', out);
    for (const host of ['alpha', 'beta']) await useLedger(host, 'etcd');
    const back = await told('beta', out);
    assert.deepEqual([back.epoch, back.holder.name], [1, 'beta']);
    await lab.moved('beta', 'alpha', out);
    await lab.ticksOn('alpha', out);
    await lab.unbroken(out);
  });

  async function useLedger(host: string, kind: 'sqlite' | 'etcd'): Promise<void> {
    await lab.must('ledger', host, kind);
    await lab.restartAgent(host);
  }
});
