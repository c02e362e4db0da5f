import assert from 'node:assert/strict';
import { TvmmpError } from '../../../lib/errors.ts';
import { Journal } from '../../../lib/ledger/journal.ts';
import type { Ledger, LedgerChange } from '../../../lib/ledger/ledger.ts';
import type { LedgerRow } from '../../../lib/ledger/ledger-row.ts';
import { SqliteLedger } from '../../../lib/ledger/sqlite-ledger.ts';
import type { VmRecord } from '../../../lib/ledger/records.ts';
import type { Chains } from '../../../lib/migration/chains.ts';
import { Custody } from '../../../lib/migration/custody.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { LedgerNews } from '../../../lib/migration/ledger-news.ts';
import { LedgerView } from '../../../lib/migration/ledger-view.ts';
import { continues, lineageOf, rowOf } from '../../../lib/migration/lineage.ts';
import type { Lineage } from '../../../lib/migration/lineage.ts';
import { Refused } from '../../../lib/migration/refused.ts';
import { stepChain } from '../../../lib/proof/chain.ts';
import type { ChainState } from '../../../lib/proof/chain.ts';
import { decodeEntry, encodeSignedEntry, entryHash } from '../../../lib/proof/entry.ts';
import { ChainBuilder, makeWorld } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';
import { digest } from '../../support/ledger-rows.ts';

/** Where a chain stood with each of its entries. */
function statesOf({ entries }: ChainBuilder): readonly ChainState[] {
  let state: ChainState | null = null;
  return entries.map(({ entry }) => (state = stepChain(state, decodeEntry(entry), entryHash(entry))));
}

/** All of a chain, or what a host has of it that has entries from `first` on alone. */
function lineage(builder: ChainBuilder, upTo = builder.entries.length - 1, first = 0): Lineage {
  const states = statesOf(builder);
  return {
    state: states[upTo]!,
    hashAt: (sequence) => (sequence < first || sequence > upTo ? null : states[sequence]!.head),
  };
}

/** A ledger elsewhere: of another host's journal, so that nothing of it is local. */
class ElsewhereLedger implements Ledger {
  readonly kind = 'etcd';
  readonly local = null;
  readonly place = 'elsewhere';
  readonly rows = new SqliteLedger(new Journal(':memory:'));
  away = false;

  read(vm: string): Promise<LedgerRow | null> {
    return this.#ask(() => this.rows.read(vm));
  }
  compareAndSwap(expected: LedgerRow | null, next: LedgerRow) {
    return this.#ask(() => this.rows.compareAndSwap(expected, next));
  }
  watch(vm: string | null, seen: (change: LedgerChange) => void) {
    return this.#ask(() => this.rows.watch(vm, seen));
  }
  probe(): Promise<void> {
    return this.#ask(() => Promise.resolve());
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  #ask<T>(work: () => Promise<T>): Promise<T> {
    if (this.away) return Promise.reject(new TvmmpError('ledger-unavailable', 'away'));
    return work();
  }
}

/** A host whose journal holds a chain up to its `entries`, and what it tells the ledger. */
class Keeper {
  readonly journal = new Journal(':memory:');
  readonly custody: Custody;
  readonly news: LedgerNews;
  readonly #builder: ChainBuilder;
  readonly #host: WorldHost;
  #entries = 0;
  sweep: () => void = () => undefined;

  constructor(builder: ChainBuilder, host: WorldHost, ledger: Ledger) {
    this.#builder = builder;
    this.#host = host;
    const timers = {
      soon: (work: () => void) => {
        work();
      },
      every: (_span: number, work: () => void) => {
        this.sweep = work;
        return { stop: () => undefined };
      },
    };
    const log = { debug: noop, info: noop, warn: noop, error: noop };
    const identity = { id: host.id };
    const own = { journal: this.journal, ledger, timers, log, identity } as unknown as Host;
    const chains = { state: () => this.state(), require: () => this.state()! } as unknown as Chains;
    const view = new LedgerView(ledger);
    this.news = new LedgerNews(own, chains, view);
    this.custody = new Custody(own, chains, view, this.news);
  }

  state(): ChainState | null {
    return statesOf(this.#builder)[this.#entries - 1] ?? null;
  }

  /** Takes the chain's entries over, as far as told, and tells the ledger. */
  knows(entries = this.#builder.entries.length): this {
    for (let at = this.#entries; at < entries; at += 1)
      this.journal.appendEntry(this.#builder.vm, at, encodeSignedEntry(this.#builder.entries[at]!));
    this.#entries = entries;
    this.journal.putVm(this.record);
    this.news.noted(this.state()!);
    return this;
  }

  get record(): VmRecord {
    const { vm: uuid, epoch, sequence, head, facts, vtpm, holder } = this.state()!;
    const sealed = holder.name === this.#host.id.name ? Buffer.of(1) : null;
    const chain = { uuid, epoch, sequence, head, facts, vtpm, holder: holder.name };
    return { ...chain, name: 'guest', state: 'stopped', secret: '', sealed, context: null };
  }
}

const noop = (): void => undefined;
const unavailable = { code: 'ledger-unavailable' };

/** Lets what was begun go on until nothing is left of it. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

describe('what takes a row’s place in the ledger (SPEC 8.6)', () => {
  let world: World;
  let builder: ChainBuilder;
  before(async () => {
    world = await makeWorld();
    builder = new ChainBuilder(world).live('created', 'started').migrate(world.beta).live('suspended');
  });
  const rows = (): readonly LedgerRow[] => statesOf(builder).map(rowOf);

  it('is what continues it: every later place of the same chain, and none before it', () => {
    rows().forEach((row, at) => {
      for (let now = 0; now < builder.entries.length; now += 1)
        assert.equal(continues(lineage(builder, now), row), now >= at, `${at} by ${now}`);
    });
  });

  it('is no fork, and no other birth but after an end', () => {
    const [first, second] = rows() as [LedgerRow, LedgerRow];
    assert.ok(!continues(lineage(builder), { ...second, head: digest('fork') }));
    const other = { ...first, birth: digest('other'), head: digest('other') };
    assert.ok(!continues(lineage(builder), other));
    assert.ok(!continues(lineage(builder, 1), { ...other, life: 'ended' }));
    assert.ok(continues(lineage(builder, 0), { ...other, life: 'ended' }));
  });

  it('may lack the entries of epochs that are over, but none of its own', () => {
    const short = lineage(builder, undefined, 3);
    assert.ok(continues(short, rows()[1]!));
    const { marks } = short.state;
    assert.ok(marks.some(({ sequence }) => sequence === 2));
    assert.ok(!continues(short, { ...rows()[2]!, head: digest('fork') }));
    const gap: Lineage = { ...short, hashAt: () => null };
    assert.ok(!continues(gap, { ...rows()[4]!, sequence: 4, head: digest('x') }));
  });

  it('goes on from where a holder withdrew to', () => {
    const arrived = rows()[3]!;
    const { epoch, sequence, head } = rows()[2]!;
    const kept = lineage(builder, 2);
    assert.ok(!continues(kept, arrived));
    assert.ok(continues(kept, { ...arrived, withdrawn: { epoch, sequence, head } }));
  });

  it('is told by all who know the chain alike', () => {
    const journal = new Journal(':memory:');
    builder.entries.forEach((entry, at) => {
      journal.appendEntry(builder.vm, at, encodeSignedEntry(entry));
    });
    const own = lineageOf(journal, statesOf(builder).at(-1)!);
    assert.deepEqual(rowOf(own.state), rows().at(-1));
    assert.deepEqual(own.hashAt(2), rows()[2]!.head);
    journal.close();
  });
});

describe('custody (SPEC 8.6)', () => {
  let world: World;
  let builder: ChainBuilder;
  let ledger: ElsewhereLedger;
  before(async () => {
    world = await makeWorld();
  });
  beforeEach(() => {
    builder = new ChainBuilder(world).live('created');
    ledger = new ElsewhereLedger();
  });
  const sequence = async (): Promise<number | null> => (await ledger.rows.read(builder.vm))?.sequence ?? null;

  it('tells at once, and later what the ledger did not hear', async () => {
    const alpha = new Keeper(builder, world.alpha, ledger).knows();
    await settled();
    assert.equal(await sequence(), 0);
    alpha.news.begin();
    ledger.away = true;
    builder.live('started', 'suspended');
    alpha.knows();
    await settled();
    assert.deepEqual([await sequence(), alpha.news.status().behind], [0, [builder.vm]]);
    assert.match(alpha.news.status().problem, /away/);
    ledger.away = false;
    alpha.sweep();
    await settled();
    assert.deepEqual([await sequence(), alpha.news.status().behind], [2, []]);
    assert.equal(alpha.news.status().problem, '');
  });

  it('lets nothing begin while the ledger does not answer', async () => {
    const alpha = new Keeper(builder, world.alpha, ledger).knows();
    await settled();
    ledger.away = true;
    const { custody, record } = alpha;
    await assert.rejects(custody.requireHolder(record), unavailable);
    await assert.rejects(custody.announce(record, digest('session'), world.beta.id), unavailable);
    await assert.rejects(custody.requireCurrent('guest', lineage(builder)), unavailable);
    await assert.rejects(custody.requireUnheld(builder.vm, 'guest'), unavailable);
    await assert.rejects(custody.requireAnswer(), unavailable);
  });

  it('refuses on a host that was put back to an earlier day', async () => {
    builder.live('started', 'stopped');
    new Keeper(builder, world.alpha, ledger).knows();
    await settled();
    const old = new Keeper(builder, world.alpha, ledger).knows(1);
    await settled();
    assert.match(old.news.status().conflicts[0]?.problem ?? '', /put back to an earlier state/);
    for (const asked of [
      old.custody.requireHolder(old.record),
      old.custody.announce(old.record, digest('session'), world.beta.id),
      old.custody.requireCurrent('guest', lineage(builder, 0)),
    ])
      await assert.rejects(
        asked,
        (error) => error instanceof Refused && /^ledger-conflict: /.test(error.message),
      );
    assert.equal(await sequence(), 2);
  });

  it('says who holds the VM where another host took it over', async () => {
    builder.live('started').migrate(world.beta);
    new Keeper(builder, world.beta, ledger).knows();
    await settled();
    const alpha = new Keeper(builder, world.alpha, ledger).knows(2);
    await assert.rejects(
      alpha.custody.requireHolder(alpha.record),
      /beta\S* holds guest in epoch 1, entry 3/,
    );
    await assert.rejects(
      alpha.custody.requireUnheld(builder.vm, 'guest'),
      /beta\S* holds guest since epoch 1/,
    );
  });

  it('announces a hand-over, and takes it back where nothing came of it', async () => {
    builder.live('started');
    const alpha = new Keeper(builder, world.alpha, ledger).knows();
    await settled();
    alpha.news.begin();
    await alpha.custody.announce(alpha.record, digest('session'), world.beta.id);
    assert.equal((await ledger.rows.read(builder.vm))?.leaving?.to.name, world.beta.id.name);
    alpha.sweep();
    await settled();
    assert.equal((await ledger.rows.read(builder.vm))?.leaving, null);
  });

  it('notices by its watch that somebody wrote another row', async () => {
    const alpha = new Keeper(builder, world.alpha, ledger).knows();
    alpha.news.begin();
    await settled();
    const row = (await ledger.rows.read(builder.vm))!;
    await ledger.rows.compareAndSwap(row, { ...row, sequence: 7, head: digest('fork') });
    assert.match(alpha.news.status().conflicts[0]?.problem ?? '', /^ledger-conflict: /);
  });

  it('tells its chain again when another host has taken back what stood against it', async () => {
    const { session } = builder.live('started').departing(world.beta);
    const alpha = new Keeper(builder, world.alpha, ledger).knows();
    alpha.news.begin();
    await settled();
    const departing = (await ledger.rows.read(builder.vm))!;
    const { epoch, sequence: at, head } = departing;
    const { name, akName } = world.beta.id;
    const elsewhere = { epoch: epoch + 1, sequence: at + 1, head: digest('arrived'), leaving: null };
    const arrived = { ...departing, ...elsewhere, holder: { name, akName } };
    await ledger.rows.compareAndSwap(departing, arrived);
    builder.add('resolved', { peer: world.beta.id, session });
    alpha.knows();
    await settled();
    assert.equal(alpha.news.status().conflicts.length, 1);
    assert.deepEqual((await ledger.rows.read(builder.vm))?.holder.name, name, 'it is not overwritten');
    await ledger.rows.compareAndSwap(arrived, { ...arrived, withdrawn: { epoch, sequence: at, head } });
    await settled();
    assert.equal(alpha.news.status().conflicts.length, 0);
    assert.equal((await ledger.rows.read(builder.vm))?.holder.name, world.alpha.id.name);
  });

  it('restores a row that the ledger has lost, at the next start', async () => {
    const alpha = new Keeper(builder, world.alpha, ledger).knows();
    await settled();
    const lost = new ElsewhereLedger();
    const after = new Keeper(builder, world.alpha, lost);
    after.knows();
    await after.custody.requireHolder(alpha.record);
    assert.equal((await lost.rows.read(builder.vm))?.sequence, 0);
  });
});
