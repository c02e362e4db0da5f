import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Journal } from '../../../lib/ledger/journal.ts';
import type { SessionRecord } from '../../../lib/ledger/records.ts';
import { limits } from '../../../lib/limits.ts';
import { vmRecord } from '../../support/vm-record.ts';

const id = Buffer.alloc(32, 7);
const vm = vmRecord();
const { uuid } = vm;
const session: SessionRecord = {
  id,
  vm: uuid,
  role: 'target',
  state: 'open',
  peer: '',
  address: 'a:1',
  started: 1000,
  updated: 1000,
  problem: '',
};
const permit = {
  vm: uuid,
  session: id,
  facts: Buffer.alloc(32),
  verdict: Buffer.alloc(32),
  expires: 5000,
  consumed: null,
};

describe('journal', () => {
  let journal: Journal;
  beforeEach(() => {
    journal = new Journal(':memory:');
  });
  afterEach(() => {
    journal.close();
  });

  it('keeps VMs, and forgets one with its chain but not its sessions', () => {
    journal.putVm(vm);
    journal.appendEntry(uuid, 0, Buffer.of(1));
    journal.openSession(session);
    assert.deepEqual(journal.vm(uuid), vm);
    journal.removeVm(uuid);
    assert.equal(journal.vm(uuid), null);
    assert.deepEqual(journal.entries(uuid), []);
    assert.equal(journal.openSession(session), false);
  });

  it('lets a chain grow at its end alone', () => {
    journal.appendEntry(uuid, 0, Buffer.of(1));
    assert.throws(() => {
      journal.appendEntry(uuid, 0, Buffer.of(2));
    });
    assert.deepEqual(journal.entries(uuid), [Buffer.of(1)]);
  });

  it('accepts a session id once, for as long as a session can live', () => {
    assert.equal(journal.openSession(session), true);
    assert.equal(journal.openSession({ ...session, started: 2000 }), false);
    journal.changeSession(id, { state: 'refused' }, 3000);
    const later = 3000 + limits.sessionIdMemoryMs + 1;
    assert.equal(journal.openSession({ ...session, started: later, updated: later }), true);
  });

  it('never forgets the id of an unfinished session', () => {
    journal.openSession(session);
    journal.changeSession(id, { state: 'staged' }, 2000);
    const other = Buffer.alloc(32, 9);
    journal.openSession({ ...session, id: other, started: 10 * limits.sessionIdMemoryMs });
    assert.equal(journal.openSession(session), false);
    assert.deepEqual(
      journal.unfinishedSessions('target').map((row) => row.state),
      ['open', 'staged'],
    );
  });

  it('tells what happened to a session, what was in its way, and forgets neither too early', () => {
    journal.openSession(session);
    journal.noteProblem(id, 'peer-unreachable: no', 2000);
    journal.noteProblem(id, 'peer-unreachable: no', 2500);
    assert.equal(journal.session(id)?.problem, 'peer-unreachable: no');
    journal.noteStep(id, 'taken up again', 2600);
    journal.changeSession(id, { peer: 'beta' }, 2700);
    assert.equal(journal.session(id)?.problem, 'peer-unreachable: no');
    journal.changeSession(id, { state: 'resolved' }, 3000);
    assert.equal(journal.session(id)?.problem, '');
    assert.deepEqual(journal.sessionSteps(id), [
      { time: 1000, state: 'open', note: '' },
      { time: 2000, state: 'open', note: 'peer-unreachable: no' },
      { time: 2600, state: 'open', note: 'taken up again' },
      { time: 3000, state: 'resolved', note: '' },
    ]);
    const later = 10 * limits.sessionIdMemoryMs;
    journal.openSession({ ...session, id: Buffer.alloc(32, 9), started: later, updated: later });
    assert.equal(journal.session(id)?.state, 'resolved', 'its peer may still come back');
    assert.equal(journal.unfinishedSessions().length, 1);
  });

  it('bounds the steps of a session, and keeps the newest', () => {
    journal.openSession(session);
    for (let n = 0; n < limits.sessionStepsMax + 10; n += 1) journal.noteStep(id, `note ${n}`, n);
    const steps = journal.sessionSteps(id);
    assert.equal(steps.length, limits.sessionStepsMax);
    assert.equal(steps.at(-1)?.note, `note ${limits.sessionStepsMax + 9}`);
  });

  it('sets aside what is taken off the end of a chain', () => {
    for (const n of [0, 1, 2, 3]) journal.appendEntry(uuid, n, Buffer.of(n));
    journal.rewindChain(uuid, 1, id);
    assert.deepEqual(journal.entries(uuid), [Buffer.of(0), Buffer.of(1)]);
    assert.deepEqual(journal.setAside(id), [Buffer.of(2), Buffer.of(3)]);
    journal.appendEntry(uuid, 2, Buffer.of(7));
    assert.deepEqual(journal.entries(uuid), [Buffer.of(0), Buffer.of(1), Buffer.of(7)]);
  });

  it('lets a permit be used once, by its session, in its time', () => {
    journal.putPermit(permit);
    assert.equal(journal.consumePermit(uuid, Buffer.alloc(32, 8), 2000), false);
    assert.equal(journal.consumePermit(uuid, id, 5000), false);
    assert.equal(journal.consumePermit('00000000-0000-0000-0000-000000000000', id, 2000), false);
    assert.equal(journal.consumePermit(uuid, id, 2000), true);
    assert.equal(journal.consumePermit(uuid, id, 2001), false);
  });

  it('undoes all of a transaction that throws', () => {
    assert.throws(() => {
      journal.transaction(() => {
        journal.putVm(vm);
        throw new Error('no');
      });
    });
    assert.equal(journal.vm(uuid), null);
  });

  it('replaces a received chain whole, with what verifies it', () => {
    journal.appendEntry(uuid, 0, Buffer.of(1));
    journal.putCredentials(uuid, [{ kind: 'policy', digest: Buffer.of(1), bytes: Buffer.of(1) }]);
    const credential = { kind: 'certificate' as const, digest: Buffer.of(2), bytes: Buffer.of(2) };
    journal.replaceChain(uuid, {
      first: 0,
      summaries: new Map(),
      continues: true,
      entries: [Buffer.of(5), Buffer.of(6)],
      departures: new Map([[0, Buffer.of(7)]]),
      credentials: [credential],
    });
    assert.deepEqual(journal.entries(uuid), [Buffer.of(5), Buffer.of(6)]);
    assert.deepEqual(journal.departures(uuid), [Buffer.of(7)]);
    assert.deepEqual(journal.credentials(uuid), [credential]);
  });

  it('brings a journal of version 1 up to date, with all that is in it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-journal-'));
    const file = join(directory, 'journal.sqlite');
    try {
      const raw = new Database(file);
      raw.exec(
        `CREATE TABLE session (id BLOB PRIMARY KEY, vm TEXT NOT NULL, role TEXT NOT NULL, state TEXT NOT NULL,
         peer TEXT NOT NULL, address TEXT NOT NULL, started INTEGER NOT NULL, updated INTEGER NOT NULL) STRICT`,
      );
      raw
        .prepare('INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
        .run(id, uuid, 'target', 'staged', 'beta', 'b:1', 1, 2);
      raw.pragma('user_version = 1');
      raw.close();
      for (const time of [5, 6]) {
        const upgraded = new Journal(file);
        upgraded.noteProblem(id, `peer-unreachable: ${time}`, time);
        const found = upgraded.session(id);
        assert.deepEqual(
          [found?.state, found?.peer, found?.problem],
          ['staged', 'beta', `peer-unreachable: ${time}`],
        );
        upgraded.close();
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('keeps the history before a chain that was received from a checkpoint on, and reads it from there', () => {
    for (const n of [0, 1, 2]) journal.appendEntry(uuid, n, Buffer.of(n));
    const received = {
      first: 7,
      summaries: new Map([[7, Buffer.of(70)]]),
      continues: true,
      entries: [Buffer.of(7), Buffer.of(8)],
      departures: new Map<number, Buffer>(),
      credentials: [],
    };
    journal.replaceChain(uuid, received);
    assert.equal(journal.historyBegins(uuid), 7);
    assert.deepEqual(journal.entries(uuid, 7), [Buffer.of(7), Buffer.of(8)]);
    assert.equal(journal.entries(uuid).length, 5);
    assert.deepEqual(journal.summaries(uuid), [{ sequence: 7, bytes: Buffer.of(70) }]);
    journal.appendEntry(uuid, 9, Buffer.of(9));
    journal.putSummary(uuid, 9, Buffer.of(90));
    journal.rewindChain(uuid, 8, id);
    assert.deepEqual([journal.summary(uuid, 7), journal.summary(uuid, 9)], [Buffer.of(70), null]);
    journal.replaceChain(uuid, { ...received, continues: false });
    assert.equal(journal.entries(uuid).length, 2, 'the entries of another birth are not history of this one');
  });

  it('survives reopening, and refuses a schema that it does not know', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-journal-'));
    const file = join(directory, 'journal.sqlite');
    try {
      const first = new Journal(file);
      first.putVm(vm);
      first.close();
      const second = new Journal(file);
      assert.deepEqual(second.vm(uuid), vm);
      second.close();
      const raw = new Database(file);
      raw.pragma('user_version = 99');
      raw.close();
      assert.throws(() => new Journal(file), { code: 'journal-failed' });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
