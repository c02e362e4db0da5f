import assert from 'node:assert/strict';
import { OBJECT_ATTRIBUTE } from '../../../lib/tpm/algorithms.ts';
import { makeCredential } from '../../../lib/tpm/credential.ts';
import { formatPublicArea, parsePublicArea } from '../../support/tpm-structures.ts';
import type { PublicArea } from '../../support/tpm-structures.ts';
import {
  akTemplate,
  ekTemplate,
  matchesTemplate,
  receiveKeyTemplate,
  srkTemplate,
} from '../../../lib/tpm/templates.ts';
import { sample } from './samples.ts';

// That a TPM recovers the secret is tested in test/conformance/tpm.ts.
const name = new Uint8Array(34).fill(1);

describe('making a credential', () => {
  it('has the sizes of Part 1, 24 for RSA and ECC endorsement keys', () => {
    const rsa = makeCredential(sample('ekRsa'), name, new Uint8Array(32));
    assert.equal(rsa.encryptedSecret.byteLength, 2 + 256);
    assert.equal(rsa.credentialBlob.byteLength, 2 + (2 + 32) + (2 + 32));
    const ecc = makeCredential(sample('ekP384'), name, new Uint8Array(48));
    assert.equal(ecc.encryptedSecret.byteLength, 2 + (2 + 48) + (2 + 48));
    assert.equal(ecc.credentialBlob.byteLength, 2 + (2 + 48) + (2 + 48));
  });

  it('never makes the same twice', () => {
    const [one, two] = [1, 2].map(() => makeCredential(sample('ekP384'), name, new Uint8Array(16)));
    assert.notDeepEqual(one, two);
  });

  it('refuses keys that are not restricted decryption keys', () => {
    for (const key of ['eccAk', 'receiveKey', 'sealed'] as const) {
      assert.throws(() => makeCredential(sample(key), name, new Uint8Array(16)), {
        code: 'tpm-structure-invalid',
      });
    }
  });

  it('refuses an endorsement key that is not restricted: its answer would say nothing about its TPM', () => {
    const ek = parsePublicArea(sample('ekRsa'));
    const loose = formatPublicArea({ ...ek, attributes: ek.attributes & ~OBJECT_ATTRIBUTE.restricted });
    assert.throws(() => makeCredential(loose, name, new Uint8Array(16)), { code: 'tpm-structure-invalid' });
  });

  it('refuses secrets that are empty or larger than the name’s digest', () => {
    for (const size of [0, 33]) {
      assert.throws(() => makeCredential(sample('ekRsa'), name, new Uint8Array(size)), {
        code: 'limit-exceeded',
      });
    }
  });

  it('refuses a point off the curve (an invalid-curve attack would tell our ephemeral key)', () => {
    const ek = parsePublicArea(sample('ekP384')) as PublicArea & { type: 'ecc' };
    const y = Uint8Array.from(ek.y);
    y[0] = (y[0] ?? 0) ^ 1;
    assert.throws(() => makeCredential(formatPublicArea({ ...ek, y }), name, new Uint8Array(16)), {
      code: 'tpm-structure-invalid',
    });
  });
});

describe('templates', () => {
  it('match what a TPM made of them', () => {
    assert.equal(matchesTemplate(sample('ekRsa'), ekTemplate('rsa-2048')), true);
    assert.equal(matchesTemplate(sample('ekP384'), ekTemplate('ecc-p384')), true);
    assert.equal(matchesTemplate(sample('srk'), srkTemplate()), true);
    assert.equal(matchesTemplate(sample('eccAk'), akTemplate('ecc-p256')), true);
    assert.equal(matchesTemplate(sample('rsaAk'), akTemplate('rsa-2048')), true);
    assert.equal(
      matchesTemplate(sample('receiveKey'), receiveKeyTemplate(new Uint8Array(32).fill(0x5a))),
      true,
    );
  });

  it('do not match another key, policy or attribute', () => {
    assert.equal(matchesTemplate(sample('eccAk'), akTemplate('rsa-2048')), false);
    assert.equal(matchesTemplate(sample('receiveKey'), receiveKeyTemplate(new Uint8Array(32))), false);
    const loose = { ...parsePublicArea(sample('receiveKey')), attributes: 0x20472 };
    const template = receiveKeyTemplate(new Uint8Array(32).fill(0x5a));
    assert.equal(matchesTemplate(formatPublicArea(loose), template), false);
  });
});
