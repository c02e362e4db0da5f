import assert from 'node:assert/strict';
import { TvmmpError } from '../../../lib/errors.ts';
import { Journal } from '../../../lib/ledger/journal.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { noteTrouble } from '../../../lib/migration/problem.ts';
import { Refused } from '../../../lib/migration/refused.ts';

const id = Buffer.alloc(32, 7);

describe('what is in the way of a session', () => {
  let journal: Journal;
  const warnings: string[] = [];
  const log = { warn: (_: object, message: string) => void warnings.push(message) };
  const host = (): Host => ({ journal, log, now: () => 5 }) as unknown as Host;

  beforeEach(() => {
    journal = new Journal(':memory:');
    const session = { id, vm: 'v', role: 'source', state: 'open', peer: '', address: '' } as const;
    journal.openSession({ ...session, started: 1, updated: 1 });
  });

  it('is noted with its code first', () => {
    noteTrouble(host(), id, new TvmmpError('peer-unreachable', 'no'));
    assert.equal(journal.session(id)?.problem, 'peer-unreachable: no');
    noteTrouble(host(), id, new Refused('why'));
    assert.equal(journal.session(id)?.problem, 'refused: why');
    noteTrouble(host(), id, new Error('oh'));
    assert.equal(journal.session(id)?.problem, 'internal: oh');
    journal.close();
  });

  it('ends nothing when the journal cannot be written either', () => {
    journal.close();
    noteTrouble(host(), id, new TvmmpError('journal-failed', 'disk is full'));
    assert.deepEqual(warnings, ['what is in the way of a session could not be noted']);
  });
});
