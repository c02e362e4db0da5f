import { strict as assert } from 'node:assert';
import { decode, encode } from '../../../lib/encoding/cbor.ts';
import type { CborValue } from '../../../lib/encoding/cbor.ts';
import { H, sha256 } from '../../../lib/encoding/hash.ts';
import { uuidBytes, uuidText } from '../../../lib/encoding/uuid.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const refused = (code: string): { code: string } => ({ code });

describe('deterministic CBOR', () => {
  const values: [string, CborValue][] = [
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['1b001fffffffffffff', Number.MAX_SAFE_INTEGER],
    ['f6', null],
    ['4401020304', hex('01020304')],
    ['62c3bc', 'ü'],
    ['83010203', [1, 2, 3]],
    [
      'a26161617862616262',
      new Map([
        ['a', 'x'],
        ['ab', 'b'],
      ]),
    ],
  ];
  for (const [bytes, value] of values) {
    it(`encodes and decodes ${bytes}`, () => {
      if (!(value instanceof Map)) assert.equal(Buffer.from(encode(value)).toString('hex'), bytes);
      assert.deepEqual(decode(encode(value)), value);
    });
  }

  const bad: [string, string, string][] = [
    ['1817', 'an integer that is longer than it need be', 'encoding-invalid'],
    ['1900ff', 'an integer that is longer than it need be (2)', 'encoding-invalid'],
    ['5801ff', 'a length that is longer than it need be', 'encoding-invalid'],
    ['20', 'a negative integer', 'encoding-invalid'],
    ['1b0020000000000000', 'an integer above 2^53 - 1', 'encoding-invalid'],
    ['c000', 'a tag', 'encoding-invalid'],
    ['f4', 'a boolean', 'encoding-invalid'],
    ['f7', 'undefined', 'encoding-invalid'],
    ['f93c00', 'a half float', 'encoding-invalid'],
    ['fb3ff0000000000000', 'a double', 'encoding-invalid'],
    ['9f01ff', 'an array of indefinite length', 'encoding-invalid'],
    ['5f4101ff', 'a byte string of indefinite length', 'encoding-invalid'],
    ['1c', 'a reserved head', 'encoding-invalid'],
    ['0000', 'trailing bytes', 'encoding-invalid'],
    ['', 'nothing at all', 'encoding-invalid'],
    ['8201', 'an array that ends early', 'encoding-invalid'],
    ['4201', 'a byte string that ends early', 'encoding-invalid'],
    ['61ff', 'text that is not UTF-8', 'encoding-invalid'],
    ['63eda080', 'text with a surrogate', 'encoding-invalid'],
    ['a2616101616101', 'a map of something else than text', 'encoding-invalid'],
    ['a261616178616161 79'.replace(' ', ''), 'a map with one key twice', 'encoding-invalid'],
    ['a2616261786161 6179'.replace(' ', ''), 'a map whose keys are out of order', 'encoding-invalid'],
    ['9affffffff', 'an array that claims four billion items', 'limit-exceeded'],
    ['818181818181818181 00'.replace(' ', ''), 'nine levels of arrays', 'limit-exceeded'],
  ];
  for (const [bytes, what, code] of bad) {
    it(`refuses ${what}`, () => {
      assert.throws(() => decode(hex(bytes)), refused(code));
    });
  }

  it('accepts eight levels, and no more in either direction', () => {
    assert.doesNotThrow(() => decode(hex('818181818181818100')));
    let deep: CborValue = 0;
    for (let level = 0; level < 9; level += 1) deep = [deep];
    assert.throws(() => encode(deep), refused('limit-exceeded'));
  });

  it('refuses input above its bound before it looks at it', () => {
    assert.throws(() => decode(hex('4401020304'), { bytesMax: 4 }), refused('limit-exceeded'));
  });

  it('refuses to encode what the formats cannot hold', () => {
    for (const value of [-1, 1.5, NaN, -0, 2 ** 53, '\ud800', true, undefined, {}, 1n]) {
      assert.throws(() => encode(value as CborValue), refused('encoding-invalid'));
    }
  });

  it('copies byte strings, so that the caller may reuse its buffer', () => {
    const bytes = Buffer.from(hex('4401020304'));
    const value = decode(bytes);
    bytes.fill(0xff);
    assert.deepEqual(value, hex('01020304'));
  });
});

describe('encoded bytes', () => {
  it('are a Uint8Array whatever their length, never a Buffer', () => {
    for (const length of [1, 100, 10_000]) {
      assert.equal(Buffer.isBuffer(encode([new Uint8Array(length), 'x'.repeat(length)])), false);
    }
  });
});

describe('labelled hashes', () => {
  it('are SHA-256 over the CBOR array of label and items', () => {
    const expected = sha256(hex('836161016162'));
    assert.deepEqual(H('a', 1, 'b'), expected);
    assert.notDeepEqual(H('a', 'b', 'c'), H('a', 'bc'));
  });
});

describe('UUIDs', () => {
  it('are 16 bytes and one spelling', () => {
    const text = '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77';
    assert.equal(uuidText(uuidBytes(text)), text);
    assert.throws(() => uuidBytes(text.toUpperCase()), refused('encoding-invalid'));
    assert.throws(() => uuidText(new Uint8Array(15)), refused('encoding-invalid'));
  });
});
