/** A VM that goes from one domain to another (SPEC 17.3): where the policy of the host that it leaves says so, and to nobody else. */
import { domainOf } from '../appraisal/domains.ts';
import type { Domain } from '../appraisal/domains.ts';
import type { Policy } from '../appraisal/policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { hex } from '../encoding/hex.ts';
import { demand } from './fault.ts';

/** Whose an entry is: the root of its signer's certificate, and its policy, which was verified under that root. */
export interface Side {
  readonly root: RootCertificate;
  readonly policy: Policy;
}

/** `domain` of an *arrived*, or of a disclaimer, after the *departing* of `from`. Throws CheckFailed. */
export function demandCrossing(from: Side, to: Side, host: string): void {
  const same = bytesEqual(from.root.digest, to.root.digest);
  if (from.policy.id === to.policy.id) {
    demand(same, 'domain', `${host} is a host of another authority, with a policy of the same id`);
    return;
  }
  // Within a domain there is one policy id.
  demand(!same, 'policy-order', `policy ${to.policy.id} in a chain under ${from.policy.id}`);
  const named = domainOf(from.policy.domains, to.root.digest);
  const { id, version } = from.policy;
  const root = hex(to.root.digest);
  demand(
    named !== null,
    'domain',
    `policy ${id} v${version} does not name the domain of ${host} (root SHA-256 ${root})`,
  );
  demand(
    named.rules.forward !== undefined,
    'domain',
    `by policy ${id} v${version} hosts of the domain ${named.name} receive no VM`,
  );
  demandNamedPolicy(named, to.policy);
}

/** The policy that a domain was named with: its key, its id, and no older one. */
function demandNamedPolicy({ name, policyKey, policy }: Domain, { id, version, signerSpki }: Policy): void {
  const told = `of the domain ${name} is under policy ${id} v${version}`;
  demand(
    bytesEqual(policyKey, signerSpki),
    'domain',
    `what is ${told} of another policy key than the one named`,
  );
  demand(
    id === policy.id && version >= policy.version,
    'domain',
    `what is ${told}, named is ${policy.id} v${policy.version}`,
  );
}
