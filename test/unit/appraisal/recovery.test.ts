/** The authority's statements that a host is lost, and who takes its VM up (SPEC 15.4). */
import { strict as assert } from 'node:assert';
import { signEnvelope } from '../../../lib/appraisal/dsse.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import { RECOVERY_PAYLOAD_TYPE, signRecovery, verifyRecovery } from '../../../lib/appraisal/recovery.ts';
import type { RecoveryDocument, RecoveryStatement } from '../../../lib/appraisal/recovery.ts';
import { REVOCATIONS_PAYLOAD_TYPE } from '../../../lib/appraisal/revocation.ts';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { failsWith } from '../../support/failures.ts';
import { makeTestAuthority, testKeyPair } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const digest = (of: string): Uint8Array => sha256(Buffer.from(of));
const nameOf = (of: string): Uint8Array => Uint8Array.from([0, 11, ...digest(of)]);
const document: RecoveryDocument = {
  vm: '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77',
  ...{ birth: digest('birth'), epoch: 3, head: digest('head') },
  lost: { name: 'alpha.test', ak: nameOf('AK of alpha') },
  to: { name: 'beta.test', ak: nameOf('AK of beta') },
  receiveKey: nameOf('receive key of beta'),
  ...{ state: digest('state'), request: digest('request') },
  issuedAt: new Date('2026-06-01T12:00:00.000Z'),
};

describe('recovery statements (SPEC 15.4)', () => {
  let authority: TestAuthority;
  before(async () => {
    authority = await makeTestAuthority();
  });
  const verify = (envelope: string): RecoveryStatement =>
    verifyRecovery(envelope, { root: authority.root, signers: [authority.policySigner] });
  const sign = (text: string, type = RECOVERY_PAYLOAD_TYPE, keys = authority.policyKeys): string =>
    signEnvelope(type, Buffer.from(text), keys);
  const textOf = (change: Partial<RecoveryDocument> = {}): string => {
    const { payload } = JSON.parse(signRecovery({ ...document, ...change }, authority.policyKeys)) as {
      payload: string;
    };
    return Buffer.from(payload, 'base64').toString();
  };
  const refuses = (reason: PolicyReason, envelope: string): void => {
    assert.throws(() => verify(envelope), failsWith('policy-invalid', reason));
  };

  it('come out as they were signed, with the state of the vTPM or without', () => {
    const { digest: of, signerSpki, ...told } = verify(signRecovery(document, authority.policyKeys));
    assert.deepEqual(told, document);
    assert.deepEqual(Buffer.from(of), Buffer.from(digest(textOf())));
    assert.ok(signerSpki.byteLength > 0);
    assert.equal(verify(signRecovery({ ...document, state: null }, authority.policyKeys)).state, null);
  });

  it('are signed by a policy signer of the root, as what they are', () => {
    refuses('bad-signature', sign(textOf(), RECOVERY_PAYLOAD_TYPE, testKeyPair()));
    refuses('wrong-payload-type', sign(textOf(), REVOCATIONS_PAYLOAD_TYPE));
  });

  it('have one spelling', () => {
    const text = textOf();
    refuses('not-canonical', sign(` ${text}`));
    refuses(
      'not-canonical',
      sign(JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(text) as object).reverse()))),
    );
  });

  it('have all members and no others, each of its form', () => {
    const good = JSON.parse(textOf()) as Readonly<Record<string, unknown>>;
    const changes: readonly Readonly<Record<string, unknown>>[] = [
      { more: 1 },
      { format: 'tvmmp-recovery/2' },
      { vm: 'not a UUID' },
      { birth: 'AB' },
      { epoch: -1 },
      { epoch: 0.5 },
      { head: null },
      { lost: { name: 'alpha.test' } },
      { to: { name: 'not a name!', ak: 'ab' } },
      { receiveKey: '00'.repeat(34).slice(1) },
      { state: 'unknown' },
      { request: 7 },
      { issuedAt: '2026-06-01' },
    ];
    for (const change of changes) refuses('malformed', sign(JSON.stringify({ ...good, ...change })));
    for (const member of Object.keys(good)) {
      const without = Object.fromEntries(Object.entries(good).filter(([name]) => name !== member));
      refuses('malformed', sign(JSON.stringify(without)));
    }
  });
});
