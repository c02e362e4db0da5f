import { strict as assert } from 'node:assert';
import { formatPolicyDraft, parsePolicyText, verifySignedPolicy } from '../../../lib/appraisal/policy.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import { signTenantPolicy, verifyTenantPolicy } from '../../../lib/appraisal/tenant-policy.ts';
import { signEnvelope } from '../../../lib/appraisal/dsse.ts';
import { spkiOf } from '../../../lib/certificates/public-key.ts';
import { base64 } from '../../../lib/encoding/base64.ts';
import { failsWith } from '../../support/failures.ts';
import { pcrsOf, worldVm } from '../../support/proof-world.ts';
import { makeTestAuthority, testKeyPair, testValidity } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const refused = (reason: PolicyReason, says?: RegExp) => failsWith('policy-invalid', reason, says);

describe('escrow in a policy (SPEC 15.1)', () => {
  let authority: TestAuthority;
  const escrowKey = spkiOf(testKeyPair().publicKey);
  const states = [{ name: 'base', pcrs: pcrsOf('base') }];
  const signed = (escrow?: Uint8Array): string =>
    authority.signPolicy({
      ...{ id: 'lab', version: 1, pcrs: [0, 4, 7], states },
      ...(escrow === undefined ? {} : { escrow: { key: base64(escrow) } }),
    });
  const verify = (text: string) =>
    verifySignedPolicy(text, {
      ...{ root: authority.root, signers: [authority.policySigner] },
      at: testValidity.notBefore,
    });

  before(async () => {
    authority = await makeTestAuthority();
  });

  it('is off unless it is written there', () => {
    assert.equal(verify(signed()).escrow, null);
    assert.doesNotMatch(
      Buffer.from((JSON.parse(signed()) as { payload: string }).payload, 'base64').toString(),
      /escrow/,
    );
  });

  it('names a key of its own', () => {
    assert.deepEqual(verify(signed(escrowKey)).escrow, escrowKey);
  });

  it('is not the key of the root, nor the one that signs policies', () => {
    for (const { publicKey } of [authority.rootKeys, authority.policyKeys])
      assert.throws(() => verify(signed(spkiOf(publicKey))), refused('conflict', /root key or policy key/));
  });

  it('is read from a draft and written there as its last member', () => {
    const text = formatPolicyDraft({
      ...{ id: 'lab', version: 1, pcrs: [0, 4, 7], states },
      escrow: { key: base64(escrowKey) },
    });
    assert.match(text, /"escrow": \{\n {4}"key": "[^"]+"\n {2}\}\n\}\n$/);
    assert.deepEqual(parsePolicyText(text).escrow, { key: base64(escrowKey) });
    const other = (value: unknown): string => JSON.stringify({ ...JSON.parse(text), escrow: value });
    const point = base64(escrowKey.map((byte, at) => (at === 90 ? byte ^ 1 : byte)));
    const bad = ['on', {}, { key: 'x' }, { key: point }, { key: base64(escrowKey), also: 1 }, null];
    for (const value of bad)
      assert.throws(() => parsePolicyText(other(value)), refused('malformed', /\/escrow/));
  });
});

describe('a tenant about escrow (SPEC 10.5)', () => {
  const keys = testKeyPair();
  const document = { vm: worldVm, version: 1, issuedAt: new Date(0), condition: 'level >= 1' };

  it('forbids it, or says nothing about it', () => {
    const forbidden = signTenantPolicy({ ...document, escrow: 'no' }, keys);
    assert.equal(verifyTenantPolicy(forbidden).escrow, 'no');
    assert.equal(verifyTenantPolicy(signTenantPolicy(document, keys)).escrow, undefined);
  });

  it('says nothing else', () => {
    const { payload, payloadType } = JSON.parse(
      signTenantPolicy({ ...document, escrow: 'no' }, keys),
    ) as Readonly<Record<'payload' | 'payloadType', string>>;
    const text = Buffer.from(payload, 'base64').toString().replace('"no"', '"yes"');
    assert.throws(
      () => verifyTenantPolicy(signEnvelope(payloadType, Buffer.from(text), keys)),
      refused('malformed', /\/escrow/),
    );
  });
});
