import assert from 'node:assert/strict';
import type { SessionRecord, SessionRole, SessionState } from '../../../lib/ledger/records.ts';
import { outcomesOf, situationOf } from '../../../lib/migration/situation.ts';

const states: readonly SessionState[] = [
  ...(['open', 'refused', 'offered', 'staged', 'declined', 'aborting', 'destroying', 'departed'] as const),
  ...(['aborted', 'arriving', 'arrived', 'done', 'resolved', 'giving-up', 'given-up'] as const),
];

function session(role: SessionRole, state: SessionState, problem = ''): SessionRecord {
  return {
    ...{ id: new Uint8Array(32), vm: 'v', role, state, peer: 'beta', address: 'beta:1' },
    ...{ started: 0, updated: 0, problem },
  };
}

describe('the situation of a session (SPEC 6.9)', () => {
  const resolvable = (role: SessionRole, problem = ''): readonly SessionState[] =>
    states.filter((state) => outcomesOf(session(role, state, problem)).length > 0);

  it('leaves an administrator what waits for the other host, and what came unseen', () => {
    assert.deepEqual(resolvable('source'), ['offered', 'staged', 'aborting']);
    assert.deepEqual(resolvable('target'), ['staged', 'arrived']);
    assert.equal(situationOf(session('target', 'staged')).waitsFor, 'this-host');
    for (const state of resolvable('source'))
      assert.equal(situationOf(session('source', state)).waitsFor, 'peer', state);
    assert.equal(situationOf(session('target', 'arrived')).waitsFor, 'peer');
  });

  it('opens a kept migration again where both hosts keep the VM', () => {
    const problem = 'hand-over-conflict: beta says that it arrived';
    assert.deepEqual(resolvable('source', problem), ['offered', 'staged', 'aborting', 'resolved']);
    assert.equal(situationOf(session('source', 'resolved', problem)).waitsFor, 'administrator');
    assert.equal(situationOf(session('target', 'arrived', problem)).waitsFor, 'administrator');
    assert.deepEqual(resolvable('source', 'peer-unreachable: no'), ['offered', 'staged', 'aborting']);
  });

  it('says something of every state, and names the other host where it counts', () => {
    for (const role of ['source', 'target'] as const)
      for (const state of states) assert.ok(situationOf(session(role, state)).meaning.length > 10, state);
    assert.match(situationOf(session('source', 'aborting')).meaning, /beta/);
  });
});
