/**
 * What every adapter of the ledger port must do (SPEC 8.6). Call `describeLedgerConformance` from a test of the adapter.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ledger, LedgerChange } from '../../lib/ledger/ledger.ts';
import { encodeRow, sameRow } from '../../lib/ledger/ledger-row.ts';
import type { LedgerRow } from '../../lib/ledger/ledger-row.ts';
import { digest, later, ledgerHost, ledgerRow } from '../support/ledger-rows.ts';

/** How the suite reaches what it examines. */
export interface LedgerUnderTest {
  /** Another connection to the same ledger each time. */
  open(): Ledger;
  /** Writes bytes at a VM's place past the adapter. */
  plant(vm: string, bytes: Uint8Array): Promise<void>;
}

const contenders = 50;
const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    (error as { code?: unknown }).code === code;

export async function write(ledger: Ledger, before: LedgerRow | null, after: LedgerRow): Promise<LedgerRow> {
  assert.deepEqual(await ledger.compareAndSwap(before, after), { written: true });
  return after;
}

/** Waits until as many changes were seen; fails after a time in which they surely would have been. */
export async function collected(changes: readonly LedgerChange[], count: number): Promise<void> {
  for (let waited = 0; changes.length < count; waited += 20) {
    assert.ok(waited < 30_000, `${changes.length} of ${count} changes were seen`);
    await sleep(20);
  }
}

export function describeLedgerConformance(
  name: string,
  begin: () => Promise<LedgerUnderTest>,
  end: () => Promise<void>,
): void {
  describe(`ledger port: ${name}`, () => {
    let made: LedgerUnderTest;
    let ledger: Ledger;
    before(async function () {
      this.timeout(60_000);
      made = await begin();
      ledger = made.open();
    });
    after(async () => {
      await ledger.close();
      await end();
    });

    describeSwaps(
      () => ledger,
      () => made,
    );
    describeWatches(() => ledger);
    describeForeignRows(
      () => ledger,
      () => made,
    );
  });
}

function describeSwaps(ledger: () => Ledger, made: () => LedgerUnderTest): void {
  it('has no row of a VM that it has not heard of', async () => {
    assert.equal(await ledger().read(randomUUID()), null);
    await ledger().probe();
  });

  it('gives back what was written, every member of it', async () => {
    const born = await write(ledger(), null, ledgerRow());
    assert.ok(sameRow(await ledger().read(born.vm), born));
    const leaving = { to: ledgerHost('beta'), session: digest('session') };
    const gone = await write(ledger(), born, later(born, { leaving }));
    assert.ok(sameRow(await ledger().read(born.vm), gone));
    const arrived = await write(
      ledger(),
      gone,
      later(gone, { epoch: 1, holder: ledgerHost('beta'), leaving: null }),
    );
    const { epoch, sequence, head } = gone;
    const withdrawn = await write(ledger(), arrived, { ...arrived, withdrawn: { epoch, sequence, head } });
    assert.ok(sameRow(await ledger().read(born.vm), withdrawn));
  });

  it('writes only in the place of exactly the row that was expected, and tells what is there', async () => {
    const born = await write(ledger(), null, ledgerRow());
    const next = await write(ledger(), born, later(born));
    const stale = later(born, {
      holder: ledgerHost('alpha'),
      leaving: { to: ledgerHost('beta'), session: digest('s') },
    });
    for (const expected of [born, null]) {
      const swapped = await ledger().compareAndSwap(expected, stale);
      assert.ok(!swapped.written && sameRow(swapped.found, next));
    }
    const missing = await ledger().compareAndSwap(
      later(stale, { vm: stale.vm }),
      later(stale, { sequence: 9 }),
    );
    assert.ok(!missing.written && sameRow(missing.found, next));
    assert.ok(sameRow(await ledger().read(born.vm), next));
  });

  it('takes the same write again for done: an answer can be lost', async () => {
    const born = await write(ledger(), null, ledgerRow());
    const next = later(born);
    await write(ledger(), born, next);
    await write(ledger(), born, next);
    await write(ledger(), null, next);
  });

  it(`lets one of ${contenders} contenders take over an epoch`, async () => {
    const born = await write(ledger(), null, ledgerRow());
    const others = [made().open(), made().open()];
    try {
      const swaps = await Promise.all(
        Array.from({ length: contenders }, async (_, index) => {
          const through = others[index % others.length] ?? ledger();
          const holder = ledgerHost(`host-${index}`);
          const head = digest(`arrived at ${index}`);
          return through.compareAndSwap(born, later(born, { epoch: 1, holder, head }));
        }),
      );
      const winners = swaps.flatMap(({ written }, index) => (written ? [`host-${index}`] : []));
      assert.equal(winners.length, 1);
      const now = await ledger().read(born.vm);
      assert.deepEqual([now?.epoch, now?.holder.name], [1, winners[0]]);
      for (const swap of swaps) if (!swap.written) assert.ok(sameRow(swap.found, now));
    } finally {
      for (const other of others) await other.close();
    }
  });

  it('counts up without losing one, whoever counts', async () => {
    const born = await write(ledger(), null, ledgerRow());
    const count = async (_: unknown, counter: number): Promise<void> => {
      for (let row: LedgerRow | null = born; row !== null;) {
        const epoch: number = row.epoch + 1;
        const next = later(row, { epoch, head: digest(`${counter} counts to ${epoch}`) });
        const swapped = await ledger().compareAndSwap(row, next);
        row = swapped.written ? null : swapped.found;
      }
    };
    await Promise.all(Array.from({ length: 20 }, count));
    assert.equal((await ledger().read(born.vm))?.epoch, 20);
  });

  it('never goes back: epoch, entry, holder within an epoch, an end', async () => {
    const row = await write(ledger(), null, ledgerRow({ epoch: 3, sequence: 9 }));
    const wrong = [
      later(row, { epoch: 2 }),
      later(row, { sequence: 8 }),
      { ...row, head: digest('a fork') },
      later(row, { holder: ledgerHost('beta') }),
      later(row, { birth: digest('another birth') }),
    ];
    for (const next of wrong) {
      await assert.rejects(ledger().compareAndSwap(row, next), hasCode('ledger-conflict'));
    }
    const ended = await write(ledger(), row, later(row, { life: 'ended' }));
    await assert.rejects(
      ledger().compareAndSwap(ended, later(ended, { life: 'held' })),
      hasCode('ledger-conflict'),
    );
    const reborn = ledgerRow({ vm: row.vm, birth: digest('another birth') });
    await write(ledger(), ended, reborn);
  });

  it('goes back to the place that a holder has withdrawn to, and no further', async () => {
    const { epoch, sequence, head, ...rest } = ledgerRow({ epoch: 2, sequence: 5 });
    const arrived = { ...rest, epoch: 3, sequence: 6, head: digest('arrived'), holder: ledgerHost('beta') };
    await write(ledger(), null, arrived);
    const withdrawn = await write(ledger(), arrived, { ...arrived, withdrawn: { epoch, sequence, head } });
    const kept = {
      ...rest,
      epoch,
      sequence: sequence + 1,
      head: digest('resolved'),
      holder: ledgerHost('alpha'),
    };
    const tooFar = { ...kept, sequence: sequence - 1 };
    await assert.rejects(ledger().compareAndSwap(withdrawn, tooFar), hasCode('ledger-conflict'));
    await write(ledger(), withdrawn, kept);
  });
}

function describeWatches(ledger: () => Ledger): void {
  it('shows a watch every change in order, and nothing of before', async () => {
    let row = await write(ledger(), null, ledgerRow());
    const [all, one]: [LedgerChange[], LedgerChange[]] = [[], []];
    const other = await write(ledger(), null, ledgerRow());
    const watches = [
      await ledger().watch(null, (change) => all.push(change)),
      await ledger().watch(row.vm, (change) => one.push(change)),
    ];
    for (let epoch = 1; epoch <= 20; epoch += 1) row = await write(ledger(), row, later(row, { epoch }));
    await write(ledger(), other, later(other));
    await collected(one, 20);
    await collected(all, 21);
    assert.deepEqual(
      one.map((change) => change.row?.epoch),
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    assert.equal(all.filter(({ vm }) => vm === row.vm).length, 20);
    assert.equal(all.at(-1)?.vm, other.vm);
    for (const watch of watches) await watch.close();
    await write(ledger(), row, later(row));
    await ledger().read(row.vm);
    assert.deepEqual([one.length, all.length], [20, 21]);
  });
}

function describeForeignRows(ledger: () => Ledger, made: () => LedgerUnderTest): void {
  const cases: readonly (readonly [string, (vm: string) => Uint8Array])[] = [
    ['text of somebody else', () => Buffer.from('hello')],
    ['nothing', () => new Uint8Array()],
    ['megabytes', () => new Uint8Array(1024 * 1024)],
  ];
  for (const [what, bytes] of cases) {
    it(`refuses a row that is ${what}, and leaves it there`, async () => {
      const row = ledgerRow();
      await made().plant(row.vm, bytes(row.vm));
      await assert.rejects(ledger().read(row.vm), hasCode('ledger-invalid'));
      await assert.rejects(ledger().compareAndSwap(null, row), hasCode('ledger-invalid'));
      await assert.rejects(ledger().read(row.vm), hasCode('ledger-invalid'));
    });
  }

  it('refuses a row under the name of another VM', async () => {
    const vm = randomUUID();
    await made().plant(vm, encodeRow(ledgerRow()));
    await assert.rejects(ledger().read(vm), hasCode('ledger-invalid'));
  });
}
