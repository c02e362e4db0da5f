import { strict as assert } from 'node:assert';
import { TrustedPeer, appraisePeer } from '../../../lib/appraisal/appraise.ts';
import type { Refusal } from '../../../lib/appraisal/appraise.ts';
import type { AppraisalInput } from '../../../lib/appraisal/peer-checks.ts';
import { isAccepted, peerChecks, verdictDigest, verdictReason } from '../../../lib/appraisal/verdict.ts';
import type { RevocationList } from '../../../lib/appraisal/revocation.ts';
import type { Policy } from '../../../lib/appraisal/policy.ts';
import type { PeerCheck } from '../../../lib/appraisal/verdict.ts';
import { sha256 } from '../../../lib/encoding/hash.ts';
import { leafHash } from '../../../lib/evidence/merkle.ts';
import { evidenceStatement } from '../../../lib/evidence/statement.ts';
import { limits } from '../../../lib/limits.ts';
import { prepareBatch } from '../../../lib/proof/signing.ts';
import { makeTestAuthority, testValidity } from '../../support/test-authority.ts';
import { makeWorld, pcrsOf, worldSelection, worldStart, worldVm } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';
import { SoftwareTpm } from '../../support/software-tpm.ts';
import type { QuoteFlaws } from '../../support/software-tpm.ts';

const transcript = sha256(Buffer.from('transcript'));
const session = sha256(Buffer.from('session'));
const statement = evidenceStatement('target', transcript);

describe('appraisal of a peer', () => {
  let world: World;
  let good: AppraisalInput;

  /** What an honest target would show, quoted by `host` under `flaws`. */
  const inputOf = (host: WorldHost, flaws: QuoteFlaws = {}, selection = worldSelection): AppraisalInput => ({
    role: 'target',
    vm: worldVm,
    session,
    now: worldStart,
    root: world.authority.root,
    ownPolicy: world.policy.policy,
    revocations: null,
    selfName: 'alpha.test',
    requiredPolicyVersion: 3,
    tlsPeerName: host.id.name,
    statement,
    hello: {
      host: host.id.name,
      akCertificate: host.certificate,
      akPublic: host.tpm.akPublic,
      receivePublic: host.tpm.receivePublic,
      policy: world.policy.id,
      versions: new Map(),
    },
    claim: {
      ...host.tpm.quote(leafHash(statement), selection, flaws),
      path: [],
      pcrs: host.tpm.claimedPcrs(selection),
    },
    logs: null,
  });

  const refused = (input: AppraisalInput): Refusal => {
    const result = appraisePeer(input);
    assert.equal(result.outcome, 'refused');
    return result;
  };

  /** Names of the checks that failed for a reason of their own. */
  const failed = (input: AppraisalInput): PeerCheck[] =>
    refused(input)
      .verdict.checks.filter(({ outcome, found }) => outcome === 'fail' && !found.startsWith('not checked'))
      .map(({ name }) => name);

  before(async () => {
    world = await makeWorld();
    good = inputOf(world.beta);
  });

  it('accepts a host that passes every check, and says so of each', () => {
    const peer = appraisePeer(good);
    assert.ok(peer instanceof TrustedPeer);
    assert.deepEqual(
      peer.verdict.checks.map(({ name }) => name),
      [...peerChecks],
    );
    assert.ok(isAccepted(peer.verdict));
    assert.deepEqual([peer.name, peer.pcrState, peer.role], ['beta.test', 'base', 'target']);
    assert.deepEqual(peer.receivePublic, world.beta.tpm.receivePublic);
    assert.deepEqual(peer.receiveKeyName, world.beta.tpm.receiveKeyName);
    assert.deepEqual(peer.verdictDigest, verdictDigest(peer.verdict));
  });

  it('accepts a source whose quote covers more than its statement', () => {
    const batch = prepareBatch([Uint8Array.of(1)], [evidenceStatement('source', transcript)]);
    const { attest, signature } = world.beta.tpm.quote(batch.qualifyingData, worldSelection);
    const [path] = batch.finish(attest, signature).statementPaths;
    const claim = { ...good.claim, attest, signature, path: path! };
    const input: AppraisalInput = {
      ...good,
      role: 'source',
      statement: evidenceStatement('source', transcript),
      claim,
    };
    assert.equal(appraisePeer(input).outcome, 'trusted');
    assert.deepEqual(failed({ ...input, claim: { ...claim, path: [] } }), ['quote-binding']);
  });

  it('accepts a target whose quote serves several sessions', () => {
    const statements = [evidenceStatement('target', transcript), new Uint8Array(32).fill(7)];
    const batch = prepareBatch([], statements);
    const { attest, signature } = world.beta.tpm.quote(batch.qualifyingData, worldSelection);
    const [path, other] = batch.finish(attest, signature).statementPaths;
    const claim = { ...good.claim, attest, signature, path: path! };
    const input: AppraisalInput = { ...good, statement: evidenceStatement('target', transcript), claim };
    assert.equal(appraisePeer(input).outcome, 'trusted');
    assert.deepEqual(failed({ ...input, claim: { ...claim, path: other! } }), ['quote-binding']);
  });

  it('fails peer-name where TLS, hello and AK certificate do not name one host, or name this one', () => {
    assert.deepEqual(failed({ ...good, tlsPeerName: 'gamma.test' }), ['peer-name']);
    assert.deepEqual(failed({ ...good, hello: { ...good.hello, host: 'gamma.test' } }), ['peer-name']);
    assert.deepEqual(failed({ ...good, selfName: 'beta.test' }), ['peer-name']);
  });

  it('fails the rule of the role that the peer has, and passes that of the other', () => {
    const ruled = (rulesOfHosts: Policy['rulesOfHosts']): AppraisalInput => ({
      ...good,
      ownPolicy: { ...world.policy.policy, rulesOfHosts },
    });
    const eu = { attributes: 'region == "eu"' };
    assert.deepEqual(failed(ruled({ forward: eu })), ['rule-attributes']);
    assert.equal(appraisePeer(ruled({ backward: eu })).outcome, 'trusted');
    assert.deepEqual(failed(ruled({ forward: { versions: { qemu: '7.2' } } })), ['rule-versions']);
    assert.deepEqual(failed(ruled({ forward: { states: ['update'] } })), ['rule-states']);
    assert.equal(appraisePeer(ruled({ forward: { states: ['base'] } })).outcome, 'trusted');
  });

  it('fails revocation for a host whose key the list names, and for no other', () => {
    const list = (akName: Uint8Array): RevocationList => ({
      version: 4,
      issuedAt: new Date(worldStart),
      digest: new Uint8Array(32),
      hosts: [{ host: 'beta.test', akName, since: new Date(worldStart), reason: 'stolen' }],
    });
    assert.deepEqual(failed({ ...good, revocations: list(world.beta.tpm.akName) }), ['revocation']);
    const { reason } = refused({ ...good, revocations: list(world.beta.tpm.akName) });
    assert.match(
      reason,
      /^revocation: beta\.test, revoked since 2026-06-01T00:00:00\.000Z: stolen, expected/,
    );
    const another = { ...good, revocations: list(world.gamma.tpm.akName) };
    assert.equal(appraisePeer(another).outcome, 'trusted');
  });

  it('fails revocation where the peer announces a newer list than there is here', () => {
    const announcing = (text: string, revocations: RevocationList | null = null): AppraisalInput => ({
      ...good,
      revocations,
      hello: { ...good.hello, versions: new Map([['revocations', text]]) },
    });
    assert.equal(appraisePeer(announcing('0')).outcome, 'trusted');
    for (const text of ['1', '999999999999999', '-1', '1.5', 'x', ''])
      assert.deepEqual(failed(announcing(text)), ['revocation'], text);
    const empty = { version: 1, issuedAt: new Date(worldStart), digest: new Uint8Array(32), hosts: [] };
    assert.equal(appraisePeer(announcing('1', empty)).outcome, 'trusted');
    assert.deepEqual(failed(announcing('2', empty)), ['revocation']);
  });

  it('fails ak-certificate for another authority and after its end, and whatever hangs on it', async () => {
    const other = await makeTestAuthority('Other');
    assert.ok(failed({ ...good, root: other.root }).includes('ak-certificate'));
    const late = { ...good, now: testValidity.notAfter.getTime() + 1 };
    assert.ok(failed(late).includes('ak-certificate'));
    const { checks } = refused(late).verdict;
    assert.equal(checks.length, peerChecks.length);
    const skipped = checks.filter(({ found }) => found.startsWith('not checked'));
    assert.ok(skipped.every(({ outcome }) => outcome === 'fail'));
    assert.ok(skipped.some(({ name }) => name === 'quote-signature'));
  });

  it('fails ak-public for a key that is not the certified one, or is none', () => {
    for (const akPublic of [world.gamma.tpm.akPublic, world.beta.tpm.receivePublic, new Uint8Array(3)]) {
      assert.deepEqual(failed({ ...good, hello: { ...good.hello, akPublic } }), ['ak-public']);
    }
  });

  it('fails receive-key for a key that is not the certified one: the key would be sealed to somebody else', () => {
    for (const receivePublic of [world.gamma.tpm.receivePublic, world.beta.tpm.akPublic, new Uint8Array(3)]) {
      assert.deepEqual(failed({ ...good, hello: { ...good.hello, receivePublic } }), ['receive-key']);
    }
  });

  it('fails receive-key for a certified key that another policy key opens', async () => {
    const tpm = new SoftwareTpm(sha256(Buffer.from('another policy')), pcrsOf('base'));
    assert.deepEqual(failed(inputOf(await world.enrol('beta.test', { tpm }))), ['receive-key']);
  });

  it('fails quote-signature for a quote of another TPM', () => {
    const { attest, signature } = inputOf(world.gamma).claim;
    assert.deepEqual(failed({ ...good, claim: { ...good.claim, attest, signature } }), ['quote-signature']);
  });

  it('fails quote-type for another attestation of the same AK', () => {
    assert.deepEqual(failed(inputOf(world.beta, { type: 'certify' })), ['quote-type']);
  });

  it('fails quote-binding for evidence of another role, transcript or moment', () => {
    for (const other of [evidenceStatement('source', transcript), evidenceStatement('target', session)]) {
      assert.deepEqual(failed({ ...good, statement: other }), ['quote-binding']);
    }
  });

  it('fails pcr-selection for a quote that leaves out a PCR, however good the others are', () => {
    const fewer = inputOf(world.beta, {}, [{ bank: 'sha256', pcrs: [0, 7] }]);
    assert.deepEqual(failed(fewer), ['pcr-selection', 'pcr-state']);
  });

  it('fails pcr-values for values that the quote does not cover', () => {
    const pcrs = good.claim.pcrs.map((pcr) => ({ ...pcr, value: new Uint8Array(32) }));
    for (const told of [pcrs, [], [...good.claim.pcrs].reverse()]) {
      assert.deepEqual(failed({ ...good, claim: { ...good.claim, pcrs: told } }), ['pcr-values']);
    }
  });

  it('fails pcr-state for a platform in no approved state, and names the PCR and what would be approved', async () => {
    const pcrs = new Map([...pcrsOf('base'), [4, sha256(Buffer.from('rootkit'))]]);
    const host = await world.enrol('beta.test', { pcrs });
    const input = inputOf(host);
    assert.deepEqual(failed(input), ['pcr-state']);
    const told = (digest: Uint8Array): string => Buffer.from(digest).toString('hex').slice(0, 8);
    const { reason } = refused(input);
    assert.ok(reason.startsWith(`pcr-state: PCR 4 is ${told(pcrs.get(4)!)}..., approved: base: `), reason);
    assert.ok(reason.includes(told(pcrsOf('base').get(4)!)), reason);
    assert.ok(reason.includes('policy lab v3') && !reason.includes('\n'), reason);
  });

  it('fails policy-version for an older policy, one of another id, and one of our version with other contents', () => {
    const { id } = world.policy;
    for (const policy of [
      { ...id, version: 2 },
      { ...id, id: 'other' },
      { ...id, digest: session },
    ]) {
      assert.deepEqual(failed({ ...good, hello: { ...good.hello, policy } }), ['policy-version']);
    }
    const newer = { ...good, hello: { ...good.hello, policy: { ...id, version: 4, digest: session } } };
    assert.equal(appraisePeer(newer).outcome, 'trusted');
    assert.deepEqual(failed({ ...good, requiredPolicyVersion: 4 }), ['policy-version']);
  });

  it('lists all failures at once, the first one first in the reason', () => {
    const input = { ...good, tlsPeerName: 'x.test', requiredPolicyVersion: 4, statement: session };
    assert.deepEqual(failed(input), ['peer-name', 'quote-binding', 'policy-version']);
    const { reason } = refused(input);
    assert.match(reason, /^peer-name: .*also failed: quote-binding, policy-version;/);
  });

  it('keeps what a peer wrote from steering a terminal', () => {
    const input = { ...good, hello: { ...good.hello, host: 'a\u001b[2Jb\n' } };
    assert.doesNotMatch(verdictReason(refused(input).verdict), /\p{C}/u);
  });

  it('gives the same verdict for the same input, and another digest for another verdict', () => {
    const digest = (input: AppraisalInput): string =>
      Buffer.from(verdictDigest(appraisePeer(input).verdict)).toString('hex');
    assert.equal(digest(good), digest(good));
    assert.notEqual(digest(good), digest({ ...good, now: worldStart + 1 }));
    assert.notEqual(digest(good), digest({ ...good, requiredPolicyVersion: 4 }));
  });
});

describe('a TrustedPeer', () => {
  let peer: TrustedPeer;
  const use = { vm: worldVm, session, role: 'target', now: worldStart } as const;

  before(async () => {
    const world = await makeWorld();
    const { beta } = world;
    const result = appraisePeer({
      role: 'target',
      vm: worldVm,
      session,
      now: worldStart,
      root: world.authority.root,
      ownPolicy: world.policy.policy,
      revocations: null,
      selfName: 'alpha.test',
      requiredPolicyVersion: 1,
      tlsPeerName: 'beta.test',
      statement,
      logs: null,
      hello: {
        host: 'beta.test',
        akCertificate: beta.certificate,
        akPublic: beta.tpm.akPublic,
        receivePublic: beta.tpm.receivePublic,
        policy: world.policy.id,
        versions: new Map(),
      },
      claim: {
        ...beta.tpm.quote(leafHash(statement), worldSelection),
        path: [],
        pcrs: beta.tpm.claimedPcrs(worldSelection),
      },
    });
    assert.ok(result.outcome === 'trusted');
    peer = result;
  });

  it('is good for its VM, session and role, and for its time', () => {
    peer.assertFor(use);
    peer.assertFor({ ...use, now: worldStart + limits.trustedPeerLifeMs - 1 });
  });

  it('is good for no other VM, session, role or time', () => {
    const wrong = [
      { ...use, vm: 'ffffffff-0f1d-4c64-9d0a-3f5b8c1e2a77' },
      { ...use, session: transcript },
      { ...use, role: 'source' as const },
      { ...use, now: worldStart + limits.trustedPeerLifeMs },
      { ...use, now: worldStart - 1 },
      { ...use, now: NaN },
    ];
    for (const other of wrong)
      assert.throws(
        () => {
          peer.assertFor(other);
        },
        { code: 'peer-untrusted' },
      );
  });

  it('cannot be made by a look-alike, a copy or the prototype', () => {
    const copies = [
      Object.assign({}, peer),
      Object.create(TrustedPeer.prototype) as object,
      structuredClone({ name: peer.name }),
    ];
    for (const copy of copies) {
      assert.equal(TrustedPeer.isGenuine(copy), false);
      assert.throws(
        () => {
          TrustedPeer.prototype.assertFor.call(copy as TrustedPeer, use);
        },
        { code: 'peer-untrusted' },
      );
    }
    assert.throws(() => {
      Object.assign(peer, { expires: Infinity });
    }, TypeError);
  });
});
