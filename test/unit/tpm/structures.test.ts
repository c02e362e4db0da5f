import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import {
  OBJECT_ATTRIBUTE,
  ecdsaFromP1363,
  ecdsaToP1363,
  formatAttest,
  formatPcrSelection,
  formatPublicArea,
  formatSignature,
  hasAttributes,
  keyObjectOf,
  nameOf,
  parseAttest,
  parsePcrSelection,
  parsePublicArea,
  parseSignature,
  verifySignature,
} from '../../support/tpm-structures.ts';
import type { PublicArea } from '../../support/tpm-structures.ts';
import { sample, samples } from './samples.ts';

const ATTESTS = ['eccQuote', 'eccCertify', 'rsaQuote', 'rsaCertify'] as const;
const SIGNATURES = [
  'eccQuoteSignature',
  'eccCertifySignature',
  'rsaQuoteSignature',
  'rsaCertifySignature',
] as const;
const PUBLICS = ['eccAk', 'rsaAk', 'receiveKey', 'srk', 'ekRsa', 'ekP384', 'sealed'] as const;
const refused = { code: 'tpm-structure-invalid' };

/** Every way of cutting it short, and one byte too many. */
function refusesOtherLengths(bytes: Uint8Array, parse: (bytes: Uint8Array) => unknown): void {
  for (let length = 0; length < bytes.byteLength; length++) {
    assert.throws(() => parse(bytes.subarray(0, length)), refused, `accepted the first ${length} bytes`);
  }
  assert.throws(() => parse(Buffer.concat([bytes, Buffer.alloc(1)])), refused);
}

function changed(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[offset] = value;
  return copy;
}

describe('TPMS_ATTEST', () => {
  for (const name of ATTESTS) {
    it(`reads and writes back ${name} byte by byte, and refuses other lengths`, () => {
      assert.deepEqual(formatAttest(parseAttest(sample(name))), sample(name));
      refusesOtherLengths(sample(name), parseAttest);
    });
  }

  it('reads a quote’s qualifying data, selection and clock', () => {
    const attest = parseAttest(sample('eccQuote'));
    assert.equal(attest.type, 'quote');
    assert.deepEqual(attest.extraData, new Uint8Array(32).fill(0x11));
    assert.deepEqual(attest.pcrSelection, [
      { bank: 'sha256', pcrs: [0, 7, 16] },
      { bank: 'sha1', pcrs: [23] },
    ]);
    assert.equal(attest.clock.safe, true);
  });

  it('reads the certified name', () => {
    const attest = parseAttest(sample('eccCertify'));
    assert.equal(attest.type, 'certify');
    assert.deepEqual(attest.name, sample('receiveKeyName'));
  });

  it('refuses what the TPM did not generate, other kinds of attestation, and a clock that is neither safe nor not', () => {
    assert.throws(() => parseAttest(changed(sample('eccQuote'), 0, 0xfe)), /TPM_GENERATED_VALUE/);
    assert.throws(() => parseAttest(changed(sample('eccQuote'), 5, 0x19)), /type 0x8019/);
    const clockSafe = 6 + (2 + 34) + (2 + 32) + 8 + 4 + 4;
    assert.throws(() => parseAttest(changed(sample('eccQuote'), clockSafe, 2)), /TPMI_YES_NO/);
  });
});

describe('TPMT_SIGNATURE', () => {
  for (const name of SIGNATURES) {
    it(`reads and writes back ${name} byte by byte, and refuses other lengths`, () => {
      assert.deepEqual(formatSignature(parseSignature(sample(name))), sample(name));
      refusesOtherLengths(sample(name), parseSignature);
    });
  }

  for (const kind of ['ecc', 'rsa'] as const) {
    it(`verifies ${kind} attestations with the attestation key, and no altered ones`, () => {
      const key = keyObjectOf(parsePublicArea(sample(`${kind}Ak`)));
      for (const what of ['Quote', 'Certify'] as const) {
        const attest = sample(`${kind}${what}`);
        const signature = parseSignature(sample(`${kind}${what}Signature`));
        assert.equal(verifySignature(key, attest, signature), true);
        assert.equal(verifySignature(key, changed(attest, 60, (attest[60] ?? 0) ^ 1), signature), false);
      }
    });
  }

  it('is false, not an exception, for a key of another type', () => {
    const ecc = keyObjectOf(parsePublicArea(sample('eccAk')));
    const rsa = keyObjectOf(parsePublicArea(sample('rsaAk')));
    assert.equal(
      verifySignature(rsa, sample('eccQuote'), parseSignature(sample('eccQuoteSignature'))),
      false,
    );
    assert.equal(
      verifySignature(ecc, sample('rsaQuote'), parseSignature(sample('rsaQuoteSignature'))),
      false,
    );
    const ed25519 = generateKeyPairSync('ed25519').publicKey;
    assert.equal(
      verifySignature(ed25519, sample('eccQuote'), parseSignature(sample('eccQuoteSignature'))),
      false,
    );
  });

  it('verifies RSA-PSS, which RSASSA does not pass for', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const message = Buffer.from('message');
    const pss = { key: privateKey, padding: 6, saltLength: 32 };
    const bytes = Uint8Array.from(sign('sha256', message, pss));
    assert.equal(
      verifySignature(publicKey, message, { scheme: 'rsapss', hash: 'sha256', signature: bytes }),
      true,
    );
    assert.equal(
      verifySignature(publicKey, message, { scheme: 'rsassa', hash: 'sha256', signature: bytes }),
      false,
    );
  });

  it('turns P1363 into a TPM’s ECDSA and back, padding short integers', () => {
    const bytes = new Uint8Array(64).fill(9);
    const signature = ecdsaFromP1363(bytes, 'sha256');
    assert.equal(signature.scheme, 'ecdsa');
    assert.deepEqual(Uint8Array.from(ecdsaToP1363(signature as never, 32)), bytes);
    const short = { scheme: 'ecdsa', hash: 'sha256', r: Uint8Array.of(1), s: Uint8Array.of(2) } as const;
    const padded = ecdsaToP1363(short, 32);
    assert.deepEqual([padded.byteLength, padded[31], padded[63]], [64, 1, 2]);
    assert.throws(() => ecdsaFromP1363(new Uint8Array(63), 'sha256'), refused);
  });

  it('is false where r is longer than the curve', () => {
    const key = keyObjectOf(parsePublicArea(sample('eccAk')));
    const long = { scheme: 'ecdsa', hash: 'sha256', r: new Uint8Array(33), s: new Uint8Array(32) } as const;
    assert.equal(verifySignature(key, sample('eccQuote'), long), false);
  });

  it('refuses SHA-1 and unknown schemes', () => {
    assert.throws(() => parseSignature(changed(sample('eccQuoteSignature'), 3, 0x04)), refused);
    assert.throws(() => parseSignature(changed(sample('eccQuoteSignature'), 1, 0x1b)), refused);
  });
});

describe('TPMT_PUBLIC', () => {
  for (const name of PUBLICS) {
    it(`reads and writes back ${name} byte by byte, and refuses other lengths`, () => {
      assert.deepEqual(formatPublicArea(parsePublicArea(sample(name))), sample(name));
      refusesOtherLengths(sample(name), parsePublicArea);
    });
  }

  for (const name of ['eccAk', 'rsaAk', 'receiveKey', 'srk', 'ekP384'] as const) {
    it(`computes the name of ${name} as the TPM does`, () => {
      assert.equal(Buffer.from(nameOf(sample(name))).toString('hex'), samples[`${name}Name`]);
    });
  }

  it('tells attributes', () => {
    const ak = parsePublicArea(sample('eccAk'));
    assert.equal(
      hasAttributes(ak, ['restricted', 'sign', 'fixedTpm', 'fixedParent', 'sensitiveDataOrigin']),
      true,
    );
    assert.equal(hasAttributes(ak, ['restricted', 'decrypt']), false);
    const receiveKey = parsePublicArea(sample('receiveKey'));
    assert.equal(hasAttributes(receiveKey, ['decrypt', 'noDa']), true);
    assert.equal(receiveKey.attributes & (OBJECT_ATTRIBUTE.userWithAuth | OBJECT_ATTRIBUTE.restricted), 0);
  });

  it('refuses reserved attribute bits, policies of another size, unknown curves and types', () => {
    assert.throws(() => parsePublicArea(changed(sample('eccAk'), 4, 0x80)), /reserved/);
    const ak = parsePublicArea(sample('eccAk'));
    assert.throws(
      () => parsePublicArea(formatPublicArea({ ...ak, authPolicy: new Uint8Array(20) })),
      /policy/,
    );
    assert.throws(() => parsePublicArea(changed(sample('eccAk'), 17, 0x99)), /unknown curve/);
    assert.throws(() => parsePublicArea(changed(sample('eccAk'), 1, 0x25)), /unknown object type/);
  });

  it('makes no key of a point off the curve, or of sealed data', () => {
    const ak = parsePublicArea(sample('eccAk')) as PublicArea & { type: 'ecc' };
    assert.throws(() => keyObjectOf({ ...ak, y: changed(ak.y, 0, (ak.y[0] ?? 0) ^ 1) }), refused);
    assert.throws(() => keyObjectOf({ ...ak, x: new Uint8Array(33) }), refused);
    assert.throws(() => keyObjectOf(parsePublicArea(sample('sealed'))), refused);
  });
});

describe('TPML_PCR_SELECTION', () => {
  it('writes the bitmaps of Part 2, and reads them back', () => {
    const selection = [
      { bank: 'sha256', pcrs: [0, 9, 23] },
      { bank: 'sha1', pcrs: [] },
    ] as const;
    const wire = formatPcrSelection(selection);
    assert.equal(Buffer.from(wire).toString('hex'), '00000002' + '000b03010280' + '000403000000');
    assert.deepEqual(parsePcrSelection(wire), selection);
    refusesOtherLengths(wire, parsePcrSelection);
  });

  it('refuses PCRs out of range, and PCRs or banks named twice', () => {
    for (const pcrs of [[24], [-1], [1.5], [3, 3]]) {
      assert.throws(() => formatPcrSelection([{ bank: 'sha256', pcrs }]), refused);
    }
    const twice = [
      { bank: 'sha256', pcrs: [1] },
      { bank: 'sha256', pcrs: [2] },
    ] as const;
    assert.throws(() => formatPcrSelection(twice), refused);
    const wire = Buffer.from('00000002' + '000b03010000' + '000b03020000', 'hex');
    assert.throws(() => parsePcrSelection(wire), /twice/);
  });

  it('refuses bitmaps of another size, unknown banks and too many of them', () => {
    assert.throws(() => parsePcrSelection(Buffer.from('00000001' + '000b0401000000', 'hex')), refused);
    assert.throws(() => parsePcrSelection(Buffer.from('00000001' + '001203010000', 'hex')), refused);
    assert.throws(() => parsePcrSelection(Buffer.from('00000011', 'hex')), refused);
  });
});
