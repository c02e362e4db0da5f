import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import {
  approvalMessage,
  pcrDigest,
  policyAuthorize,
  policyKeyPublicArea,
  policyPcr,
} from '../../../lib/tpm/policy.ts';
import { keyObjectOf, nameOf, parsePublicArea } from '../../support/tpm-structures.ts';

// Agreement with a TPM's trial sessions is tested in test/conformance/tpm.ts.
const digest = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('PCR digest', () => {
  const values = [0, 1, 2].map((pcr) => ({ bank: 'sha256', pcr, digest: digest(pcr) }) as const);

  it('hashes values by selection, ascending, whatever order they are listed in', () => {
    const expected = createHash('sha256').update(digest(0)).update(digest(2)).digest('hex');
    assert.equal(hex(pcrDigest([{ bank: 'sha256', pcrs: [2, 0] }], [...values].reverse())), expected);
  });

  it('refuses a selected PCR without a value, or with one of another bank’s size', () => {
    assert.throws(() => pcrDigest([{ bank: 'sha256', pcrs: [3] }], values), {
      code: 'tpm-structure-invalid',
    });
    assert.throws(() => pcrDigest([{ bank: 'sha384', pcrs: [0] }], values), {
      code: 'tpm-structure-invalid',
    });
    const short = [{ bank: 'sha256', pcr: 0, digest: new Uint8Array(20) }] as const;
    assert.throws(() => pcrDigest([{ bank: 'sha256', pcrs: [0] }], short), { code: 'tpm-structure-invalid' });
  });
});

describe('policy digests', () => {
  it('computes PolicyPCR as Part 3, 23.7 spells it out', () => {
    const expected = createHash('sha256')
      .update(Buffer.alloc(32))
      .update(Buffer.from('0000017f' + '00000001' + '000b03800000', 'hex'))
      .update(digest(5))
      .digest('hex');
    assert.equal(hex(policyPcr([{ bank: 'sha256', pcrs: [7] }], digest(5))), expected);
  });

  it('continues from what the session held', () => {
    const selection = [{ bank: 'sha256', pcrs: [7] }] as const;
    assert.notEqual(hex(policyPcr(selection, digest(5), digest(1))), hex(policyPcr(selection, digest(5))));
  });

  it('depends on key and reference in PolicyAuthorize', () => {
    const name = new Uint8Array(34).fill(3);
    const one = hex(policyAuthorize(name, digest(1)));
    assert.notEqual(one, hex(policyAuthorize(name, digest(2))));
    assert.notEqual(one, hex(policyAuthorize(new Uint8Array(34).fill(4), digest(1))));
  });

  it('signs policy, then reference', () => {
    assert.deepEqual(approvalMessage(Uint8Array.of(1, 2), Uint8Array.of(3)), Uint8Array.of(1, 2, 3));
  });
});

describe('policy key public area', () => {
  it('holds the key, and has a name of 34 bytes', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const area = policyKeyPublicArea(publicKey);
    assert.equal(nameOf(area).byteLength, 34);
    assert.equal(keyObjectOf(parsePublicArea(area)).equals(publicKey), true);
  });

  it('refuses keys that are not ECDSA on an accepted curve', () => {
    for (const { publicKey } of [
      generateKeyPairSync('ed25519'),
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
    ]) {
      assert.throws(() => policyKeyPublicArea(publicKey), { code: 'tpm-structure-invalid' });
    }
  });
});
