import { strict as assert } from 'node:assert';
import { encode } from '../../../lib/encoding/cbor.ts';
import {
  bytesOf,
  decodeAs,
  encodeAs,
  formatted,
  listOf,
  literal,
  nullable,
  numbered,
  record,
  textMap,
  textUpTo,
  uintUpTo,
  uuid,
} from '../../../lib/encoding/shape.ts';

const shape = record({
  kind: literal('example'),
  id: uuid,
  side: numbered({ left: 0, right: 1 }),
  note: nullable(textUpTo(4)),
  counts: listOf(uintUpTo(9), { min: 1, max: 2 }),
  extra: textMap(1, 4),
});
const good = {
  kind: 'example',
  id: '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77',
  side: 'right',
  note: null,
  counts: [1, 2],
  extra: new Map([['a', 'b']]),
} as const;

describe('shapes', () => {
  it('read what they wrote', () => {
    assert.deepEqual(decodeAs(shape, 'example', encodeAs(shape, good)), good);
  });

  it('of a format write its name first, and read it as what has to be there and no more', () => {
    const named = formatted('example/1', { count: uintUpTo(9) });
    assert.deepEqual(encodeAs(named, { count: 3 }), encode(['example/1', 3]));
    assert.deepEqual(decodeAs(named, 'it', encode(['example/1', 3])), { count: 3 });
    assert.throws(() => decodeAs(named, 'it', encode(['example/2', 3])), /it\.format: expected "example\/1"/);
  });

  it('name the member that is wrong', () => {
    const members = shape.write(good) as readonly (string | number | null)[];
    const replaced = (index: number, value: string | number | null): Uint8Array =>
      encode(members.map((member, at) => (at === index ? value : member)));
    const cases: [number, string | number | null, RegExp][] = [
      [0, 'other', /^example\.kind: expected "example"/],
      [1, 'text', /^example\.id: /],
      [2, 2, /^example\.side: expected one of 0 \(left\), 1 \(right\)/],
      [3, 'longer', /^example\.note: /],
      [3, '', /^example\.note: /],
      [4, null, /^example\.counts: /],
      [5, 0, /^example\.extra: /],
    ];
    for (const [index, value, message] of cases) {
      assert.throws(() => decodeAs(shape, 'example', replaced(index, value)), {
        code: 'encoding-invalid',
        message,
      });
    }
  });

  it('refuse a member too many, too few, and lists out of bounds', () => {
    const members = shape.write(good) as readonly number[];
    for (const wrong of [members.slice(1), [...members, 0]]) {
      assert.throws(() => decodeAs(shape, 'example', encode(wrong)), { code: 'encoding-invalid' });
    }
    const list = listOf(uintUpTo(9), { min: 1, max: 2 });
    for (const wrong of [[], [1, 2, 3], [10]]) {
      assert.throws(() => decodeAs(list, 'list', encode(wrong)), { code: 'encoding-invalid' });
      assert.throws(() => encodeAs(list, wrong), { code: 'encoding-invalid' });
    }
  });

  it('refuse to write what they would not read', () => {
    assert.throws(() => encodeAs(bytesOf(32), new Uint8Array(31)), { code: 'encoding-invalid' });
  });
});
