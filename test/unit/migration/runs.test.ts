import { strict as assert } from 'node:assert';
import { Journal } from '../../../lib/ledger/journal.ts';
import type { VmRecord, VmState } from '../../../lib/ledger/records.ts';
import type { ProtectedDomain } from '../../../lib/migration/domain.ts';
import { Refused } from '../../../lib/migration/refused.ts';
import {
  adoptRun,
  beginRun,
  requireLatestRun,
  runIsWritten,
  runToWrite,
} from '../../../lib/migration/runs.ts';
import { encodeSignedEntry } from '../../../lib/proof/entry.ts';
import type { EntryKind } from '../../../lib/proof/entry.ts';
import { ChainBuilder, makeWorld } from '../../support/proof-world.ts';
import type { World } from '../../support/proof-world.ts';
import { vmRecord } from '../../support/vm-record.ts';

const { uuid } = vmRecord();

describe('memory that comes back (SPEC 8.7)', () => {
  let world: World;
  let journal: Journal;
  let chain: ChainBuilder;
  before(async () => {
    world = await makeWorld();
  });
  beforeEach(() => {
    journal = new Journal(':memory:');
    chain = new ChainBuilder(world);
  });
  afterEach(() => {
    journal.close();
  });

  function live(...kinds: EntryKind[]): void {
    for (const kind of kinds) {
      chain.live(kind);
      journal.appendEntry(uuid, chain.sequence - 1, encodeSignedEntry(chain.entries.at(-1)!));
    }
  }

  const vm = (state: VmState): VmRecord =>
    vmRecord({ name: 'web', state, sequence: chain.sequence - 1, head: chain.head, facts: chain.facts });

  function comesBack(run: number | null, state: VmState, operation: 'prepare' | 'restore' = 'restore'): void {
    const domain: ProtectedDomain = { uuid, name: 'web', facts: chain.facts, secret: '', agent: null, run };
    requireLatestRun(journal, vm(state), domain, operation);
  }

  /** Boots or restores, and gives the run its number. */
  function run(from: number | null, kind: EntryKind): number {
    beginRun(journal, uuid, from);
    live(kind);
    const number = runToWrite(journal, vm('running'));
    assert.equal(number, chain.sequence - 1);
    runIsWritten(journal, uuid, number);
    assert.equal(runToWrite(journal, vm('running')), null, 'once is enough');
    return number;
  }

  const refused = (reason: RegExp) => (error: unknown) => {
    assert.ok(error instanceof Refused);
    assert.match(error.message, reason);
    return true;
  };

  it('is that of the run that was saved', () => {
    live('created');
    const first = run(null, 'started');
    live('suspended', 'resumed', 'saved');
    comesBack(first, 'saved');
    comesBack(first, 'saved', 'prepare');
    const second = run(first, 'restored');
    live('saved');
    comesBack(second, 'saved');
  });

  it('is refused where it is of another run than the one that was saved', () => {
    live('created');
    const first = run(null, 'started');
    live('saved');
    run(first, 'restored');
    live('saved');
    for (const operation of ['restore', 'prepare'] as const)
      assert.throws(
        () => {
          comesBack(first, 'saved', operation);
        },
        refused(
          /^vtpm-state-changed: this memory of web is an old one, that of run 1: .*tvmmp vm adopt web --run 1\)$/,
        ),
      );
    assert.throws(
      () => {
        comesBack(null, 'saved');
      },
      refused(/^vtpm-state-changed: this memory of web is an old one: .* start the VM without it$/),
    );
  });

  it('is refused where nothing was saved: a snapshot', () => {
    live('created');
    const first = run(null, 'started');
    live('stopped');
    assert.throws(() => {
      comesBack(first, 'stopped', 'prepare');
    }, refused(/run 1/));
    comesBack(null, 'stopped', 'prepare');
  });

  it('may have the number of before as long as that of its run is not surely written', () => {
    live('created');
    const first = run(null, 'started');
    live('saved');
    beginRun(journal, uuid, first);
    live('restored');
    const second = runToWrite(journal, vm('running'));
    live('saved');
    comesBack(first, 'saved');
    comesBack(second, 'saved');
    assert.throws(
      () => {
        comesBack(null, 'saved');
      },
      refused(/an old one/),
    );
  });

  it('may have no number where none was written, and comes back where nothing is known of its run', () => {
    live('created');
    comesBack(7, 'saved');
    beginRun(journal, uuid, null);
    live('started', 'saved');
    comesBack(null, 'saved');
    assert.throws(() => {
      comesBack(7, 'saved');
    }, refused(/run 7/));
  });

  it('may come back once where an administrator adopts it', () => {
    live('created');
    const first = run(null, 'started');
    live('stopped');
    for (const number of [0, 2, 99])
      assert.throws(
        () => {
          adoptRun(journal, vm('stopped'), number);
        },
        refused(/does not begin a run/),
      );
    adoptRun(journal, vm('stopped'), first);
    for (const operation of ['restore', 'prepare'] as const) comesBack(first, 'stopped', operation);
    run(first, 'started');
    live('stopped');
    assert.throws(() => {
      comesBack(first, 'stopped', 'prepare');
    }, refused(/run 1/));
  });
});
