/** A peer of another authority (SPEC 17.2), and what a policy may say of one (SPEC 17.1). */
import { strict as assert } from 'node:assert';
import { appraisePeer } from '../../../lib/appraisal/appraise.ts';
import { attributesSeen } from '../../../lib/appraisal/domains.ts';
import type { Domain } from '../../../lib/appraisal/domains.ts';
import type { AppraisalInput } from '../../../lib/appraisal/peer-checks.ts';
import { formatPolicyDraft, parsePolicyText, verifySignedPolicy } from '../../../lib/appraisal/policy.ts';
import { decodeRevocations } from '../../../lib/appraisal/revocation.ts';
import { isAccepted, peerChecks } from '../../../lib/appraisal/verdict.ts';
import { base64 } from '../../../lib/encoding/base64.ts';
import { TvmmpError } from '../../../lib/errors.ts';
import { leafHash } from '../../../lib/evidence/merkle.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { pcrsOf, worldSelection, worldStart, worldVm } from '../../support/proof-world.ts';
import type { World, WorldHost } from '../../support/proof-world.ts';
import { testValidity } from '../../support/test-authority.ts';
import { domainOfAuthority, makeDomains } from '../../support/two-domains.ts';
import type { Domains } from '../../support/two-domains.ts';

const statement = new Uint8Array(32).fill(7);

describe('appraisal of a peer of another domain (SPEC 17.2)', () => {
  let domains: Domains;
  before(async () => {
    domains = await makeDomains();
  });

  /** What an honest host of a world shows to a host of acme, in whose policy partner is as said. */
  const shown = (
    { authority, policy }: World,
    host: WorldHost,
    ofPartner: Partial<Domain> = {},
    role: AppraisalInput['role'] = 'target',
  ): AppraisalInput => ({
    role,
    vm: worldVm,
    session: new Uint8Array(32),
    now: worldStart,
    root: domains.acme.authority.root,
    peerRoot: authority.root.digest,
    ownPolicy: domains.acme.signPolicy({
      domains: { self: 'acme', others: [domains.ofPartner(ofPartner)] },
    }).policy,
    revocations: null,
    selfName: 'alpha.test',
    requiredPolicyVersion: 0,
    tlsPeerName: host.id.name,
    statement,
    hello: {
      host: host.id.name,
      akCertificate: host.certificate,
      akPublic: host.tpm.akPublic,
      receivePublic: host.tpm.receivePublic,
      policy: policy.id,
      versions: new Map(),
    },
    claim: {
      ...host.tpm.quote(leafHash(statement), worldSelection),
      path: [],
      pcrs: host.tpm.claimedPcrs(worldSelection),
    },
    logs: null,
  });

  const failed = (input: AppraisalInput): readonly string[] => {
    const result = appraisePeer(input);
    assert.equal(result.outcome, 'refused');
    assert.ok(!isAccepted(result.verdict));
    return result.verdict.checks
      .filter(({ outcome, found }) => outcome === 'fail' && !found.startsWith('not checked'))
      .map(({ name }) => name);
  };

  it('accepts a host that the policy lets receive, or give, by its own root, key and policy, in a state of ours', () => {
    const { partner } = domains;
    for (const role of ['target', 'source'] as const) {
      const peer = appraisePeer(shown(partner, partner.gamma, {}, role));
      assert.equal(peer.outcome, 'trusted', JSON.stringify(peer));
      assert.deepEqual(
        peer.verdict.checks.map(({ name }) => name),
        ['domain', ...peerChecks],
      );
      assert.deepEqual(
        [peer.name, peer.label, peer.verdict.peer],
        ['gamma.test', 'gamma.test@partner', 'gamma.test@partner'],
      );
      assert.equal(peer.domain?.name, 'partner');
    }
  });

  it('refuses a host of a domain that the policy does not name', () => {
    const { third } = domains;
    assert.deepEqual(failed(shown(third, third.gamma)), [
      'domain',
      'peer-name',
      'ak-certificate',
      'policy-version',
    ]);
  });

  it('refuses a host in a role that the policy does not let its domain have', () => {
    const { partner } = domains;
    assert.deepEqual(failed(shown(partner, partner.gamma, { rules: { backward: {} } })), ['domain']);
    assert.deepEqual(failed(shown(partner, partner.gamma, { rules: { forward: {} } }, 'source')), ['domain']);
  });

  it('refuses a host that is not what the policy asks of its domain, or of every host', async () => {
    const { partner } = domains;
    const rules = { forward: { attributes: 'level >= 3', states: ['base'] } };
    assert.deepEqual(failed(shown(partner, partner.gamma, { rules })), ['rule-attributes']);
    const delta = await partner.enrol('delta.test', { attributes: new Map([['level', 3]]) });
    const good = shown(partner, delta, { rules });
    assert.equal(appraisePeer(good).outcome, 'trusted');
    const { acme } = domains;
    const others = [domains.ofPartner({ rules })];
    const rulesOfHosts = { forward: { attributes: 'domain == "acme"' } };
    const { policy: ownPolicy } = acme.signPolicy({ rulesOfHosts, domains: { self: 'acme', others } });
    assert.deepEqual(failed({ ...good, ownPolicy }), ['rule-attributes']);
  });

  it('refuses a host whose authority certifies it as one of another domain', async () => {
    const { partner, acme } = domains;
    const liar = await partner.enrol('liar.test', { attributes: new Map([['domain', 'acme']]) });
    const rules = { forward: { attributes: 'domain == "acme"' } };
    assert.deepEqual(failed(shown(partner, liar, { rules })), ['rule-attributes']);
    // And a host of our own is not of another domain because its certificate says so.
    const own = await acme.enrol('own.test', { attributes: new Map([['domain', 'partner']]) });
    const { policy: ownPolicy, id: policy } = acme.signPolicy({
      rulesOfHosts: { forward: { attributes: 'domain == "partner"' } },
      domains: { self: 'acme', others: [domains.ofPartner()] },
    });
    const { peerRoot, ...input } = shown(acme, own);
    assert.ok(peerRoot !== undefined);
    assert.deepEqual(failed({ ...input, hello: { ...input.hello, policy }, ownPolicy }), ['rule-attributes']);
  });

  it('refuses a certificate of another authority than that of the connection, in either direction', () => {
    const { acme, partner } = domains;
    const ofPartner = { ...shown(acme, acme.beta), peerRoot: partner.authority.root.digest };
    assert.ok(failed(ofPartner).includes('ak-certificate'));
    const { peerRoot, ...ofOurs } = shown(partner, partner.gamma);
    assert.ok(peerRoot !== undefined);
    assert.ok(failed(ofOurs).includes('ak-certificate'));
  });

  it('refuses a receive key that another policy key opens than the one named', () => {
    const { acme, partner } = domains;
    const input = shown(partner, partner.gamma);
    const others = [
      domains.ofPartner({ policyKey: domainOfAuthority(domains.third.authority, 'x', 'x').policyKey }),
    ];
    const { policy: ownPolicy } = acme.signPolicy({ domains: { self: 'acme', others } });
    assert.deepEqual(failed({ ...input, ownPolicy }), ['receive-key']);
  });

  it('refuses another policy than the one named, and an older version of it', () => {
    const { partner } = domains;
    for (const policy of [
      { id: 'other', version: 1 },
      { id: 'partner', version: 4 },
    ])
      assert.deepEqual(failed(shown(partner, partner.gamma, { policy })), ['policy-version']);
    assert.deepEqual(failed({ ...shown(partner, partner.gamma), requiredPolicyVersion: 4 }), [
      'policy-version',
    ]);
  });

  it('refuses a host that its own authority has revoked, and one that announces a list that was not brought', () => {
    const { acme, partner } = domains;
    const input = shown(partner, partner.gamma);
    const list = decodeRevocations(revocationsOf(partner, 2, [partner.gamma], 0));
    assert.deepEqual(failed({ ...input, revocations: list }), ['revocation']);
    const ours = decodeRevocations(revocationsOf(acme, 2, [], 0));
    assert.equal(appraisePeer({ ...input, revocations: ours }).outcome, 'trusted');
    const hello = { ...input.hello, versions: new Map([['revocations', '3']]) };
    assert.deepEqual(failed({ ...input, hello, revocations: list }), ['revocation']);
  });

  it('refuses a host in a state that its own authority approved and ours did not', async () => {
    const { partner } = domains;
    const odd = await partner.enrol('odd.test', { pcrs: pcrsOf('their own') });
    assert.deepEqual(failed(shown(partner, odd)), ['pcr-state']);
  });
});

describe('the attribute domain', () => {
  it('is the name that the policy has for the root, whatever a certificate says, and none without names', async () => {
    const { acme, partner, third, ofPartner } = await makeDomains();
    const said = new Map<string, string | number>([
      ['domain', 'third'],
      ['level', 2],
    ]);
    const root = acme.authority.root.digest;
    const view = { root, domains: { self: 'acme', others: [ofPartner()] } };
    const seen = (of: World) => Object.fromEntries(attributesSeen(view, of.authority.root.digest, said));
    assert.deepEqual(seen(acme), { level: 2, domain: 'acme' });
    assert.deepEqual(seen(partner), { level: 2, domain: 'partner' });
    assert.deepEqual(seen(third), { level: 2 });
    assert.equal(attributesSeen({ root, domains: null }, root, said), said);
  });
});

describe('the member domains of a policy (SPEC 17.1)', () => {
  let domains: Domains;
  before(async () => {
    domains = await makeDomains();
  });
  const draftWith = (
    change: (member: { self: string; others: Record<string, unknown>[] }) => void,
  ): string => {
    const states = [{ name: 'base', pcrs: pcrsOf('base') }];
    const others = [domains.ofPartner({ rules: { forward: { attributes: 'level >= 3' }, backward: {} } })];
    const text = formatPolicyDraft({
      ...{ id: 'lab', version: 1, pcrs: [0, 4, 7], states },
      domains: { self: 'acme', others },
    });
    const draft = JSON.parse(text) as { domains: { self: string; others: Record<string, unknown>[] } };
    change(draft.domains);
    return JSON.stringify(draft);
  };

  it('is read as it was written', () => {
    const text = draftWith(() => undefined);
    const read = parsePolicyText(text);
    assert.deepEqual(JSON.parse(formatPolicyDraft(read)), JSON.parse(text));
    const [partner] = read.domains?.others ?? [];
    assert.deepEqual(partner?.rules, { forward: { attributes: 'level >= 3' }, backward: {} });
    assert.deepEqual(partner.root.digest, domains.partner.authority.root.digest);
  });

  const wrong: readonly (readonly [
    string,
    string,
    string,
    (member: { self: string; others: Record<string, unknown>[] }) => void,
  ])[] = [
    ['its own name for another', 'inconsistent', '/domains/others/0', (m) => (m.self = 'partner')],
    ['one name twice', 'inconsistent', '/domains/others/1', (m) => m.others.push({ ...m.others[0] })],
    [
      'one root under two names',
      'inconsistent',
      '/domains/others/1',
      (m) => m.others.push({ ...m.others[0], name: 'again', policy: { id: 'again', version: 1 } }),
    ],
    [
      'its own policy id',
      'inconsistent',
      '/domains/others/0',
      (m) => (m.others[0]!['policy'] = { id: 'lab', version: 1 }),
    ],
    ['no others', 'wrong-count', '/domains/others', (m) => (m.others = [])],
    ['a name that is none', 'wrong-text', '/domains/others/0/name', (m) => (m.others[0]!['name'] = 'A@b')],
    [
      'a certificate that is no root',
      'inconsistent',
      '/domains/others/0/root',
      (m) => (m.others[0]!['root'] = base64(domains.partner.authority.policySigner)),
    ],
    [
      'what it does not know',
      'unknown-member',
      '/domains/others/0/transitive',
      (m) => (m.others[0]!['transitive'] = true),
    ],
    [
      'a state that the policy has not',
      'inconsistent',
      '/domains/others/0/forward/states/0',
      (m) => (m.others[0]!['forward'] = { states: ['other'] }),
    ],
  ];
  for (const [what, fault, pointer, change] of wrong)
    it(`is refused with ${what}`, () => {
      assert.throws(
        () => parsePolicyText(draftWith(change)),
        (error: unknown) =>
          error instanceof TvmmpError &&
          error.details['fault'] === fault &&
          error.details['pointer'] === pointer,
      );
    });

  it('is refused with the root or the policy key of the policy itself', () => {
    const { acme } = domains;
    const { authority } = acme;
    const trust = { root: authority.root, signers: [authority.policySigner], at: new Date(worldStart) };
    const own = domainOfAuthority(authority, 'partner', 'partner');
    const { root, policyKey } = domains.ofPartner();
    for (const other of [
      { ...own, policyKey },
      { ...own, root },
    ]) {
      const states = [{ name: 'base', pcrs: pcrsOf('base') }];
      const draft = { id: 'lab', version: 1, pcrs: [0, 4, 7], states };
      const text = authority.signPolicy(
        { ...draft, domains: { self: 'acme', others: [other] } },
        testValidity.notBefore,
      );
      assert.throws(() => verifySignedPolicy(text, trust), /root or the policy key of this policy's own/);
    }
  });
});
