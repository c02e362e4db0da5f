import { strict as assert } from 'node:assert';
import { signEnvelope } from '../../../lib/appraisal/dsse.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import {
  REVOCATIONS_PAYLOAD_TYPE,
  compareRevocations,
  revocationOf,
  signRevocations,
  verifySignedRevocations,
} from '../../../lib/appraisal/revocation.ts';
import type { Revocation, RevocationDocument } from '../../../lib/appraisal/revocation.ts';
import { formatRevocations } from '../../../lib/appraisal/revocation-text.ts';
import { limits } from '../../../lib/limits.ts';
import { failsWith } from '../../support/failures.ts';
import { makeTestAuthority } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const at = new Date('2026-06-01T12:00:00.000Z');
const key = (last: number): Uint8Array => Uint8Array.from([0, 11, ...new Uint8Array(31), last]);
const revoked = (last: number, change: Partial<Revocation> = {}): Revocation => ({
  host: `host-${last}`,
  akName: key(last),
  since: at,
  reason: 'stolen',
  ...change,
});

const refuses = (reason: PolicyReason) => failsWith('policy-invalid', reason);

describe('revocation lists (SPEC 1.3)', () => {
  let authority: TestAuthority;
  before(async () => {
    authority = await makeTestAuthority();
  });
  const document = (change: Partial<RevocationDocument> = {}): RevocationDocument => ({
    version: 2,
    issuedAt: at,
    hosts: [revoked(2), revoked(1)],
    ...change,
  });
  const trust = (): { root: TestAuthority['root']; signers: Uint8Array[]; at: Date } => ({
    root: authority.root,
    signers: [authority.policySigner],
    at,
  });
  const verify = (envelope: string): ReturnType<typeof verifySignedRevocations> =>
    verifySignedRevocations(envelope, trust());
  /** A payload of the attacker's own making under the real key. */
  const signText = (text: string): string =>
    signEnvelope(REVOCATIONS_PAYLOAD_TYPE, Buffer.from(text), authority.policyKeys);

  it('come out as they were signed, keys ascending', () => {
    const list = verify(signRevocations(document(), authority.policyKeys));
    assert.deepEqual(
      list.hosts.map(({ host }) => host),
      ['host-1', 'host-2'],
    );
    assert.equal(list.version, 2);
    assert.deepEqual(revocationOf(list, key(2)), revoked(2));
    assert.equal(revocationOf(list, key(3)), undefined);
    assert.equal(revocationOf(null, key(1)), undefined);
  });

  it('may be empty', () => {
    assert.deepEqual(verify(signRevocations(document({ hosts: [] }), authority.policyKeys)).hosts, []);
  });

  it('of another authority, with a signature that is not theirs, or of another type are refused', async () => {
    const other = await makeTestAuthority('Other');
    const foreign = signRevocations(document(), other.policyKeys);
    assert.throws(() => verify(foreign), refuses('bad-signature'));
    const stranger = { ...trust(), signers: [other.policySigner] };
    assert.throws(() => verifySignedRevocations(foreign, stranger), refuses('untrusted-signer'));
    const policy = signEnvelope(
      'application/vnd.tvmmp.policy+json',
      Buffer.from(formatRevocations(document())),
      authority.policyKeys,
    );
    assert.throws(() => verify(policy), refuses('wrong-payload-type'));
    const changed = JSON.parse(signRevocations(document(), authority.policyKeys)) as { payload: string };
    changed.payload = Buffer.from(formatRevocations(document({ hosts: [] }))).toString('base64');
    assert.throws(() => verify(JSON.stringify(changed)), refuses('bad-signature'));
  });

  it('written otherwise than SPEC 1.3 says are refused, each by its reason', () => {
    const text = formatRevocations(document());
    const cases: readonly (readonly [reason: PolicyReason, text: string])[] = [
      ['malformed', '{'],
      ['malformed', '[]'],
      ['malformed', text.replace('"version":2', '"version":0')],
      ['malformed', text.replace('"version":2', '"version":"2"')],
      ['malformed', text.replace('tvmmp-revocations/1', 'tvmmp-revocations/2')],
      ['malformed', text.replace('{"format"', '{"extra":1,"format"')],
      ['malformed', text.replace('"host":"host-1"', '"host":"-1"')],
      ['malformed', text.replace('"host":"host-1",', '')],
      ['malformed', text.replace('stolen', 'st\\u0007len')],
      ['malformed', text.replace('stolen', 'x'.repeat(129))],
      ['malformed', text.replace('"since":"2026-06-01', '"since":"2026-13-01')],
      ['malformed', text.replace(Buffer.from(key(2)).toString('hex'), Buffer.from(key(1)).toString('hex'))],
      ['malformed', text.replace(Buffer.from(key(2)).toString('hex'), 'aa')],
      ['malformed', text.replace(Buffer.from(key(2)).toString('hex'), `000c${'00'.repeat(31)}02`)],
      ['not-canonical', text.replace('{"format"', '{ "format"')],
      ['not-canonical', `${text}\n`],
      ['not-canonical', text.replace(/"hosts":\[(\{.*?\}),(\{.*?\})\]/, '"hosts":[$2,$1]')],
    ];
    for (const [reason, changed] of cases) {
      assert.notEqual(changed, text);
      assert.throws(() => verify(signText(changed)), refuses(reason), changed);
    }
  });

  it('of more keys than there is room for are refused, and are not signed', () => {
    const hosts = Array.from({ length: limits.revocationsMax + 1 }, (_, index) =>
      revoked(1, { akName: Uint8Array.from([0, 11, ...new Uint8Array(28), 0, 0, index >> 8, index & 255]) }),
    );
    assert.throws(() => signRevocations(document({ hosts }), authority.policyKeys), refuses('malformed'));
    const largest = hosts.slice(1);
    assert.equal(
      verify(signRevocations(document({ hosts: largest }), authority.policyKeys)).hosts.length,
      limits.revocationsMax,
    );
  });

  it('follow one another by version alone', () => {
    const of = (version: number, hosts: readonly Revocation[] = []): ReturnType<typeof verify> =>
      verify(signRevocations(document({ version, hosts }), authority.policyKeys));
    assert.equal(compareRevocations(null, of(1)), 'newer');
    assert.equal(compareRevocations(of(1), of(2)), 'newer');
    assert.equal(compareRevocations(of(2), of(2)), 'same');
    assert.throws(() => compareRevocations(of(2), of(1)), refuses('rollback'));
    assert.throws(() => compareRevocations(of(2), of(2, [revoked(1)])), refuses('version-conflict'));
  });
});
