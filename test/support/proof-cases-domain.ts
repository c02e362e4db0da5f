/** Proofs of VMs that went from one domain to another (SPEC 17.3). */
import { sha256 } from '../../lib/encoding/hash.ts';
import type { ProofCase } from './proof-cases.ts';
import { Tenant } from './proof-world.ts';
import type { World, WorldHost } from './proof-world.ts';
import { issuePolicySigner } from '../../lib/certificates/issue.ts';
import { signPolicy } from '../../lib/appraisal/policy.ts';
import { CrossingChain, makeDomains } from './two-domains.ts';
import type { Domains } from './two-domains.ts';
import { pcrsOf } from './proof-world.ts';
import { testKeyPair, testValidity } from './test-authority.ts';

/** The domains beside the one of each world. */
const made = new WeakMap<World, Promise<Domains>>();
const domainsOf = (world: World): Promise<Domains> => {
  const known = made.get(world) ?? makeDomains(world.authority);
  made.set(world, known);
  return known;
};

const others = async (world: World): Promise<readonly Uint8Array[]> => {
  const { partner, third } = await domainsOf(world);
  return [partner.authority.root.der, third.authority.root.der];
};

const born = ({ acme }: Domains): CrossingChain => new CrossingChain(acme).live('created', 'started');

/** A case with roots of all domains. */
const across = (
  name: string,
  expect: ProofCase['expect'],
  at: number | null,
  why: string,
  build: (domains: Domains) => CrossingChain | Promise<CrossingChain>,
): ProofCase => ({
  name,
  why,
  expect,
  ...(at === null ? {} : { at: { list: 'entries', index: at } as const }),
  build: async (world) => (await build(await domainsOf(world))).bytes(),
  others,
});

/** Acme's policy with another word about partner. */
function acmeSaying(
  { acme, ofPartner }: Domains,
  change: Parameters<Domains['ofPartner']>[0],
): CrossingChain {
  const chain = new CrossingChain(acme);
  chain.policy = acme.signPolicy({ domains: { self: 'acme', others: [ofPartner(change)] } });
  return chain.live('created', 'started');
}

/** A policy of partner that another key signed, which partner's root has certified. */
async function otherKey({ partner }: Domains): Promise<Pick<World, 'authority' | 'policy'>> {
  const { authority } = partner;
  const keys = testKeyPair();
  const issuer = { certificate: authority.root, privateKey: authority.rootKeys.privateKey };
  const signer = await issuePolicySigner(issuer, 'Second policy', keys.publicKey, testValidity);
  const states = ['base'].map((name) => ({ name, pcrs: pcrsOf(name) }));
  const text = signPolicy(
    { id: 'partner', version: 3, pcrs: [0, 4, 7], states },
    testValidity.notBefore,
    keys,
  );
  const digest = sha256(Buffer.from((JSON.parse(text) as { payload: string }).payload, 'base64'));
  const policy = { ...partner.policy, text, id: { id: 'partner', version: 3, digest } };
  return { authority: { ...authority, policySigner: signer }, policy };
}

/** A host of acme that partner's root has certified too. */
async function certifiedTwice({ acme, partner }: Domains): Promise<WorldHost> {
  return partner.enrol(acme.alpha.id.name, { tpm: acme.alpha.tpm });
}

export const domainCases: readonly ProofCase[] = [
  across('domain-across-and-back', 'verified', null, 'a VM visits another domain and comes back', (domains) =>
    born(domains)
      .cross(domains.partner.gamma, domains.partner)
      .live('suspended', 'resumed')
      .cross(domains.acme.beta, domains.acme)
      .cross(domains.third.gamma, domains.third),
  ),
  across(
    'recovered-into-another-domain',
    'policy-order',
    2,
    'another authority states that a host is lost that is none of its own, and gives the VM to one of its hosts',
    (domains) => {
      const { partner } = domains;
      const keys = partner.authority.policyKeys;
      return born(domains).enter(partner).recovered(partner.gamma, {}, { keys });
    },
  ),
  {
    ...across(
      'domain-root-not-given',
      'certificate',
      3,
      'who was not given the root of a domain does not believe its hosts, whatever policies say',
      (domains) => born(domains).cross(domains.partner.gamma, domains.partner),
    ),
    others: () => Promise.resolve([]),
  },
  across(
    'domain-not-named',
    'domain',
    3,
    'a host hands its VM to a domain that no policy names',
    (domains) => {
      const chain = new CrossingChain(domains.acme);
      chain.policy = domains.acme.signPolicy();
      return chain.live('created', 'started').cross(domains.partner.gamma, domains.partner);
    },
  ),
  across('domain-not-forward', 'domain', 3, 'the domain may give VMs, and not receive any', (domains) =>
    acmeSaying(domains, { rules: { backward: {} } }).cross(domains.partner.gamma, domains.partner),
  ),
  across(
    'domain-other-policy-key',
    'domain',
    3,
    'states that another key of that authority approved',
    async (domains) => born(domains).cross(domains.partner.gamma, await otherKey(domains)),
  ),
  across(
    'domain-old-policy',
    'domain',
    3,
    'that domain has gone back to a policy that was replaced',
    (domains) =>
      acmeSaying(domains, { policy: { id: 'partner', version: 4 } }).cross(
        domains.partner.gamma,
        domains.partner,
      ),
  ),
  across(
    'domain-of-a-domain',
    'domain',
    5,
    'a domain hands on to a third what was given to it, though home names that one too',
    (domains) =>
      born(domains).cross(domains.partner.gamma, domains.partner).cross(domains.third.beta, domains.third),
  ),
  across(
    'domain-same-id',
    'domain',
    3,
    'another authority signs a policy of the same id',
    ({ acme, partner }) => {
      const policy = partner.signPolicy({ id: 'lab', version: 4 });
      return new CrossingChain(acme)
        .live('created', 'started')
        .cross(partner.gamma, { authority: partner.authority, policy });
    },
  ),
  across(
    'domain-policy-of-another',
    'policy',
    2,
    'another authority certifies a key of this domain',
    async (domains) => {
      const chain = born(domains);
      chain.holder = await certifiedTwice(domains);
      return chain.live('suspended');
    },
  ),
  across('policy-order-back-home', 'policy-order', 5, 'home is not older after a visit', (domains) => {
    const chain = new CrossingChain(domains.acme);
    chain.policy = domains.acme.signPolicy({ version: 4, ...visited(domains) });
    return chain
      .live('created', 'started')
      .cross(domains.partner.gamma, domains.partner)
      .cross(domains.acme.beta, domains.acme);
  }),
  across('checkpoint-across', 'checkpoint', 4, 'a domain that was visited vouches for no past', (domains) =>
    born(domains)
      .cross(domains.partner.gamma, domains.partner)
      .add('checkpoint', { verdict: sha256(Buffer.from('a summary')) }),
  ),
  across('tenant-domain', 'verified', null, 'a tenant names the domains that it wants', (domains) =>
    bound(domains, 'domain in ["acme", "partner"]').cross(domains.partner.gamma, domains.partner),
  ),
  across('tenant-other-domain', 'tenant', 4, 'a tenant does not want the domain', (domains) =>
    bound(domains, 'domain == "acme"').cross(domains.partner.gamma, domains.partner),
  ),
  across(
    'tenant-domain-pretended',
    'tenant',
    4,
    'the authority of a domain certifies its host as one of another',
    async (domains) => {
      const host = await domains.partner.enrol('delta.test', { attributes: new Map([['domain', 'acme']]) });
      return bound(domains, 'domain == "acme"').cross(host, domains.partner);
    },
  ),
];

function visited({ ofPartner }: Domains): {
  readonly domains: { self: string; others: ReturnType<typeof ofPartner>[] };
} {
  return { domains: { self: 'acme', others: [ofPartner()] } };
}

function bound({ acme }: Domains, condition: string): CrossingChain {
  return new CrossingChain(acme).live('created').bound(new Tenant().policy(condition)).live('started');
}
