import { strict as assert } from 'node:assert';
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { signEnvelope } from '../../../lib/appraisal/dsse.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import {
  TENANT_PAYLOAD_TYPE,
  assertTenantSuccessor,
  signTenantPolicy,
  tenantFault,
  verifyTenantPolicy,
} from '../../../lib/appraisal/tenant-policy.ts';
import type { TenantDocument } from '../../../lib/appraisal/tenant-policy.ts';
import { spkiDigest } from '../../../lib/certificates/public-key.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { limits } from '../../../lib/limits.ts';
import { failsWith } from '../../support/failures.ts';
import { testKeyPair } from '../../support/test-authority.ts';

const keys = testKeyPair();
const document: TenantDocument = {
  vm: '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77',
  version: 2,
  issuedAt: new Date('2026-11-23T17:00:00.000Z'),
  condition: 'region == "eu" and level >= 2',
};
const signed = signTenantPolicy(document, keys);

/** The payload after a change to its text, signed again with this key. */
function resigned(change: (payload: string) => string, by = keys, type = TENANT_PAYLOAD_TYPE): string {
  const { payload } = JSON.parse(signed) as { payload: string };
  return signEnvelope(type, Buffer.from(change(Buffer.from(payload, 'base64').toString())), by);
}

const refused = (reason: PolicyReason, says?: RegExp) => failsWith('policy-invalid', reason, says);

describe('tenant policies (SPEC 10.5)', () => {
  it('come out as they were signed, with the key that signed them', () => {
    const { digest, keyDigest, ...read } = verifyTenantPolicy(signed);
    assert.deepEqual(read, document);
    assert.deepEqual(keyDigest, spkiDigest(keys.publicKey));
    assert.equal(digest.byteLength, 32);
  });

  it('that another key signed than the one in them are refused', () => {
    const other = testKeyPair();
    assert.throws(() => verifyTenantPolicy(resigned((text) => text, other)), refused('bad-signature'));
    const { signatures, ...rest } = JSON.parse(resigned((text) => text, other)) as {
      signatures: { sig: string }[];
    };
    const { signatures: own } = JSON.parse(signed) as { signatures: { keyid: string }[] };
    const mixed = [{ keyid: own[0]?.keyid, sig: signatures[0]?.sig }];
    assert.throws(
      () => verifyTenantPolicy(JSON.stringify({ ...rest, signatures: mixed })),
      refused('bad-signature'),
    );
  });

  it('written otherwise than SPEC 10.5 says are refused, each with its place', () => {
    const place = (pointer: string): RegExp => new RegExp(`read: ${pointer} `);
    for (const [from, to, reason, text] of [
      ['"version":2', '"version":2.5', 'malformed', place('/version')],
      ['"version":2', '"version":0', 'malformed', place('/version')],
      ['"vm":"6b', '"vm":"6B', 'malformed', place('/vm')],
      ['"key"', '"keys"', 'malformed', place('/keys')],
      ['region ==', 'region =', 'malformed', place('/condition')],
      ['.000Z', 'Z', 'malformed', place('/issuedAt')],
      ['tenant-policy/1', 'tenant-policy/2', 'malformed', place('/format')],
      ['{"format"', '{ "format"', 'not-canonical', /SPEC 10\.5/],
    ] as const)
      assert.throws(
        () => verifyTenantPolicy(resigned((payload) => payload.replace(from, to))),
        refused(reason, text),
      );
    assert.throws(
      () => verifyTenantPolicy(resigned((text) => text, keys, 'application/vnd.tvmmp.policy+json')),
      refused('wrong-payload-type'),
    );
  });

  it('with a key that is not on P-256 are refused', () => {
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    assert.throws(() => signTenantPolicy(document, p384), refused('malformed', /\/key/));
    const point = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    assert.throws(() => signTenantPolicy(document, point), refused('malformed', /\/key/));
  });

  it('with a condition that is a bomb are refused before it goes off', () => {
    const bombs = [
      '('.repeat(500) + 'a == 1' + ')'.repeat(494),
      'not '.repeat(249) + 'a==1',
      'a == 1 or '.repeat(99) + `a in [${'1,'.repeat(limits.expressionCharactersMax)}1]`,
    ];
    for (const condition of bombs)
      assert.throws(
        () =>
          verifyTenantPolicy(
            resigned((text) => text.replace(/"region.*level >= 2"/, JSON.stringify(condition))),
          ),
        refused('malformed', /\/condition/),
      );
    const large = 'x'.repeat(limits.tenantPolicyBytesMax);
    assert.throws(() => verifyTenantPolicy(resigned((text) => text + large)), refused('too-large'));
  });

  it('follow one another by the same key and a higher version alone', () => {
    const of = (version: number, by = keys) =>
      verifyTenantPolicy(signTenantPolicy({ ...document, version }, by));
    assertTenantSuccessor(of(2), of(3));
    for (const version of [1, 2])
      assert.throws(() => {
        assertTenantSuccessor(of(2), of(version));
      }, refused('rollback'));
    assert.throws(() => {
      assertTenantSuccessor(of(2), of(3, testKeyPair()));
    }, refused('untrusted-signer'));
  });

  it('let a host hold the VM where the condition is true, and not where it is open', () => {
    const policy = verifyTenantPolicy(signed);
    const fault = (attributes: Record<string, string | number>): string | null =>
      tenantFault(policy, new Map(Object.entries(attributes)));
    assert.equal(fault({ region: 'eu', level: 2 }), null);
    assert.match(
      fault({ region: 'us', level: 2 }) ?? '',
      /the tenant asks for region == "eu" and level >= 2/,
    );
    assert.match(fault({ region: 'eu' }) ?? '', /nothing is said about level/);
    assert.match(fault({}) ?? '', /no attributes/);
  });

  it('with any one bit of the envelope changed, are refused or say the same', () => {
    const original = verifyTenantPolicy(signed);
    fc.assert(
      fc.property(fc.nat(signed.length - 1), fc.nat(6), (at, bit) => {
        const bytes = Buffer.from(signed);
        bytes[at]! ^= 1 << bit;
        let read;
        try {
          read = verifyTenantPolicy(bytes.toString('utf8'));
        } catch (error) {
          assert.ok(error instanceof TvmmpError && error.code === 'policy-invalid', String(error));
          return;
        }
        assert.deepEqual(read, original);
      }),
      { numRuns: 400 },
    );
  });
});
