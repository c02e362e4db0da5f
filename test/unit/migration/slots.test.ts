/** So many at a time, in order. */
import assert from 'node:assert/strict';
import { Slots } from '../../../lib/migration/slots.ts';

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('slots', () => {
  it('lets as many go as there are, the others in order as slots are given back, each once', async () => {
    const slots = new Slots(2);
    const gone: number[] = [];
    const give: (() => void)[] = [];
    for (let n = 0; n < 5; n += 1) {
      void slots.take().then((done) => {
        gone.push(n);
        give[n] = done;
      });
    }
    await settle();
    assert.deepEqual(gone, [0, 1]);
    give[1]!();
    give[1]!();
    await settle();
    assert.deepEqual(gone, [0, 1, 2]);
    give[0]!();
    give[2]!();
    await settle();
    assert.deepEqual(gone, [0, 1, 2, 3, 4]);
    give[3]!();
    give[4]!();
    for (let n = 0; n < 2; n += 1) await slots.take();
    assert.equal(await Promise.race([slots.take(), settle().then(() => 'waits')]), 'waits');
  });
});
