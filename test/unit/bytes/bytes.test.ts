import assert from 'node:assert/strict';
import { ByteReader } from '../../../lib/bytes/reader.ts';
import { ByteWriter } from '../../../lib/bytes/writer.ts';
import { bytesEqual } from '../../../lib/bytes/compare.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const reader = (text: string): ByteReader => new ByteReader(hex(text), { what: 'sample' });

describe('byte reader', () => {
  it('reads integers of both byte orders', () => {
    const r = reader(
      '01' + '0203' + '04050607' + '08090a0b0c0d0e0f' + '0302' + '07060504' + '0f0e0d0c0b0a0908',
    );
    assert.equal(r.u8(), 1);
    assert.equal(r.u16be(), 0x0203);
    assert.equal(r.u32be(), 0x04050607);
    assert.equal(r.u64be(), 0x08090a0b0c0d0e0fn);
    assert.equal(r.u16le(), 0x0203);
    assert.equal(r.u32le(), 0x04050607);
    assert.equal(r.u64le(), 0x08090a0b0c0d0e0fn);
    r.end();
  });

  it('stays inside a view of a larger buffer', () => {
    const r = new ByteReader(hex('aabbccdd').subarray(1, 3), { what: 'sample' });
    assert.equal(r.u16be(), 0xbbcc);
    assert.throws(() => r.u8(), { code: 'encoding-invalid' });
  });

  for (const [name, width] of Object.entries({
    u8: 1,
    u16be: 2,
    u32be: 4,
    u64be: 8,
    u16le: 2,
    u32le: 4,
    u64le: 8,
  })) {
    it(`refuses ${name} where a byte is missing, and does not move`, () => {
      const r = reader('00'.repeat(width - 1));
      assert.throws(() => r[name as 'u8'](), { code: 'encoding-invalid' });
      assert.equal(r.offset, 0);
    });
  }

  it('copies bytes, and views them on request', () => {
    const source = hex('01020304');
    const r = new ByteReader(source, { what: 'sample' });
    const copy = r.bytes(2);
    const view = r.view(2);
    source.fill(0);
    assert.deepEqual(copy, hex('0102'));
    assert.deepEqual(view, hex('0000'));
  });

  it('copies from a Buffer too, which slices without copying', () => {
    const source = Buffer.from('01020304', 'hex');
    const copy = new ByteReader(source, { what: 'sample' }).bytes(2);
    source.fill(0);
    assert.deepEqual(Buffer.from(copy), Buffer.from('0102', 'hex'));
  });

  it('refuses lengths that are negative, fractional or beyond the end', () => {
    for (const length of [-1, 1.5, 5, Number.MAX_SAFE_INTEGER, Number.NaN]) {
      assert.throws(() => reader('01020304').bytes(length), { code: 'encoding-invalid' });
    }
  });

  it('bounds sized strings by the caller’s limit and by the input', () => {
    assert.deepEqual(reader('0002aabb').sized16be(2), hex('aabb'));
    assert.throws(() => reader('0003aabbcc').sized16be(2), /at most 2/);
    assert.throws(() => reader('0003aabb').sized16be(8), { code: 'encoding-invalid' });
    assert.deepEqual(reader('02000000aabb').sized32le(2), hex('aabb'));
    assert.throws(() => reader('ffffffff').sized32le(0xffffffff), { code: 'encoding-invalid' });
  });

  it('refuses leftovers, under the code of its caller', () => {
    const r = new ByteReader(hex('0001'), { what: 'sample', code: 'tpm-structure-invalid' });
    r.u8();
    assert.throws(
      () => {
        r.end();
      },
      { code: 'tpm-structure-invalid', message: 'sample: 1 bytes are left over' },
    );
    assert.deepEqual(r.rest(), hex('01'));
    r.end();
  });
});

describe('byte writer', () => {
  it('writes what the reader reads', () => {
    const written = new ByteWriter()
      .u8(1)
      .u16be(0x0203)
      .u32be(0x04050607)
      .u64be(0x08090a0b0c0d0e0fn)
      .u16le(0x0203)
      .u32le(0x04050607)
      .u64le(0x08090a0b0c0d0e0fn)
      .sized16be(hex('aa'))
      .sized32le(hex('bb'))
      .bytes(hex('cc'))
      .finish();
    assert.equal(
      Buffer.from(written).toString('hex'),
      '0102030405060708090a0b0c0d0e0f0302070605040f0e0d0c0b0a0908' + '0001aa' + '01000000bb' + 'cc',
    );
  });

  it('grows beyond its first size', () => {
    const big = new Uint8Array(1000).fill(7);
    const written = new ByteWriter().u8(1).bytes(big).u8(2).finish();
    assert.equal(written.byteLength, 1002);
    assert.deepEqual(written.slice(1, 1001), big);
  });

  it('refuses integers that do not fit', () => {
    assert.throws(() => new ByteWriter().u8(256), { code: 'encoding-invalid' });
    assert.throws(() => new ByteWriter().u16be(-1), { code: 'encoding-invalid' });
    assert.throws(() => new ByteWriter().u32le(2 ** 32), { code: 'encoding-invalid' });
    assert.throws(() => new ByteWriter().u32be(1.5), { code: 'encoding-invalid' });
    assert.throws(() => new ByteWriter().u64be(1n << 64n), { code: 'encoding-invalid' });
    assert.throws(() => new ByteWriter().sized16be(new Uint8Array(65_536)), { code: 'encoding-invalid' });
  });
});

describe('byte equality', () => {
  it('compares contents and length', () => {
    assert.equal(bytesEqual(hex('0102'), Buffer.from('0102', 'hex')), true);
    assert.equal(bytesEqual(hex('0102'), hex('0103')), false);
    assert.equal(bytesEqual(hex('0102'), hex('010200')), false);
  });
});
