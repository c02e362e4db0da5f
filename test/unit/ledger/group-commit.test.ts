/** Decisions that come together are one durable write, and each has its own outcome. */
import assert from 'node:assert/strict';
import { GroupCommit } from '../../../lib/ledger/group-commit.ts';
import { Journal } from '../../../lib/ledger/journal.ts';

describe('decisions that are written together', () => {
  let journal: Journal;
  let writes: number;
  let full: boolean;
  let commits: GroupCommit;
  beforeEach(() => {
    journal = new Journal(':memory:');
    [writes, full] = [0, false];
    const counted = {
      transaction<T>(change: () => T): T {
        writes += 1;
        return journal.transaction(() => {
          const result = change();
          if (full) throw new Error('disk full');
          return result;
        });
      },
    };
    commits = new GroupCommit(counted, (work) => void setImmediate(work));
  });
  afterEach(() => {
    journal.close();
  });

  const put = (key: string, value: string): Promise<string> =>
    commits.run(() => {
      journal.putSetting(key, value);
      return `${key}=${value}`;
    });

  it('are one durable write, and each has its result', async () => {
    const keys = Array.from({ length: 64 }, (_, index) => `key ${index}`);
    const results = await Promise.all(keys.map((key) => put(key, 'x')));
    assert.deepEqual(
      results,
      keys.map((key) => `${key}=x`),
    );
    assert.equal(writes, 1);
    assert.deepEqual([...new Set(keys.map((key) => journal.setting(key)))], ['x']);
  });

  it('come in their order, and those of later turns later', async () => {
    const order: string[] = [];
    const note = (name: string): Promise<void> => commits.run(() => void order.push(name));
    await Promise.all([note('a'), note('b')]);
    await note('c');
    assert.deepEqual([order, writes], [['a', 'b', 'c'], 2]);
  });

  it('do not resolve before they are written', async () => {
    let resolved = false;
    const waiting = put('key', 'x').then(() => (resolved = true));
    await Promise.resolve();
    assert.deepEqual([resolved, journal.setting('key')], [false, null]);
    await waiting;
    assert.equal(journal.setting('key'), 'x');
  });

  it('leave one that fails to itself: what it wrote is undone, and the others stand', async () => {
    const failing = commits.run(() => {
      journal.putSetting('bad', 'x');
      throw new Error('no');
    });
    const [one, bad, other] = await Promise.allSettled([put('one', '1'), failing, put('other', '2')]);
    assert.deepEqual([one.status, bad.status, other.status], ['fulfilled', 'rejected', 'fulfilled']);
    assert.deepEqual(
      ['one', 'bad', 'other'].map((key) => journal.setting(key)),
      ['1', null, '2'],
    );
  });

  it('all fail where nothing can be written', async () => {
    full = true;
    const outcomes = await Promise.allSettled([put('one', '1'), put('other', '2')]);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.deepEqual([journal.setting('one'), journal.setting('other')], [null, null]);
  });
});
