/** Proofs of VMs whose tenants have a say (SPEC 10.5). */
import { decodeEntry } from '../../lib/proof/entry.ts';
import type { ProofCase } from './proof-cases.ts';
import { ChainBuilder, Tenant } from './proof-world.ts';
import type { World, WorldHost } from './proof-world.ts';

const EU = 'region == "eu"';
const inRegion = (world: World, name: string, region: string): Promise<WorldHost> =>
  world.enrol(name, {
    attributes: new Map<string, string | number>([
      ['region', region],
      ['level', 2],
    ]),
  });

/** A VM that was born under a tenant policy on a host in the EU. */
async function born(
  world: World,
  tenant: Tenant,
): Promise<{ c: ChainBuilder; alpha: WorldHost; beta: WorldHost }> {
  const [alpha, beta] = [await inRegion(world, 'alpha.test', 'eu'), await inRegion(world, 'beta.test', 'eu')];
  const c = new ChainBuilder(world);
  c.holder = alpha;
  c.add('created').bound(tenant.policy(EU)).add('started');
  return { c, alpha, beta };
}

/** Where in the entries a fault is. */
const entries = (index: number) => ({ list: 'entries', index }) as const;

export const tenantCases: readonly ProofCase[] = [
  {
    name: 'good-tenant',
    why: 'every host satisfies what the tenant asks for, also after it asked for more',
    expect: 'verified',
    build: async (w) => {
      const tenant = new Tenant();
      const { c, alpha, beta } = await born(w, tenant);
      c.migrate(beta).bound(tenant.policy(`${EU} and level >= 2`, 5));
      return c.migrate(alpha).live('stopped').bytes();
    },
  },
  {
    name: 'good-tenant-from-checkpoint',
    why: 'a summary carries the tenant policy in force, so that a proof from there on is held against it',
    expect: 'verified',
    build: async (w) => {
      const { c, alpha, beta } = await born(w, new Tenant());
      const checkpoint = c.sequence;
      return c.checkpoint().migrate(beta).migrate(alpha).from(checkpoint);
    },
  },
  {
    name: 'tenant-refuses-holder',
    why: 'a host of another region took the VM, and both hosts kept quiet about the tenant',
    expect: 'tenant',
    at: entries(4),
    build: async (w) => {
      const { c } = await born(w, new Tenant());
      return c.migrate(await inRegion(w, 'gamma.test', 'us')).bytes();
    },
  },
  {
    name: 'tenant-refuses-host-without-attributes',
    why: 'nothing is known of a host about which the authority says nothing',
    expect: 'tenant',
    at: entries(4),
    build: async (w) => (await born(w, new Tenant())).c.migrate(w.gamma).bytes(),
  },
  {
    name: 'tenant-refuses-holder-from-checkpoint',
    why: 'a checkpoint before the move does not make the tenant be forgotten',
    expect: 'tenant',
    at: entries(2),
    build: async (w) => {
      const { c } = await born(w, new Tenant());
      const checkpoint = c.sequence;
      return c.checkpoint().migrate(w.gamma).from(checkpoint);
    },
  },
  {
    name: 'tenant-policy-stripped',
    why: 'the policy was taken out of the proof, so that nobody can hold hosts against it',
    expect: 'tenant',
    at: entries(1),
    build: async (w) => {
      const { c } = await born(w, new Tenant());
      const { policies } = c.proof();
      return c.bytes({ policies: policies.filter((text) => !isTenant(text)) });
    },
  },
  {
    name: 'tenant-entry-stripped',
    why: 'the entry that binds the VM was taken out of the chain',
    expect: 'sequence',
    at: entries(1),
    build: async (w) => {
      const { c } = await born(w, new Tenant());
      const { policies, entries: all } = c.proof();
      const without = all.filter(({ entry }) => decodeEntry(entry).kind !== 'bound');
      return c.bytes({ entries: without, policies: policies.filter((text) => !isTenant(text)) });
    },
  },
  {
    name: 'tenant-older-version',
    why: 'a holder goes back to an earlier policy of the tenant, which asked for less',
    expect: 'tenant',
    at: entries(4),
    build: async (w) => {
      const tenant = new Tenant();
      const { c } = await born(w, tenant);
      return c.bound(tenant.policy('level >= 2', 3)).bound(tenant.policy('level >= 1', 2)).bytes();
    },
  },
  {
    name: 'tenant-same-version',
    why: 'two policies of one version: which one did the tenant mean?',
    expect: 'tenant',
    at: entries(3),
    build: async (w) => {
      const tenant = new Tenant();
      return (await born(w, tenant)).c.bound(tenant.policy('level >= 1', 1)).bytes();
    },
  },
  {
    name: 'tenant-other-signer',
    why: 'somebody else, the operator say, signs a policy in place of the tenant',
    expect: 'tenant',
    at: entries(3),
    build: async (w) => {
      const { c } = await born(w, new Tenant());
      return c.bound(new Tenant().policy('level >= 1', 2)).bytes();
    },
  },
  {
    name: 'tenant-other-vm',
    why: 'a policy that the tenant signed for another VM',
    expect: 'tenant',
    at: entries(1),
    build: async (w) => {
      const vm = '00000000-0000-4000-8000-000000000001';
      const c = new ChainBuilder(w);
      c.holder = await inRegion(w, 'alpha.test', 'eu');
      return c
        .add('created')
        .bound(new Tenant().policy(EU, 1, { vm }))
        .bytes();
    },
  },
  {
    name: 'tenant-binds-unwilling-holder',
    why: 'a host binds a VM to a policy that it does not satisfy itself',
    expect: 'tenant',
    at: entries(1),
    build: (w) => new ChainBuilder(w).add('created').bound(new Tenant().policy(EU)).bytes(),
  },
  {
    name: 'tenant-unused',
    why: 'a tenant policy that the chain does not name is carried along, to look as if it had been in force',
    expect: 'unused',
    at: null,
    build: async (w) => {
      const { c } = await born(w, new Tenant());
      return c.bytes({ policies: [...c.proof().policies, new Tenant().policy(EU)] });
    },
  },
  {
    name: 'life-cycle-bound-while-departing',
    why: 'a tenant policy comes while the VM is on its way to a host that was held against another one',
    expect: 'life-cycle',
    at: entries(4),
    build: async (w) => {
      const tenant = new Tenant();
      const { c, beta } = await born(w, tenant);
      return c.departing(beta).bound(tenant.policy('level >= 1', 2)).bytes();
    },
  },
  {
    name: 'members-bound-without-digest',
    why: 'a VM is bound to a policy that is not named',
    expect: 'members',
    at: entries(1),
    build: (w) => new ChainBuilder(w).live('created', 'bound').bytes(),
  },
];

function isTenant(envelope: string): boolean {
  return envelope.includes('tenant-policy+json');
}
