/**
 * `scripts/bench --ledger`: hand-overs a second that a ledger takes. SQLite: the two durable writes of a hand-over (*departing*, *arrived*) as a journal makes
 * them, row of the ledger included, of one VM after another, and of many VMs at once as an agent does (lib/ledger/group-commit.ts). etcd: a three-member cluster on this machine, three compare-and-swaps a hand-over (SPEC 8.6), so many
 * hand-overs at once as hosts of a fleet make, beside transactions that compare nothing through the same client, and etcd's own benchmark.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EtcdLedger } from '../../lib/ledger/etcd-ledger.ts';
import { EtcdMembers } from '../../lib/ledger/etcd-members.ts';
import { GroupCommit } from '../../lib/ledger/group-commit.ts';
import { Journal } from '../../lib/ledger/journal.ts';
import type { LedgerRow } from '../../lib/ledger/ledger-row.ts';
import { encodeRow } from '../../lib/ledger/ledger-row.ts';
import type { VmRecord } from '../../lib/ledger/records.ts';
import { SqliteLedger } from '../../lib/ledger/sqlite-ledger.ts';
import { EtcdCluster } from '../../test/support/etcd-cluster.ts';
import { median } from './figures.ts';
import { digest, later, ledgerHost, ledgerRow } from '../../test/support/ledger-rows.ts';

const sqliteHandovers = 2_000;
const etcdHandovers = 1_280;
const etcdRounds = 3;
const atOnce = 64;
/** A signed entry has about so many bytes. */
const entryBytes = 700;

const hosts = [ledgerHost('alpha'), ledgerHost('beta')] as const;

/** The rows that a hand-over goes through. */
function* handover(row: LedgerRow, announce: boolean): Generator<LedgerRow> {
  const to = row.holder.name === 'alpha' ? hosts[1] : hosts[0];
  const leaving = { to, session: new Uint8Array(randomBytes(32)) };
  const announced = announce ? { ...row, leaving } : row;
  if (announce) yield announced;
  const departing = later(announced, { leaving });
  yield departing;
  yield later(departing, { epoch: row.epoch + 1, holder: to, leaving: null });
}

async function sqlite() {
  const directory = mkdtempSync(join(tmpdir(), 'tvmmp-bench-'));
  const journal = new Journal(join(directory, 'journal.sqlite'));
  try {
    const began = performance.now();
    for (let count = 0; count < sqliteHandovers; count += 1) journal.putSetting('bench', String(count));
    const bare = perSecond(sqliteHandovers, began);
    return {
      handoversPerSecond: await handovers(journal, 1),
      handoversAtOncePerSecond: await handovers(journal, atOnce),
      bareWritesPerSecond: bare,
    };
  } finally {
    journal.close();
    rmSync(directory, { recursive: true });
  }
}

/** Hand-overs of so many VMs at once, those of each VM one after another. */
async function handovers(journal: Journal, vms: number): Promise<number> {
  const commits = new GroupCommit(journal, (work) => void setImmediate(work));
  const ledger = new SqliteLedger(journal);
  const began = performance.now();
  const each = Math.ceil(sqliteHandovers / vms);
  await Promise.all(Array.from({ length: vms }, () => handoversOfOne(journal, ledger, commits, each)));
  return perSecond(each * vms, began);
}

async function handoversOfOne(
  journal: Journal,
  ledger: SqliteLedger,
  commits: GroupCommit,
  times: number,
): Promise<void> {
  let row = ledgerRow({ vm: randomUUID() });
  ledger.swapNow(null, row);
  for (let count = 0; count < times; count += 1) {
    const id = randomBytes(32);
    const about = { vm: row.vm, role: 'source', state: 'open', peer: '', address: '' } as const;
    for (const next of handover(row, false)) {
      const before = row;
      await commits.run(() => {
        if (next.leaving === null) journal.changeSession(id, { state: 'departed' }, 1);
        else journal.openSession({ id, ...about, started: 1, updated: 1 });
        journal.putVm(recordOf(next));
        journal.appendEntry(next.vm, next.sequence, randomBytes(entryBytes));
        if (!ledger.swapNow(before, next).written) throw new Error('somebody else writes this journal');
      });
      row = next;
    }
  }
}

function recordOf({ vm, epoch, sequence, head, holder }: LedgerRow): VmRecord {
  const facts = digest('facts');
  return {
    uuid: vm,
    name: 'bench',
    state: 'departing',
    ...{ epoch, sequence, head, facts },
    vtpm: null,
    secret: '',
    sealed: null,
    context: null,
    holder: holder.name,
  };
}

async function etcd() {
  const cluster = await EtcdCluster.start();
  const ledger = new EtcdLedger(cluster.access());
  const members = new EtcdMembers(cluster.access());
  try {
    const [swaps, bare]: [number[], number[]] = [[], []];
    // In turn, the first round not counted: connections, code and etcd's own files are warm then.
    for (let round = 0; round <= etcdRounds; round += 1) {
      const handed = await rate((count) => handOver(ledger, count));
      const written = await rate((count) => writeBare(members, 3 * count));
      if (round > 0) swaps.push(handed);
      if (round > 0) bare.push(3 * written);
    }
    note("etcd's own benchmark takes a minute");
    const own = await cluster
      .run('ctl', 'check', 'perf', '--load', 'l')
      .catch((error: unknown) => String((error as { stdout?: unknown }).stdout));
    const writes = Number(/Throughput (?:is|too low:) (\d+) writes\/s/.exec(own)?.[1]);
    return {
      handoversPerSecond: median(swaps),
      swapsPerSecond: 3 * median(swaps),
      bareTransactionsPerSecond: median(bare),
      etcdctlWritesPerSecond: writes,
    };
  } finally {
    members.close();
    await ledger.close();
    await cluster.close();
  }
}

/** Hand-overs of one VM, one after another. */
async function handOver(ledger: EtcdLedger, count: number): Promise<void> {
  let row = ledgerRow();
  await ledger.compareAndSwap(null, row);
  for (let done = 0; done < count; done += 1) {
    for (const next of handover(row, true)) {
      if (!(await ledger.compareAndSwap(row, next)).written) throw new Error('somebody else writes this row');
      row = next;
    }
  }
}

/** Transactions that compare nothing that could fail. */
async function writeBare(members: EtcdMembers, count: number): Promise<void> {
  const key = `/tvmmp/bench/${randomUUID()}`;
  const value = Buffer.from(encodeRow(ledgerRow()));
  for (let done = 0; done < count; done += 1)
    await members.ask((client) =>
      client.if(key, 'Version', '>', -1).then(client.put(key).value(value)).commit(),
    );
}

/** Hand-overs a second, where so many VMs have their share at once. */
async function rate(work: (count: number) => Promise<void>): Promise<number> {
  const began = performance.now();
  await Promise.all(Array.from({ length: atOnce }, () => work(etcdHandovers / atOnce)));
  return perSecond(etcdHandovers, began);
}

function perSecond(count: number, began: number): number {
  return Math.round(count / ((performance.now() - began) / 1000));
}

function note(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

const { values } = parseArgs({ options: { json: { type: 'boolean' } } });
const embedded = await sqlite();
note(
  `SQLite: ${embedded.handoversPerSecond} hand-overs a second, one after another, each of two durable writes; ` +
    `${embedded.handoversAtOncePerSecond} with ${atOnce} VMs at once; ` +
    `${embedded.bareWritesPerSecond} bare durable writes a second`,
);
const shared = await etcd();
note(
  `etcd, ${atOnce} at once: ${shared.handoversPerSecond} hand-overs a second, of ${shared.swapsPerSecond} compare-and-swaps; ` +
    `${shared.bareTransactionsPerSecond} bare transactions by the same client; ${shared.etcdctlWritesPerSecond} writes by etcdctl check perf`,
);
if (values.json === true) process.stdout.write(`${JSON.stringify({ sqlite: embedded, etcd: shared })}\n`);
