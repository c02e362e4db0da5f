/** A journal tied to a counter that does not go back (SPEC 8.8): every point of a crash, every copy that is put back, and how few increments it takes. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TvmmpError } from '../../../lib/errors.ts';
import { Journal } from '../../../lib/ledger/journal.ts';
import { limits } from '../../../lib/limits.ts';
import { Anchor, isRolledBack, standingOf } from '../../../lib/migration/anchor.ts';
import { vmRecord } from '../../support/vm-record.ts';

const vm = vmRecord();

class Crash extends Error {}

/** A host: its TPM outlives its disk and its agents. */
class Machine {
  counter: bigint | null = null;
  increments = 0;
  /** Durable writes and TPM commands that are still done; the power is cut at the next one. */
  left = Infinity;
  /** Whether that one is still done. */
  lastIsDone = false;
  faults: Error[] = [];
  time = 0;
  readonly logged: string[] = [];
  readonly directory = mkdtempSync(join(tmpdir(), 'tvmmp-anchor-'));
  readonly file = join(this.directory, 'journal.sqlite');
  journal = new Journal(this.file);
  anchor = this.#anchor();
  tick: () => void = () => undefined;

  /** One thing that a power cut comes before, or after. */
  step<T>(work: () => T): T {
    if (this.left === Infinity) return work();
    this.left -= 1;
    if (this.left > 0) return work();
    if (this.left === 0 && this.lastIsDone) work();
    this.left = 0;
    throw new Crash('power cut');
  }

  /** After a power cut, or with another disk. */
  async boot(disk?: string): Promise<void> {
    this.left = Infinity;
    this.anchor.end();
    this.journal.close();
    if (disk !== undefined) {
      for (const rest of ['-wal', '-shm']) rmSync(`${this.file}${rest}`, { force: true });
      copyFileSync(disk, this.file);
    }
    this.journal = new Journal(this.file);
    this.anchor = this.#anchor();
    await this.anchor.begin();
  }

  /** A copy of the disk as it is. */
  copy(name: string): string {
    const copy = join(this.directory, name);
    this.journal.close();
    copyFileSync(this.file, copy);
    this.journal = new Journal(this.file);
    return copy;
  }

  /** Something that must not go back. */
  decide(digest: number): void {
    this.step(() => {
      const known = { vm: vm.uuid, standing: 'at-rest', digest: new Uint8Array([digest]), time: 0 } as const;
      this.journal.putVtpmState(known);
    });
  }

  close(): void {
    this.anchor.end();
    this.journal.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #anchor(): Anchor {
    const command = <T>(work: () => T): Promise<T> =>
      new Promise((resolve) => {
        setImmediate(resolve);
      }).then(() => {
        const fault = this.faults.shift();
        if (fault !== undefined) throw fault;
        return this.step(work);
      });
    const { journal } = this;
    const log = (_fields: object, message: string): void => void this.logged.push(message);
    return new Anchor({
      journal: new Proxy(journal, {
        get: (target, name) => {
          const member = Reflect.get(target, name, target) as unknown;
          if (typeof member !== 'function') return member;
          const work = (...args: unknown[]): unknown => Reflect.apply(member, target, args);
          const durable = name === 'putSetting' || name === 'transaction';
          return durable ? (...args: unknown[]) => this.step(() => work(...args)) : work;
        },
      }),
      tpm: {
        readCounter: () => command(() => this.counter),
        makeCounter: () => command(() => (this.counter ??= 7n)),
        incrementCounter: () =>
          command(() => {
            this.counter = (this.counter ?? 0n) + 1n;
            this.increments += 1;
          }),
      },
      timers: {
        elapsed: () => this.time,
        sleep: (spanMs) => {
          this.time += spanMs;
          return Promise.resolve();
        },
        after: () => ({ stop: () => undefined }),
        soon: (work) => void setImmediate(work),
        every: (_spanMs, work) => {
          this.tick = work;
          return { stop: () => undefined };
        },
      },
      log: { debug: log, info: log, warn: log, error: log },
      now: () => 1_000,
      identity: { id: { name: 'alpha' } },
    });
  }
}

describe('journal and counter (SPEC 8.8)', () => {
  let machine: Machine;
  beforeEach(() => {
    machine = new Machine();
  });
  afterEach(() => {
    machine.close();
  });

  for (const [anchor, counter, empty, standing] of [
    [null, null, true, 'first'],
    [null, null, false, 'first'],
    [null, 5n, true, 'first'],
    ['binding', 5n, false, 'first'],
    ['binding', null, false, 'first'],
    ['5', 5n, false, 'good'],
    ['6', 5n, false, 'behind'],
    ['4', 5n, false, 'rolled-back'],
    ['7', 5n, false, 'rolled-back'],
    ['5', null, false, 'rolled-back'],
    [null, 5n, false, 'rolled-back'],
    ['18446744073709551614', 18446744073709551615n, true, 'rolled-back'],
  ] as const)
    it(`${anchor ?? 'no anchor'} in ${empty ? 'an empty' : 'a'} journal and counter ${counter ?? 'none'}: ${standing}`, () => {
      assert.equal(standingOf(anchor, counter, empty), standing);
    });

  it('stands whatever a power cut comes before or after, from the first start on', async () => {
    let crashes = 0;
    for (const lastIsDone of [false, true]) {
      for (let at = 1, done = false; !done; at += 1) {
        machine.close();
        machine = new Machine();
        machine.journal.putVm(vm);
        Object.assign(machine, { left: at, lastIsDone });
        try {
          await machine.anchor.begin();
          for (const digest of [1, 2]) {
            machine.decide(digest);
            await machine.anchor.settle();
          }
          done = true;
        } catch (error) {
          assert.ok(error instanceof Crash, String(error));
          crashes += 1;
        }
        for (let boots = 0; boots < 2; boots += 1) {
          await machine.boot();
          assert.equal(machine.anchor.status().rolledBack, null, `power cut ${at}, ${String(lastIsDone)}`);
          assert.equal(machine.anchor.status().counter, machine.journal.setting('anchor'));
          assert.equal(machine.journal.setting('anchor'), String(machine.counter));
        }
        machine.decide(9);
        await machine.anchor.settle();
      }
    }
    assert.ok(crashes >= 18, `${crashes} power cuts`);
  });

  it('stands where the power is cut while a power cut is made up for', async () => {
    machine.journal.putVm(vm);
    await machine.anchor.begin();
    for (let at = 1; at <= 4; at += 1) {
      machine.decide(at);
      Object.assign(machine, { left: 2, lastIsDone: false });
      await assert.rejects(machine.anchor.settle(), Crash);
      assert.equal(machine.journal.setting('anchor'), String((machine.counter ?? 0n) + 1n));
      machine.left = Infinity;
      const booted = machine.boot();
      Object.assign(machine, { left: at, lastIsDone: at % 2 === 0 });
      await booted.catch((error: unknown) => {
        assert.ok(error instanceof Crash, String(error));
      });
      await machine.boot();
      assert.equal(machine.anchor.status().rolledBack, null);
    }
  });

  it('finds every copy of the disk from before the last increment, and none from after it', async () => {
    machine.journal.putVm(vm);
    await machine.anchor.begin();
    const copies: string[] = [];
    for (const digest of [1, 2, 3]) {
      copies.push(machine.copy(`before-${digest}`));
      await machine.boot();
      machine.decide(digest);
      copies.push(machine.copy(`decided-${digest}`));
      await machine.boot();
      await machine.anchor.settle();
    }
    const last = machine.copy('last');
    const { counter } = machine;
    for (const disk of copies) {
      machine.counter = counter;
      await machine.boot(disk);
      assert.equal(machine.anchor.status().rolledBack, 1_000, disk);
      assert.deepEqual(machine.anchor.status().vms, [vm.uuid]);
      assert.equal(isRolledBack(machine.journal, vm.uuid), true);
      assert.match(machine.journal.refusals(1)[0]?.reason ?? '', /^journal-rolled-back: .* put back/);
    }
    machine.counter = counter;
    await machine.boot(last);
    assert.equal(machine.anchor.status().rolledBack, null);
  });

  it('does not forget that it went back, whatever a power cut comes before or after', async () => {
    machine.journal.putVm(vm);
    await machine.anchor.begin();
    const old = machine.copy('old');
    await machine.boot();
    machine.decide(1);
    await machine.anchor.settle();
    const { counter } = machine;
    for (const removed of [false, true])
      for (const lastIsDone of [false, true])
        for (let at = 1; at <= 5; at += 1) {
          machine.counter = removed ? null : counter;
          const booted = machine.boot(old);
          Object.assign(machine, { left: at, lastIsDone });
          await booted.catch((error: unknown) => {
            assert.ok(error instanceof Crash, String(error));
          });
          await machine.boot();
          await machine.boot();
          assert.equal(isRolledBack(machine.journal, vm.uuid), true, `power cut ${at}`);
          assert.equal(machine.anchor.status().counter, String(machine.counter));
        }
  });

  it('takes one increment for all that wait while one is under way, and none where nothing was decided', async () => {
    machine.journal.putVm(vm);
    await machine.anchor.begin();
    const waiting = Array.from({ length: 32 }, (_, index) => {
      machine.decide(index);
      return machine.anchor.settle();
    });
    await Promise.all(waiting);
    assert.equal(machine.increments, 2);
    await Promise.all([machine.anchor.settle(), machine.anchor.settle()]);
    assert.equal(machine.increments, 2);
  });

  it('resolves for nobody before an increment that began after what was decided', async () => {
    await machine.anchor.begin();
    machine.decide(1);
    const first = machine.anchor.settle();
    machine.decide(2);
    const before = machine.increments;
    await machine.anchor.settle();
    assert.equal(machine.increments, before + 2);
    await first;
  });

  it('waits for a TPM that spares its memory, and asks one that failed whether it was done', async () => {
    await machine.anchor.begin();
    const busy = new TvmmpError('tpm-call-failed', 'TPM_RC_NV_RATE', { details: { rc: 0x920 } });
    const gone = new TvmmpError('tpm-unreachable', 'gone');
    machine.decide(1);
    machine.faults = [busy];
    await machine.anchor.settle();
    assert.equal(machine.time, 1_000);
    machine.decide(2);
    machine.faults = [gone];
    await machine.anchor.settle();
    machine.decide(3);
    machine.faults = [gone, gone];
    await assert.rejects(machine.anchor.settle(), { code: 'tpm-unreachable' });
    assert.equal(machine.increments, 2);
    // As if the TPM had done it, and its answer was lost.
    machine.counter = (machine.counter ?? 0n) + 1n;
    await machine.anchor.settle();
    assert.equal(machine.increments, 2);
    await machine.boot();
    assert.equal(machine.anchor.status().rolledBack, null);
  });

  it('gives up after five attempts that the TPM puts off', async () => {
    await machine.anchor.begin();
    machine.decide(1);
    machine.faults = Array.from(
      { length: 9 },
      () => new TvmmpError('tpm-call-failed', 'TPM_RC_NV_RATE', { details: { rc: 0x920 } }),
    );
    await assert.rejects(machine.anchor.settle(), /NV_RATE/);
    assert.equal(machine.increments, 0);
  });

  it('makes up later for what could not wait, and for what nobody waits for after a quarter of an hour', async () => {
    const ticked = async (): Promise<number> => {
      machine.tick();
      for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
      return machine.increments;
    };
    machine.journal.putVm(vm);
    await machine.anchor.begin();
    machine.decide(1);
    machine.faults = [new Error('failing'), new Error('failing')];
    await machine.anchor.settleOrOwe();
    assert.equal(machine.increments, 0);
    assert.equal(await ticked(), 1);
    machine.decide(2);
    assert.equal(await ticked(), 1);
    machine.time += limits.anchorDelayMs;
    assert.equal(await ticked(), 2);
    machine.time += limits.anchorDelayMs;
    assert.equal(await ticked(), 2);
  });
});
