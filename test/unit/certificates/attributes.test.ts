import { strict as assert } from 'node:assert';
import {
  attributesText,
  checkAttributes,
  formatAttributes,
  parseAttributes,
} from '../../../lib/certificates/attributes.ts';
import { verifyHostCertificate } from '../../../lib/certificates/host-certificate.ts';
import { makeTestAuthority, testKeyPair, testValidity } from '../../support/test-authority.ts';

const of = (entries: Readonly<Record<string, string | number>>): ReadonlyMap<string, string | number> =>
  new Map(Object.entries(entries));
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('attributes of a host (SPEC 1.1)', () => {
  it('are DER, ascending by name, and come back as they were', () => {
    const der = formatAttributes(of({ region: 'eu', level: 2 }));
    // SEQUENCE { SEQUENCE { "level", 2 }, SEQUENCE { "region", "eu" } }
    assert.equal(hex(der), '301a300a0c056c6576656c020102300c0c06726567696f6e0c026575');
    assert.equal(attributesText(parseAttributes(der)), 'level=2 region=eu');
    for (const value of [0, 1, 127, 128, 255, 256, 32_768, 65_536, 2 ** 31 - 1, 'x', 'x'.repeat(64), '~ !#'])
      assert.deepEqual([...parseAttributes(formatAttributes(of({ a: value })))], [['a', value]]);
    const many = of(
      Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`name_${index}`, 'x'.repeat(64)])),
    );
    assert.equal(parseAttributes(formatAttributes(many)).size, 16);
  });

  it('of another form are not given', () => {
    for (const [name, value] of [
      ['Region', 'eu'],
      ['', 'eu'],
      ['1st', 'eu'],
      ['a-b', 'eu'],
      ['a'.repeat(33), 'eu'],
      ['a', ''],
      ['a', 'x'.repeat(65)],
      ['a', 'say "x"'],
      ['a', 'back\\slash'],
      ['a', 'ü'],
      ['a', -1],
      ['a', 1.5],
      ['a', 2 ** 31],
    ] as const)
      assert.throws(
        () => {
          checkAttributes(of({ [name]: value }));
        },
        { code: 'usage-invalid' },
        `${name}=${value}`,
      );
    const many = of(Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`a${index}`, 1])));
    assert.throws(
      () => {
        checkAttributes(many);
      },
      { code: 'usage-invalid' },
    );
  });

  it('spelt otherwise are refused', () => {
    const good = '301a300a0c056c6576656c020102300c0c06726567696f6e0c026575';
    for (const [what, text] of [
      ['nothing', ''],
      ['none', '3000'],
      ['cut off', good.slice(0, -2)],
      ['with more behind', `${good}00`],
      ['with a long length', `30811a${good.slice(4)}`],
      ['in another order', '301a300c0c06726567696f6e0c026575300a0c056c6576656c020102'],
      ['with a name twice', '30163009' + '0c05' + '6c6576656c' + '0c00' + '3009' + '0c056c6576656c0c00'],
      ['with a negative number', '3008' + '3006' + '0c0161' + '0201ff'],
      ['with a long number', '3009' + '3007' + '0c0161' + '02020001'],
      ['with a number of five bytes', '300c' + '300a' + '0c0161' + '02050100000000'],
      ['with another type', '3008' + '3006' + '0c0161' + '0101ff'],
      ['with a third member', '300b' + '3009' + '0c0161' + '020101' + '020101'],
      ['with a bad name', '3008' + '3006' + '0c0141' + '020101'],
      ['as a set', `31${good.slice(2)}`],
    ] as const)
      assert.throws(() => parseAttributes(Buffer.from(text, 'hex')), { code: 'encoding-invalid' }, what);
  });

  it('are in the certificate that the authority issues, and in no other', async () => {
    const authority = await makeTestAuthority();
    const name = (): Uint8Array => Uint8Array.from([0, 11, ...new Uint8Array(32).fill(7)]);
    const host = { name: 'host-a', akName: name(), receiveKeyName: name() };
    const verified = async (attributes?: ReadonlyMap<string, string | number>) => {
      const subject = attributes === undefined ? host : { ...host, attributes };
      const der = await authority.hostCertificate(subject, testKeyPair().publicKey);
      return verifyHostCertificate(der, authority.root, testValidity.notBefore).attributes;
    };
    assert.equal((await verified()).size, 0);
    assert.equal((await verified(new Map())).size, 0);
    assert.equal(attributesText(await verified(of({ region: 'eu', level: 2 }))), 'level=2 region=eu');
  });
});
