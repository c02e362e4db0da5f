/** Chains of VMs that have been in another domain (SPEC 17.3), beside the vectors. */
import { strict as assert } from 'node:assert';
import { stepChain } from '../../../lib/proof/chain.ts';
import type { ChainState } from '../../../lib/proof/chain.ts';
import { summaryOf } from '../../../lib/proof/checkpoint.ts';
import { decodeEntry, entryHash } from '../../../lib/proof/entry.ts';
import { verifyNext, verifyProof } from '../../../lib/proof/verify.ts';
import { CrossingChain, makeDomains } from '../../support/two-domains.ts';
import type { Domains } from '../../support/two-domains.ts';

describe('a chain that has been in another domain', () => {
  let domains: Domains;
  before(async () => {
    domains = await makeDomains();
  });

  const across = (): CrossingChain =>
    new CrossingChain(domains.acme).live('created', 'started').cross(domains.partner.gamma, domains.partner);
  const stateOf = (chain: CrossingChain): ChainState => {
    const state = chain.entries.reduce<ChainState | null>(
      (before, { entry }) => stepChain(before, decodeEntry(entry), entryHash(entry)),
      null,
    );
    assert.ok(state !== null);
    return state;
  };

  it('has no summary that a checkpoint could name', () => {
    const before = new CrossingChain(domains.acme).live('created', 'started');
    assert.notEqual(summaryOf(stateOf(before)), null);
    assert.equal(summaryOf(stateOf(across())), null);
    assert.equal(summaryOf(stateOf(across().cross(domains.acme.beta, domains.acme))), null);
  });

  it('knows the last policy of its home and of each domain that it was in', () => {
    const { home, elsewhere, policy } = stateOf(across());
    assert.deepEqual([home.id, elsewhere.map(({ id }) => id), policy.id], ['lab', ['partner'], 'partner']);
  });

  it('does not take departed from a host with a certificate of another authority than it held the VM by', async () => {
    const { acme, partner } = domains;
    const twice = await partner.enrol(acme.alpha.id.name, { tpm: acme.alpha.tpm });
    const chain = new CrossingChain(acme)
      .live('created', 'started')
      .departing(partner.gamma)
      .enter(partner)
      .arrived(partner.gamma);
    const trust = { root: acme.authority.root, others: [partner.authority.root] };
    const forged = chain.departed(twice);
    const result = verifyProof(forged.bytes(), trust);
    assert.equal(result.outcome === 'fault' && result.check, 'domain');
  });

  it('is taken one entry further only with the policy of departing', () => {
    const { acme, partner } = domains;
    const chain = new CrossingChain(acme).live('created', 'started').departing(partner.gamma);
    const head = stateOf(chain);
    const [arrived] = chain.enter(partner).arrived(partner.gamma).entries.slice(-1);
    assert.ok(arrived !== undefined);
    const credentials = {
      certificates: [partner.gamma.certificate, partner.authority.policySigner],
      policies: [partner.policy.text],
    };
    const next = {
      signed: arrived,
      credentials,
      root: acme.authority.root,
      others: [partner.authority.root],
    };
    const from = { root: acme.authority.root, policy: acme.policy.policy };
    assert.equal(verifyNext(head, { ...next, from }).outcome, 'verified');
    const blind = verifyNext(head, next);
    assert.equal(blind.outcome === 'fault' && blind.check, 'domain');
    const unnamed = { ...from, policy: acme.signPolicy().policy };
    const refused = verifyNext(head, { ...next, from: unnamed });
    assert.equal(refused.outcome === 'fault' && refused.check, 'domain');
    const { others, ...alone } = next;
    assert.ok(others.length > 0);
    const unknown = verifyNext(head, { ...alone, from });
    assert.equal(unknown.outcome === 'fault' && unknown.check, 'certificate');
  });
});
