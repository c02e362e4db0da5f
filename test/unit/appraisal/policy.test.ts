import assert from 'node:assert/strict';
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { signEnvelope } from '../../../lib/appraisal/dsse.ts';
import type { PolicyReason } from '../../../lib/appraisal/policy-error.ts';
import {
  POLICY_PAYLOAD_TYPE,
  assertSuccessor,
  formatPolicyDraft,
  parsePolicyText,
  policyRefOf,
  receivePolicyOf,
  signPolicy,
  verifySignedPolicy,
} from '../../../lib/appraisal/policy.ts';
import type { Policy, PolicyDraft } from '../../../lib/appraisal/policy.ts';
import { H } from '../../../lib/encoding/hash.ts';
import { limits } from '../../../lib/limits.ts';
import { failsWith } from '../../support/failures.ts';
import { makeTestAuthority, testKeyPair } from '../../support/test-authority.ts';
import type { TestAuthority } from '../../support/test-authority.ts';

const at = new Date('2027-01-01T00:00:00Z');
const issuedAt = new Date('2026-12-01T10:20:30.456Z');

function draftOf(version = 1, states = 2): PolicyDraft {
  return {
    id: 'fleet',
    version,
    pcrs: [0, 7, 10],
    states: Array.from({ length: states }, (_, i) => ({
      name: `state ${i}`,
      pcrs: new Map([0, 7, 10].map((pcr) => [pcr, createHash('sha256').update(`${pcr}/${i}`).digest()])),
    })),
  };
}

const refused = (reason: PolicyReason) => failsWith('policy-invalid', reason);

describe('signed policies', () => {
  let authority: TestAuthority;
  let text: string;
  before(async () => {
    authority = await makeTestAuthority();
    text = authority.signPolicy(draftOf(), issuedAt);
  });
  const check = (envelope: string, changes: object = {}): Policy =>
    verifySignedPolicy(envelope, { root: authority.root, signers: [authority.policySigner], at, ...changes });
  it('ask again who signed, and until when he may, of a policy that was good before', async () => {
    check(text);
    const later = { at: new Date('2100-01-01T00:00:00Z') };
    assert.throws(() => check(text, later), refused('untrusted-signer'));
    const other = await makeTestAuthority();
    assert.throws(
      () => check(text, { signers: [other.policySigner], root: other.root }),
      refused('bad-signature'),
    );
    assert.throws(() => check(text, { root: other.root }), refused('untrusted-signer'));
    assert.equal(check(text).version, 1);
  });

  /** The payload after a change to its text, signed again with the real policy key. */
  const resigned = (change: (payload: string) => string): string => {
    const { payload } = JSON.parse(text) as { payload: string };
    const changed = change(Buffer.from(payload, 'base64').toString());
    return signEnvelope(POLICY_PAYLOAD_TYPE, Buffer.from(changed), authority.policyKeys);
  };

  it('a signed policy verifies and gives back what was signed', () => {
    const policy = check(text);
    assert.equal(policy.id, 'fleet');
    assert.equal(policy.version, 1);
    assert.deepEqual(policy.issuedAt, issuedAt);
    assert.deepEqual(policy.selection, [{ bank: 'sha256', pcrs: [0, 7, 10] }]);
    assert.deepEqual(
      policy.states.map(({ name }) => name),
      ['state 0', 'state 1'],
    );
    const { payload } = JSON.parse(text) as { payload: string };
    const digest = createHash('sha256').update(Buffer.from(payload, 'base64')).digest();
    assert.deepEqual(Buffer.from(policy.digest), digest);
  });

  it('each state has the digests of TPM 2.0 Part 3, 23.7, and an approval that a TPM verifies as in 23.16', () => {
    const policy = check(text);
    const key = createPublicKey({ key: Buffer.from(policy.signerSpki), format: 'der', type: 'spki' });
    for (const state of policy.states) {
      const values = [0, 7, 10].map((pcr) => state.pcrs.get(pcr) ?? new Uint8Array());
      const pcrDigest = createHash('sha256').update(Buffer.concat(values)).digest();
      assert.deepEqual(Buffer.from(state.pcrDigest), pcrDigest);
      const command = Buffer.from('0000017f' + '00000001' + '000b' + '03' + '810400', 'hex');
      const approved = createHash('sha256')
        .update(Buffer.concat([Buffer.alloc(32), command, pcrDigest]))
        .digest();
      assert.deepEqual(Buffer.from(state.approvedPolicy), approved);
      const signed = Buffer.concat([approved, policy.policyRef]);
      assert.ok(verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, state.approval));
    }
    assert.deepEqual(policy.policyRef, H('tvmmp/policy-ref/1', policy.signerSpki));
    assert.equal(receivePolicyOf(policy.signerSpki).byteLength, 32);
  });

  it('the policies of two keys have receive keys of two policies', async () => {
    const other = await makeTestAuthority();
    const spki = (keys: TestAuthority): Uint8Array =>
      keys.policyKeys.publicKey.export({ type: 'spki', format: 'der' });
    assert.notDeepEqual(receivePolicyOf(spki(authority)), receivePolicyOf(spki(other)));
    assert.notDeepEqual(policyRefOf(spki(authority)), policyRefOf(spki(other)));
  });

  it('another key, another authority, a certificate of another kind and an old one are refused', async () => {
    const other = await makeTestAuthority('Other');
    const agent = await authority.agentCertificate('host-a', authority.policyKeys.publicKey);
    assert.throws(() => check(text, { root: other.root }), refused('untrusted-signer'));
    assert.throws(() => check(text, { signers: [] }), refused('untrusted-signer'));
    assert.throws(() => check(text, { signers: [agent] }), refused('untrusted-signer'));
    assert.throws(() => check(text, { at: new Date('2060-01-01') }), refused('untrusted-signer'));
    assert.throws(() => check(signPolicy(draftOf(), issuedAt, testKeyPair())), refused('bad-signature'));
    check(text, { signers: [other.policySigner, agent, authority.policySigner] });
  });

  it('an altered payload is refused', () => {
    const envelope = JSON.parse(text) as { payload: string };
    const payload = Buffer.from(envelope.payload, 'base64').toString().replace('"version":1', '"version":2');
    const altered = JSON.stringify({ ...envelope, payload: Buffer.from(payload).toString('base64') });
    assert.throws(() => check(altered), refused('bad-signature'));
  });

  it('a payload of another type is refused, though the policy key signed it', () => {
    const { payload } = JSON.parse(text) as { payload: string };
    const bytes = Buffer.from(payload, 'base64');
    const envelope = signEnvelope('application/json', bytes, authority.policyKeys);
    assert.throws(() => check(envelope), refused('wrong-payload-type'));
  });

  it('an approval of another state, or by another key, is refused', () => {
    const [first = '', second = ''] = check(text).states.map(({ approval }) =>
      Buffer.from(approval).toString('base64'),
    );
    assert.throws(() => check(resigned((json) => json.replace(first, second))), refused('bad-approval'));
    const zeros = Buffer.alloc(64).toString('base64');
    assert.throws(() => check(resigned((json) => json.replace(first, zeros))), refused('bad-approval'));
  });

  it('unknown members, wrong lengths and forms are refused, though the policy key signed them', () => {
    const changes: [string, string][] = [
      ['"format"', '"x":1,"format"'],
      ['"name"', '"x":1,"name"'],
      ['"pcrs":{"sha256":{', '"pcrs":{"sha1":{},"sha256":{'],
      ['tvmmp-policy/1', 'tvmmp-policy/2'],
      ['"version":1', '"version":0'],
      ['"version":1', '"version":1.5'],
      ['"version":1', '"version":"1"'],
      ['"version":1', '"version":9007199254740993'],
      ['[0,7,10]', '[0,7]'],
      ['[0,7,10]', '[7,0,10]'],
      ['[0,7,10]', '[0,7,7]'],
      ['[0,7,10]', '[0,7,24]'],
      ['[0,7,10]', '[]'],
      ['"fleet"', '"Fleet"'],
      ['"fleet"', '""'],
      ['"state 1"', '"state 0"'],
      ['"state 1"', '"\\u0007"'],
      ['2026-12-01T10:20:30.456Z', '2026-12-01'],
      ['2026-12-01T10:20:30.456Z', '2026-13-01T10:20:30.456Z'],
      [createHash('sha256').update('7/0').digest('hex'), 'ab'.repeat(31)],
      [createHash('sha256').update('7/0').digest('hex'), 'AB'.repeat(32)],
      ['"approval":"', '"approval":"AAAA'],
    ];
    for (const [from, to] of changes) {
      const envelope = resigned((json) => {
        assert.ok(json.includes(from), from);
        return json.replace(from, to);
      });
      assert.throws(() => check(envelope), refused('malformed'), `${from} -> ${to}`);
    }
    assert.throws(() => check(resigned(() => 'null')), refused('malformed'));
    assert.throws(() => check(resigned((json) => json.slice(0, -2))), refused('malformed'));
  });

  it('another spelling of the same policy is refused: one policy has one digest', () => {
    const changes = [
      (json: string) => json.replace('"version":1', '"version": 1'),
      (json: string) => json.replace('"version":1', '"version":1e0'),
      (json: string) => json.replace('"id":"fleet","version":1', '"version":1,"id":"fleet"'),
      (json: string) => json.replace('"version":1', '"version":2,"version":1'),
      (json: string) => `${json}\n`,
      (json: string) => json.replace('fleet', '\\u0066leet'),
    ];
    for (const change of changes) assert.throws(() => check(resigned(change)), refused('not-canonical'));
  });

  it('bytes that are not UTF-8 and a byte order mark are refused', () => {
    const sign = (bytes: Uint8Array): string =>
      signEnvelope(POLICY_PAYLOAD_TYPE, bytes, authority.policyKeys);
    assert.throws(() => check(sign(randomBytes(64).fill(0xff, 0, 4))), refused('malformed'));
    const { payload } = JSON.parse(text) as { payload: string };
    const marked = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(payload, 'base64')]);
    assert.throws(() => check(sign(marked)), refused('malformed'));
  });

  it('as many states as the limit allows are taken, one more is not', () => {
    assert.equal(
      check(authority.signPolicy(draftOf(1, limits.policyStatesMax))).states.length,
      limits.policyStatesMax,
    );
    assert.throws(() => authority.signPolicy(draftOf(1, limits.policyStatesMax + 1)), refused('malformed'));
  });

  it('a later version may follow; a lower one, and the same one with other contents, may not', () => {
    const versions = [1, 2].map((version) => check(authority.signPolicy(draftOf(version), issuedAt)));
    const [first, second] = versions as [Policy, Policy];
    assertSuccessor(first, first);
    assertSuccessor(first, second);
    assert.throws(() => {
      assertSuccessor(second, first);
    }, refused('rollback'));
    const other = check(authority.signPolicy(draftOf(1, 1), issuedAt));
    assert.throws(() => {
      assertSuccessor(first, other);
    }, refused('version-conflict'));
  });
});

describe("an operator's policy", () => {
  it('reads what it writes', () => {
    const draft = draftOf(3);
    const read = parsePolicyText(formatPolicyDraft(draft));
    assert.deepEqual({ ...read, states: [] }, { ...draft, states: [] });
    assert.deepEqual([...(read.states[1]?.pcrs.keys() ?? [])], [0, 7, 10]);
  });

  it('with members that only a signed one has, or nonsense, is refused', () => {
    const draft = JSON.parse(formatPolicyDraft(draftOf())) as Record<string, unknown>;
    const bad = [
      { ...draft, issuedAt: 'now' },
      { ...draft, states: [] },
      { ...draft, format: undefined },
      [],
      1,
    ];
    for (const value of bad)
      assert.throws(() => parsePolicyText(JSON.stringify(value)), refused('malformed'));
    assert.throws(() => parsePolicyText('{'), refused('malformed'));
    assert.throws(() => parsePolicyText(' '.repeat(limits.policyBytesMax + 1)), refused('too-large'));
  });
});
