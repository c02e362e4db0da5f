import { strict as assert } from 'node:assert';
import { createHash, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { isEcdsaKey, verifiesDigest } from '../../../lib/appraisal/ecdsa-digest.ts';

const hashed = (algorithm: string, text: string): Buffer => createHash(algorithm).update(text).digest();
const orders = {
  'P-256': 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  'P-384':
    0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
};

/** An integer in DER, `padding` zeros more than it needs. */
function integer(value: bigint, padding = 0): Buffer {
  const digits = value.toString(16);
  const even = Buffer.from(digits.length % 2 === 1 ? `0${digits}` : digits, 'hex');
  const zeros = Buffer.alloc(padding + ((even[0] ?? 0) > 0x7f ? 1 : 0));
  return Buffer.concat([Buffer.of(2, zeros.length + even.length), zeros, even]);
}
const sequence = (...parts: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(0x30, body.length), body]);
};

describe('ECDSA signatures over digests', () => {
  for (const curve of ['P-256', 'P-384'] as const) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
    const n = orders[curve];
    /** r and s of a new signature. */
    const signed = (text: string): readonly [bigint, bigint] => {
      const raw = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
      const half = raw.length / 2;
      const number = (bytes: Buffer): bigint => BigInt(`0x${bytes.toString('hex')}`);
      return [number(raw.subarray(0, half)), number(raw.subarray(half))];
    };
    const digest = hashed('sha256', 'contents');

    it(`of node:crypto are taken on ${curve}, whatever the length of the digest`, () => {
      for (const algorithm of ['sha256', 'sha384', 'sha512'])
        for (let i = 0; i < 16; i++) {
          const text = `file ${i}`;
          const signature = sign(algorithm, Buffer.from(text), privateKey);
          assert.equal(verifiesDigest(publicKey, hashed(algorithm, text), signature), true);
        }
    });

    it(`over another digest, by another key, or with r or s of another are refused, on ${curve}`, () => {
      const [r, s] = signed('contents');
      const [otherR, otherS] = signed('other');
      const is = (...numbers: readonly [bigint, bigint]): boolean =>
        verifiesDigest(publicKey, digest, sequence(...numbers.map((one) => integer(one))));
      assert.equal(is(r, s), true);
      // -s signs as s does, in ECDSA: nothing here takes a signature for a name of what it signs.
      assert.equal(is(r, n - s), true);
      assert.equal(is(r, otherS), false);
      assert.equal(is(otherR, s), false);
      assert.equal(is(s, r), false);
      const good = sequence(integer(r), integer(s));
      assert.equal(verifiesDigest(publicKey, hashed('sha256', 'other'), good), false);
      const other = generateKeyPairSync('ec', { namedCurve: curve }).publicKey;
      assert.equal(verifiesDigest(other, digest, good), false);
    });

    it(`with r or s that the group has not are refused, on ${curve}`, () => {
      const [r, s] = signed('contents');
      const is = (...numbers: readonly [bigint, bigint]): boolean =>
        verifiesDigest(publicKey, digest, sequence(...numbers.map((one) => integer(one))));
      for (const wrong of [0n, n]) {
        assert.equal(is(wrong, s), false, `r = ${wrong}`);
        assert.equal(is(r, wrong), false, `s = ${wrong}`);
      }
      assert.equal(is(r, s + n), false);
      assert.equal(is(r + n, s), false);
    });

    it(`are refused where a digest or a key leads to no one point, on ${curve}`, () => {
      const [r, s] = signed('contents');
      const signature = sequence(integer(r), integer(s));
      assert.equal(verifiesDigest(publicKey, new Uint8Array(32), signature), false);
      // e = r, and the generator as key: e/r G + Q would be twice the generator, which addition does not give.
      const one = generatorOf(curve);
      const x = one.export({ format: 'jwk' }).x ?? '';
      assert.equal(
        verifiesDigest(one, Buffer.from(x, 'base64url'), sequence(integer(bigOf(x) % n), integer(1n))),
        false,
      );
    });
  }

  it('of RFC 6979 (A.2.5, A.2.6) are taken', () => {
    for (const { curve, algorithm, x, y, r, s } of known) {
      const coordinate = (hex: string): string => Buffer.from(hex, 'hex').toString('base64url');
      const jwk = { kty: 'EC', crv: curve, x: coordinate(x), y: coordinate(y) };
      const signature = sequence(integer(BigInt(`0x${r}`)), integer(BigInt(`0x${s}`)));
      const key = createPublicKey({ key: jwk, format: 'jwk' });
      assert.equal(verifiesDigest(key, hashed(algorithm, 'sample'), signature), true, curve);
      assert.equal(verifiesDigest(key, hashed(algorithm, 'test'), signature), false, curve);
    }
  });

  it('in another spelling than DER are refused', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const digest = hashed('sha256', 'contents');
    const raw = sign('sha256', Buffer.from('contents'), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const [r, s] = [raw.subarray(0, 32), raw.subarray(32)].map((half) => BigInt(`0x${half.toString('hex')}`));
    assert.ok(r !== undefined && s !== undefined);
    const good = sequence(integer(r), integer(s));
    assert.equal(verifiesDigest(publicKey, digest, good), true);
    const others: readonly (readonly [what: string, bytes: Uint8Array])[] = [
      ['P1363', raw],
      ['nothing', new Uint8Array()],
      ['cut off', good.subarray(0, -1)],
      ['a byte after it', Buffer.concat([good, Buffer.of(0)])],
      ['a byte within it, after s', sequence(integer(r), integer(s), Buffer.of(0))],
      ['a needless zero', sequence(integer(r, 1), integer(s))],
      ['a negative number', sequence(integer(r), Buffer.of(2, 1, 0x80))],
      ['an empty number', sequence(integer(r), Buffer.of(2, 0))],
      ['a set', Buffer.concat([Buffer.of(0x31), good.subarray(1)])],
      ['a text as number', sequence(integer(r), Buffer.of(4, 1, 1))],
      ['a length in long form', Buffer.concat([Buffer.of(0x30, 0x81), good.subarray(1)])],
    ];
    for (const [what, bytes] of others) assert.equal(verifiesDigest(publicKey, digest, bytes), false, what);
  });

  it('are none of keys of other kinds', () => {
    const digest = hashed('sha256', 'contents');
    const others = [
      generateKeyPairSync('ec', { namedCurve: 'P-521' }),
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
      generateKeyPairSync('ed25519'),
    ];
    for (const { privateKey, publicKey } of others) {
      assert.equal(isEcdsaKey(publicKey), false);
      const algorithm = publicKey.asymmetricKeyType === 'ec' ? 'sha256' : null;
      const signature = sign(algorithm, Buffer.from('contents'), privateKey);
      assert.equal(verifiesDigest(publicKey, digest, signature), false);
    }
  });
});

const known = [
  {
    curve: 'P-256',
    algorithm: 'sha256',
    x: '60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6',
    y: '7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299',
    r: 'efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716',
    s: 'f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8',
  },
  {
    curve: 'P-384',
    algorithm: 'sha384',
    x: 'ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13',
    y: '8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720',
    r: '94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46',
    s: '99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8',
  },
] as const;

const bigOf = (base64url: string): bigint =>
  BigInt(`0x${Buffer.from(base64url, 'base64url').toString('hex')}`);

/** The public key of the private key 1 (SP 800-186, 3.2.1). */
function generatorOf(curve: 'P-256' | 'P-384') {
  const [x, y] = {
    'P-256': [
      '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296',
      '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
    ],
    'P-384': [
      'aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7',
      '3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f',
    ],
  }[curve];
  const coordinate = (hex = ''): string => Buffer.from(hex, 'hex').toString('base64url');
  const key = { kty: 'EC', crv: curve, x: coordinate(x), y: coordinate(y) };
  return createPublicKey({ key, format: 'jwk' });
}
