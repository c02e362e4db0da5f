import assert from 'node:assert/strict';
import { Remembered } from '../../../lib/encoding/remembered.ts';

describe('what is remembered', () => {
  it('is made once, and again when it was forgotten for newer things', () => {
    const made: string[] = [];
    const remembered = new Remembered<string>(2);
    const get = (key: string): string =>
      remembered.get(key, () => {
        made.push(key);
        return `value of ${key}`;
      });
    for (const key of ['a', 'a', 'b', 'a', 'c', 'b', 'a']) assert.equal(get(key), `value of ${key}`);
    assert.deepEqual(made, ['a', 'b', 'c', 'a']);
  });

  it('is no failure', () => {
    const remembered = new Remembered<number>(2);
    const fail = (): number => {
      throw new Error('not now');
    };
    assert.throws(() => remembered.get('a', fail), /not now/);
    assert.equal(remembered.find('a'), undefined);
    assert.equal(
      remembered.get('a', () => 1),
      1,
    );
  });
});
