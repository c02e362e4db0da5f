import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { keyIdOf, parseEnvelope, signEnvelope, verifyEnvelope } from '../../../lib/appraisal/dsse.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import { limits } from '../../../lib/limits.ts';
import { failsWith } from '../../support/failures.ts';
import { testKeyPair } from '../../support/test-authority.ts';

const keys = testKeyPair();
const payload = Buffer.from('{"a":1}');
const text = signEnvelope('application/x', payload, keys);
const parts = (): { payloadType: string; payload: string; signatures: { keyid: string; sig: string }[] } =>
  JSON.parse(text) as ReturnType<typeof parts>;

const refused = (reason: PolicyReason) => failsWith('policy-invalid', reason);

describe('DSSE envelopes', () => {
  it('what was signed verifies, and is what the DSSE protocol says', () => {
    const envelope = parseEnvelope(text);
    assert.deepEqual(Buffer.from(envelope.payload), payload);
    assert.ok(verifyEnvelope(envelope, keys.publicKey));
    const encoding = Buffer.from('DSSEv1 13 application/x 7 {"a":1}');
    assert.ok(verify('sha256', encoding, keys.publicKey, envelope.signature));
    const spki = keys.publicKey.export({ type: 'spki', format: 'der' });
    assert.equal(envelope.keyId, createHash('sha256').update(spki).digest('hex'));
  });

  it("verifies the DSSE protocol's own example", () => {
    const key = createPublicKey({
      key: {
        kty: 'EC',
        crv: 'P-256',
        x: base64url(46950820868899156662930047687818585632848591499744589407958293238635476079160n),
        y: base64url(5640078356564379163099075877009565129882514886557779369047442380624545832820n),
      },
      format: 'jwk',
    });
    const signature = Buffer.from(
      'A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==',
      'base64',
    );
    const envelope = {
      payloadType: 'http://example.com/HelloWorld',
      payload: Buffer.from('hello world'),
      keyId: keyIdOf(key),
      signature: derSignature(signature),
    };
    assert.ok(verifyEnvelope(envelope, key));
    assert.ok(!verifyEnvelope({ ...envelope, payload: Buffer.from('hello worle') }, key));
    assert.ok(!verifyEnvelope({ ...envelope, payloadType: 'http://example.com/HelloWorle' }, key));
  });

  it('another key, payload, type or signature does not verify', () => {
    const envelope = parseEnvelope(text);
    assert.ok(!verifyEnvelope(envelope, testKeyPair().publicKey));
    assert.ok(!verifyEnvelope({ ...envelope, payload: Buffer.from('{"a":2}') }, keys.publicKey));
    assert.ok(!verifyEnvelope({ ...envelope, payloadType: 'application/y' }, keys.publicKey));
    assert.ok(!verifyEnvelope({ ...envelope, signature: new Uint8Array(70) }, keys.publicKey));
    assert.ok(!verifyEnvelope({ ...envelope, keyId: '00' }, testKeyPair().publicKey));
  });

  it('unknown and missing members, other spellings of base64, none and two signatures are refused', () => {
    const [signature] = parts().signatures;
    assert.ok(signature);
    const bad: unknown[] = [
      null,
      [],
      'text',
      { ...parts(), extra: 1 },
      { payloadType: 'a', payload: 'YQ==' },
      { ...parts(), payload: 'YR==' },
      { ...parts(), payload: 'YQ' },
      { ...parts(), payload: '' },
      { ...parts(), payload: ' YQ==' },
      { ...parts(), payloadType: 'a b' },
      { ...parts(), signatures: [] },
      { ...parts(), signatures: [signature, signature] },
      { ...parts(), signatures: [{ ...signature, cert: '' }] },
      { ...parts(), signatures: [{ ...signature, keyid: 'X' }] },
      { ...parts(), signatures: [{ ...signature, sig: Buffer.alloc(73).toString('base64') }] },
    ];
    for (const value of bad) {
      assert.throws(() => parseEnvelope(JSON.stringify(value)), refused('malformed'), JSON.stringify(value));
    }
    assert.throws(() => parseEnvelope(text.slice(0, -1)), refused('malformed'));
  });

  it('an envelope that is too large is refused before it is parsed', () => {
    assert.throws(() => parseEnvelope(' '.repeat(limits.policyEnvelopeBytesMax + 1)), refused('too-large'));
  });
});

function base64url(integer: bigint): string {
  return Buffer.from(integer.toString(16).padStart(64, '0'), 'hex').toString('base64url');
}

/** r || s as a DER SEQUENCE of two INTEGERs. */
function derSignature(p1363: Buffer): Buffer {
  const integer = (bytes: Buffer): Buffer => {
    const trimmed = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
    const body = (trimmed[0] ?? 0) > 0x7f ? Buffer.concat([Buffer.alloc(1), trimmed]) : trimmed;
    return Buffer.concat([Buffer.from([2, body.length]), body]);
  };
  const body = Buffer.concat([integer(p1363.subarray(0, 32)), integer(p1363.subarray(32))]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
}
