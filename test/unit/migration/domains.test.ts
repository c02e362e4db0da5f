/** VMs that go to hosts of another authority and come back (SPEC 17): shipped agents, simulated machines. */
import assert from 'node:assert/strict';
import { spkiDigest } from '../../../lib/certificates/public-key.ts';
import {
  domainRevocations,
  installDomainRevocations,
  learnDomainRevocations,
} from '../../../lib/migration/domain-revocations.ts';
import type { Host } from '../../../lib/migration/host.ts';
import { holdingsOf } from '../../../lib/proof/holdings.ts';
import { verifyProof } from '../../../lib/proof/verify.ts';
import type { VerifiedProof } from '../../../lib/proof/verify.ts';
import { revocationsOf } from '../../simulation/revocation.ts';
import { DomainStage } from '../../support/domain-stage.ts';
import { Tenant } from '../../support/proof-world.ts';
import type { SimulatedHost } from '../../simulation/host.ts';
import type { VmTruth } from '../../simulation/domain.ts';

describe('a VM between two domains (SPEC 17)', () => {
  let stage: DomainStage;
  beforeEach(async () => {
    stage = await DomainStage.open();
  });
  afterEach(() => {
    stage.close();
  });

  const verified = (host: SimulatedHost, vm: VmTruth): VerifiedProof => {
    const { acme, partner } = stage.domains;
    const others = [partner.authority.root];
    const result = verifyProof(stage.proof(host, vm), { root: acme.authority.root, others });
    assert.equal(result.outcome, 'verified', JSON.stringify(result));
    return result;
  };

  it('goes there and comes back, and its proof says which domain each holder was of', async () => {
    const vm = await stage.vm(stage.alpha);
    await stage.move(vm, stage.alpha, stage.gamma);
    assert.equal(stage.standing(stage.gamma, vm), 'running at gamma.test');
    assert.equal(stage.standing(stage.alpha, vm), 'gone at gamma.test');
    const peers = stage.alpha.journal.sessions().map(({ peer, state }) => [peer, state]);
    assert.deepEqual(peers, [['gamma.test@partner', 'departed']]);
    await stage.move(vm, stage.gamma, stage.delta);
    await stage.move(vm, stage.delta, stage.beta);
    await stage.move(vm, stage.beta, stage.alpha);
    assert.equal(stage.standing(stage.alpha, vm), 'running at alpha.test');
    const told = holdingsOf(verified(stage.alpha, vm));
    assert.deepEqual(
      told.map(({ host, domain, destroyed }) => [host.name, domain, destroyed !== null]),
      [
        ['alpha.test', 'acme', true],
        ['gamma.test', 'partner', true],
        ['delta.test', 'partner', true],
        ['beta.test', 'acme', true],
        ['alpha.test', 'acme', false],
      ],
    );
  });

  describe('does not go', () => {
    /** Source and reason; the VM runs on where it was. */
    async function refused(
      vm: VmTruth,
      from: SimulatedHost,
      to: SimulatedHost,
      reason: RegExp,
    ): Promise<void> {
      await assert.rejects(stage.move(vm, from, to), reason);
      await stage.pass(30_000);
      assert.equal(stage.standing(from, vm), `running at ${from.name}`);
      assert.equal(from.machine.domains.get(vm.uuid)?.alive, true);
      assert.notEqual(stage.standing(to, vm), `running at ${to.name}`);
    }

    it('to a host of a domain that the policy does not name any more', async () => {
      const vm = await stage.vm(stage.alpha);
      await stage.move(vm, stage.alpha, stage.gamma);
      await stage.move(vm, stage.gamma, stage.alpha);
      stage.acmeNames([]);
      await refused(vm, stage.alpha, stage.gamma, /does not know the authority of gamma\.test/);
    });

    it('to a host of a domain that is only known, and its proof from there is still believed', async () => {
      const vm = await stage.vm(stage.alpha);
      await stage.move(vm, stage.alpha, stage.gamma);
      await stage.move(vm, stage.gamma, stage.alpha);
      stage.acmeNames([stage.domains.ofPartner({ rules: {} })]);
      await refused(
        vm,
        stage.alpha,
        stage.gamma,
        /domain: the domain partner, expected a domain whose hosts may receive VMs/,
      );
      await stage.move(vm, stage.alpha, stage.beta);
      assert.equal(stage.standing(stage.beta, vm), 'running at beta.test');
    });

    it('to a host of a named domain that is not what the policy asks of it, and does to one that is', async () => {
      const forward = { attributes: 'domain == "partner" and level >= 3' };
      stage.acmeNames([stage.domains.ofPartner({ rules: { forward, backward: {} } })]);
      const vm = await stage.vm(stage.alpha);
      await refused(
        vm,
        stage.alpha,
        stage.gamma,
        /rule-attributes: domain=partner: nothing is said about level, expected domain == "partner" and level >= 3/,
      );
      await stage.move(vm, stage.alpha, stage.delta);
      assert.equal(stage.standing(stage.delta, vm), 'running at delta.test');
    });

    it('to a domain whose policy is older than ours wants it', async () => {
      stage.acmeNames([stage.domains.ofPartner({ policy: { id: 'partner', version: 4 } })]);
      const vm = await stage.vm(stage.alpha);
      await refused(
        vm,
        stage.alpha,
        stage.gamma,
        /policy-version: policy partner v3, expected policy partner v4 or later/,
      );
    });

    it('back from a domain that may receive and not give; its host disclaims across the domains', async () => {
      const vm = await stage.vm(stage.alpha);
      await stage.move(vm, stage.alpha, stage.gamma);
      stage.acmeNames([stage.domains.ofPartner({ rules: { forward: {} } })]);
      await refused(vm, stage.gamma, stage.beta, /refused/);
      assert.match(stage.refusal(stage.beta), /gamma\.test@partner is not trusted: domain: /);
      assert.equal(verified(stage.gamma, vm).entries.at(-1)?.entry.kind, 'aborted');
    });

    it('on to a domain that its domain trusts: from there it goes home or nowhere', async () => {
      const vm = await stage.vm(stage.alpha);
      await stage.move(vm, stage.alpha, stage.gamma);
      await refused(
        vm,
        stage.gamma,
        stage.theta,
        /domain: a VM of the domain of lab, which is in that of partner, goes home or nowhere/,
      );
      const own = await stage.vm(stage.gamma);
      await stage.move(own, stage.gamma, stage.theta);
      assert.equal(stage.standing(stage.theta, own), 'running at theta.test');
    });

    it('where its tenant does not want the domain, by the name that its home has for it', async () => {
      const tenant = new Tenant();
      const asking = (condition: string) => (vm: string) => ({
        envelope: tenant.policy(condition, 1, { vm }),
        keyDigest: spkiDigest(tenant.keys.publicKey),
      });
      const kept = await stage.vm(stage.alpha, asking('domain == "acme"'));
      await refused(
        kept,
        stage.alpha,
        stage.gamma,
        /tenant-policy: gamma\.test@partner must not hold this VM/,
      );
      const free = await stage.vm(
        stage.alpha,
        asking('domain == "acme" or domain == "partner" and level >= 3'),
      );
      await refused(free, stage.alpha, stage.gamma, /tenant-policy/);
      await stage.move(free, stage.alpha, stage.delta);
      await stage.move(free, stage.delta, stage.beta);
      assert.equal(stage.standing(stage.beta, free), 'running at beta.test');
    });

    it('to a host that its own authority has revoked, as another host of that domain has told', async () => {
      const { partner } = stage.domains;
      stage.delta.revocations.learn(revocationsOf(partner, 2, [partner.gamma], 0));
      const [first, second] = [await stage.vm(stage.alpha), await stage.vm(stage.alpha)];
      await stage.move(first, stage.alpha, stage.delta);
      assert.equal(stage.alpha.revocations.inForce, null);
      await refused(second, stage.alpha, stage.gamma, /revocation: gamma\.test, revoked since/);
      // A host that has not heard of it goes on to believe it: partner's list is not acme's to spread.
      const other = await stage.vm(stage.beta);
      await stage.move(other, stage.beta, stage.gamma);
    });

    it('from a host that its own authority has revoked', async () => {
      const { partner } = stage.domains;
      const vm = await stage.vm(stage.alpha);
      await stage.move(vm, stage.alpha, stage.gamma);
      const services = stage.beta.agent?.services;
      assert.ok(services !== undefined);
      const list = revocationsOf(partner, 1, [partner.gamma], 60_000_000);
      assert.equal(installDomainRevocations(services.host, 'partner', list), 1);
      await refused(vm, stage.gamma, stage.beta, /refused/);
      assert.match(stage.refusal(stage.beta), /revocation: gamma\.test, revoked since/);
    });
  });

  it('stays where it is while its home does not name the domain, and comes home once it does', async () => {
    const vm = await stage.vm(stage.alpha);
    await stage.move(vm, stage.alpha, stage.gamma);
    stage.acmeNames([]);
    await assert.rejects(stage.move(vm, stage.gamma, stage.alpha), /does not know the authority/);
    assert.equal(stage.standing(stage.gamma, vm), 'running at gamma.test');
    stage.acmeNames([stage.domains.ofPartner()], 5);
    await stage.move(vm, stage.gamma, stage.alpha);
    assert.equal(stage.standing(stage.alpha, vm), 'running at alpha.test');
  });

  it('is told on to its own domain with a proof that its hosts believe, and to none that does not name the other', async () => {
    const vm = await stage.vm(stage.alpha);
    await stage.move(vm, stage.alpha, stage.gamma);
    await stage.move(vm, stage.gamma, stage.alpha);
    stage.acmeNames([]);
    await assert.rejects(stage.move(vm, stage.alpha, stage.beta), /refused/);
    await stage.pass(30_000);
    assert.match(
      stage.refusal(stage.beta),
      /certificate: gamma\.test is a host of the domain partner, whose root \(SHA-256 [0-9a-f]{64}\) was not given/,
    );
    assert.equal(stage.standing(stage.alpha, vm), 'running at alpha.test');
  });
});

describe('revocation lists of other domains (SPEC 17.2)', () => {
  let stage: DomainStage;
  beforeEach(async () => {
    stage = await DomainStage.open();
  });
  afterEach(() => {
    stage.close();
  });
  const host = (): Host => {
    const services = stage.alpha.agent?.services;
    assert.ok(services !== undefined);
    return services.host;
  };

  it('are kept apart for each authority, and their versions never go back', () => {
    const { partner, third } = stage.domains;
    const [ofPartner, ofThird] = [partner.authority.root.digest, third.authority.root.digest];
    assert.equal(learnDomainRevocations(host(), ofPartner, revocationsOf(partner, 7, [partner.gamma], 0)), 7);
    assert.equal(learnDomainRevocations(host(), ofThird, revocationsOf(third, 2, [], 0)), 2);
    assert.equal(learnDomainRevocations(host(), ofPartner, revocationsOf(partner, 6, [], 0)), 7);
    assert.throws(
      () => installDomainRevocations(host(), 'partner', revocationsOf(partner, 6, [], 0)),
      /below 7/,
    );
    assert.throws(
      () => learnDomainRevocations(host(), ofPartner, revocationsOf(partner, 7, [], 1)),
      /other contents/,
    );
    assert.equal(domainRevocations(host(), ofPartner)?.hosts.length, 1);
    assert.equal(domainRevocations(host(), ofThird)?.version, 2);
    stage.acmeNames([]);
    assert.throws(
      () => learnDomainRevocations(host(), ofPartner, revocationsOf(partner, 8, [], 0)),
      /names no domain/,
    );
    stage.acmeNames([stage.domains.ofPartner()], 5);
    assert.equal(learnDomainRevocations(host(), ofPartner, revocationsOf(partner, 5, [], 0)), 7);
  });

  it('are taken from the policy key that our policy names alone', () => {
    const { acme, partner, third } = stage.domains;
    const root = partner.authority.root.digest;
    for (const world of [acme, third])
      assert.throws(
        () => learnDomainRevocations(host(), root, revocationsOf(world, 9, [], 0)),
        /not signed by the policy key of the domain partner/,
      );
    assert.equal(domainRevocations(host(), root), null);
  });
});
