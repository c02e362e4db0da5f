/** Two authorities that name each other in their policies, and a third that both name: for proofs, appraisals and agents of several domains. */
import type { Domain } from '../../lib/appraisal/domains.ts';
import type { HostRule } from '../../lib/appraisal/host-rules.ts';
import { spkiOf } from '../../lib/certificates/public-key.ts';
import { ChainBuilder, makeWorld } from './proof-world.ts';
import type { World, WorldHost } from './proof-world.ts';
import { makeTestAuthority } from './test-authority.ts';
import type { TestAuthority } from './test-authority.ts';

/** What a policy says of another domain; by default its hosts may receive and give. */
export function domainOfAuthority(
  authority: TestAuthority,
  name: string,
  id: string,
  change: Partial<Domain> = {},
): Domain {
  const open: HostRule = {};
  return {
    name,
    root: authority.root,
    policyKey: Uint8Array.from(spkiOf(authority.policyKeys.publicKey)),
    policy: { id, version: 3 },
    rules: { forward: open, backward: open },
    ...change,
  };
}

/** `acme` (policy lab) and `partner` (policy partner) trust each other; `third` and they do too. Hosts of acme and partner have the same names. */
export interface Domains {
  readonly acme: World;
  readonly partner: World;
  readonly third: World;
  /** What acme's policy says of partner, with a change. */
  readonly ofPartner: (change?: Partial<Domain>) => Domain;
}

/** Makes them; `acme` is the authority of a world that there is. */
export async function makeDomains(authority?: TestAuthority): Promise<Domains> {
  const own = authority ?? (await makeTestAuthority('Acme'));
  const [other, last] = [await makeTestAuthority('Partner'), await makeTestAuthority('Third')];
  const ofPartner: Domains['ofPartner'] = (change) => domainOfAuthority(other, 'partner', 'partner', change);
  const [a, b, c] = [
    domainOfAuthority(own, 'acme', 'lab'),
    ofPartner(),
    domainOfAuthority(last, 'third', 'third'),
  ];
  return {
    acme: await makeWorld(own, { domains: { self: 'acme', others: [b, c] } }),
    partner: await makeWorld(other, { id: 'partner', domains: { self: 'partner', others: [a, c] } }),
    third: await makeWorld(last, { id: 'third', domains: { self: 'third', others: [a, b] } }),
    ofPartner,
  };
}

/** A chain whose VM is born in acme; `cross` takes it to a host of another domain. */
export class CrossingChain extends ChainBuilder {
  /** A whole hand-over to a host under the policy of its domain. */
  cross(to: WorldHost, world: Pick<World, 'authority' | 'policy'>): this {
    const [from, policy] = [this.holder, this.policy];
    this.departing(to).enter(world).arrived(to);
    return this.departed(from, { policy: policy.id });
  }

  /** From here on entries are under the policy of this world. */
  enter({ authority, policy }: Pick<World, 'authority' | 'policy'>): this {
    this.policy = policy;
    return this.carrySigner(authority.policySigner);
  }
}
