import assert from 'node:assert/strict';
import { Etcd3 } from 'etcd3';
import { EtcdLedger } from '../../../lib/ledger/etcd-ledger.ts';
import type { EtcdSettings } from '../../../lib/ledger/etcd-ledger.ts';
import type { LedgerChange } from '../../../lib/ledger/ledger.ts';
import { collected, describeLedgerConformance, write } from '../../conformance/ledger.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { later, ledgerRow } from '../../support/ledger-rows.ts';

const unavailable = { code: 'ledger-unavailable' };

describe('ledger in etcd', function () {
  this.timeout(120_000);
  let cluster: EtcdCluster;
  const ledgers: EtcdLedger[] = [];
  const open = (settings: EtcdSettings = cluster.access()): EtcdLedger => {
    const ledger = new EtcdLedger(settings);
    ledgers.push(ledger);
    return ledger;
  };
  before(async () => {
    cluster = await EtcdCluster.start();
  });
  after(async () => {
    for (const ledger of ledgers) await ledger.close();
    await cluster.close();
  });

  describeLedgerConformance(
    'etcd',
    () =>
      Promise.resolve({
        open: () => open(),
        plant: async (vm, bytes) => {
          const { endpoints, ca, certificate, key } = cluster.access('root');
          const client = new Etcd3({
            hosts: [...endpoints],
            credentials: { rootCertificate: ca, privateKey: key, certChain: certificate },
          });
          await client.put(`/tvmmp/vm/${vm}`).value(Buffer.from(bytes));
          client.close();
        },
      }),
    () => Promise.resolve(),
  );

  describe('and who may use it', () => {
    it('does not answer where another authority signed its certificates', async () => {
      await cluster.run('certificate', 'other');
      const access = { ...cluster.access(), ca: cluster.read('other.pem') };
      await assert.rejects(open(access).read(ledgerRow().vm), unavailable);
    });

    it('does not answer a user of whom it has not heard', async () => {
      await cluster.run('certificate', 'stranger');
      await assert.rejects(open(cluster.access('stranger')).read(ledgerRow().vm), unavailable);
    });

    it('does not let hosts write outside of their prefix', async () => {
      const outside = open({ ...cluster.access(), prefix: '/other/' });
      await assert.rejects(outside.compareAndSwap(null, ledgerRow()), unavailable);
      await assert.rejects(outside.read(ledgerRow().vm), unavailable);
    });
  });

  describe('and members that fail', () => {
    it('goes on without its leader, and a watch misses nothing', async () => {
      const ledger = open();
      let row = await write(ledger, null, ledgerRow());
      const seen: LedgerChange[] = [];
      const watch = await ledger.watch(row.vm, (change) => seen.push(change));
      const leader = await cluster.leader();
      await cluster.killMember(leader);
      for (let epoch = 1; epoch <= 10; epoch += 1) row = await write(ledger, row, later(row, { epoch }));
      await cluster.startMember(leader);
      await collected(seen, 10);
      assert.deepEqual(
        seen.map((change) => change.row?.epoch),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      );
      await watch.close();
    });

    it('answers nothing at all without a quorum, and goes on when it is back', async () => {
      const ledger = open();
      const row = await write(ledger, null, ledgerRow());
      const seen: LedgerChange[] = [];
      const watch = await ledger.watch(null, (change) => seen.push(change));
      await cluster.killMember('m1');
      await cluster.killMember('m2');
      await assert.rejects(ledger.read(row.vm), unavailable);
      await assert.rejects(ledger.compareAndSwap(row, later(row)), unavailable);
      await assert.rejects(ledger.probe(), unavailable);
      await cluster.startMember('m1');
      await cluster.startMember('m2');
      const next = await swapWhenItIsBack(ledger, row);
      await collected(seen, 1);
      assert.equal(seen.at(-1)?.row?.sequence, next.sequence);
      await watch.close();
    });

    it('catches a watch up that was away when its changes were forgotten', async () => {
      const [away, ledger] = [open(cluster.access('alpha', 'ca.pem', 'm3')), open()];
      let row = await write(ledger, null, ledgerRow());
      const seen: LedgerChange[] = [];
      const watch = await away.watch(row.vm, (change) => seen.push(change));
      row = await write(ledger, row, later(row, { epoch: 1 }));
      await collected(seen, 1);
      await cluster.killMember('m3');
      for (let epoch = 2; epoch <= 7; epoch += 1) row = await write(ledger, row, later(row, { epoch }));
      const revision = /"revision":(\d+)/.exec(await cluster.run('ctl', 'get', '/tvmmp/', '-w', 'json'))?.[1];
      await cluster.run('ctl', 'compact', revision ?? '');
      await cluster.startMember('m3');
      await collected(seen, 2);
      await write(ledger, row, later(row, { epoch: 8 }));
      while (seen.at(-1)?.row?.epoch !== 8) await collected(seen, seen.length + 1);
      const epochs = seen.map((change) => change.row?.epoch ?? -1);
      assert.deepEqual(
        epochs,
        [...new Set(epochs)].sort((a, b) => a - b),
      );
      await watch.close();
    });
  });
});

/** Tries until the cluster has a leader again. */
async function swapWhenItIsBack(ledger: EtcdLedger, row: ReturnType<typeof ledgerRow>) {
  const next = later(row);
  for (let attempts = 0; ; attempts += 1) {
    try {
      return await write(ledger, row, next);
    } catch (error) {
      if (attempts > 10) throw error;
    }
  }
}
