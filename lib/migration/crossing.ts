/** What a hand-over between two domains needs of this host (SPEC 17): whom it believes, and whether the VM may go there or come here. */
import { attributesSeen } from '../appraisal/domains.ts';
import type { DomainView } from '../appraisal/domains.ts';
import { verifySignedPolicy } from '../appraisal/policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { TvmmpError } from '../errors.ts';
import type { PolicyId } from '../evidence/identity.ts';
import { demandPolicyAfter, lastUnder } from '../proof/chain.ts';
import type { ChainState } from '../proof/chain.ts';
import { demandCrossing } from '../proof/crossing.ts';
import type { Side } from '../proof/crossing.ts';
import { CheckFailed } from '../proof/fault.ts';
import type { VerifiedEntry, VerifiedProof } from '../proof/verify.ts';
import type { Channel } from '../protocol/channel.ts';
import type { Hello } from '../protocol/messages.ts';
import type { Host } from './host.ts';
import { Refused } from './refused.ts';

/** Roots of the domains that our policy in force names. */
export function otherRoots({ policy }: Pick<Host, 'policy'>): readonly RootCertificate[] {
  return (policy().policy.domains?.others ?? []).map(({ root }) => root);
}

/** Whom to believe about what is under a policy: our own root, and for another policy than ours that of the domain whose it is. */
export function rootsFor(
  host: Host,
  { id }: PolicyId,
): { readonly root: RootCertificate; readonly others?: readonly RootCertificate[] } {
  const { root } = host.identity;
  const { policy } = host.policy();
  return id === policy.id ? { root } : { root, others: otherRoots(host) };
}

/** How our policy in force sees domains. */
export function ownView({ identity, policy }: Pick<Host, 'identity' | 'policy'>): DomainView {
  return { root: identity.root.digest, domains: policy().policy.domains };
}

/** How the policy of a VM's home sees domains: ours in force where that is here, or its last one in the chain. */
export function homeOf(host: Host, { vm, home, policySince }: ChainState): DomainView {
  if (home.id === host.policy().policy.id) return ownView(host);
  const domain = host.policy().policy.domains?.others.find(({ policy }) => policy.id === home.id);
  if (domain === undefined)
    throw new Refused(`domain: the VM is of the domain of policy ${home.id}, which our policy does not name`);
  const { root } = domain;
  return { root: root.digest, domains: heldPolicy(host, vm, home, root, policySince).domains };
}

/** The same for a VM whose proof was just verified. */
export function homeSeen(host: Host, { head, home }: VerifiedProof): DomainView {
  return head.home.id === host.policy().policy.id ? ownView(host) : home;
}

/** Our own policy under which a VM departs from here. */
export function sideOfHead(host: Host, { vm, policy, policySince }: ChainState): Side {
  const { root } = host.identity;
  return { root, policy: heldPolicy(host, vm, policy, root, policySince) };
}

function heldPolicy(
  host: Host,
  vm: string,
  id: PolicyId,
  root: RootCertificate,
  since: number,
): Side['policy'] {
  const held = host.journal.credentials(vm);
  const found = held.find(({ kind, digest }) => kind === 'policy' && bytesEqual(digest, id.digest));
  if (found === undefined)
    throw new TvmmpError('internal', `policy ${id.id} v${id.version} of a VM is not in the journal`);
  const told = held.filter(({ kind }) => kind === 'certificate').map(({ bytes }) => bytes);
  const signers = [...host.identity.signerCertificates, ...told];
  return verifySignedPolicy(Buffer.from(found.bytes).toString('utf8'), {
    root,
    signers,
    at: new Date(since),
  });
}

/** Attributes of the host that arrived, as the VM's home names domains; `from`: our side of a crossing. */
export function seenAtHome(
  host: Host,
  chain: ChainState,
  { authority, attributes }: VerifiedEntry,
  from: Side | null,
): HostAttributes {
  const home =
    from !== null && from.policy.id === chain.home.id
      ? { root: from.root.digest, domains: from.policy.domains }
      : homeOf(host, chain);
  return attributesSeen(home, authority.digest, attributes);
}

/** Lowest version of the peer's policy that the VM's proof allows. */
export function requiredVersion(
  chain: ChainState,
  { policy }: Pick<Hello, 'policy'>,
  { peerRoot }: Pick<Channel, 'peerRoot'>,
): number {
  return peerRoot === undefined ? chain.policy.version : (lastUnder(chain, policy.id)?.version ?? 0);
}

/** Source: whether the chain may go on at a host of another domain with this policy. Throws `Refused`. */
export function requireMayGo(chain: ChainState, policy: PolicyId): void {
  refusing(() => {
    demandPolicyAfter(chain, policy, true);
  });
}

/** Target: whether our *arrived* would follow the *departing* that the proof ends with (SPEC 17.3). Throws `Refused`. */
export function requireMayCome(host: Host, { head, last }: VerifiedProof): void {
  const { policy } = host.policy();
  const { id, version, digest } = policy;
  refusing(() => {
    demandPolicyAfter(head, { id, version, digest }, true);
    demandCrossing(last, { root: host.identity.root, policy }, host.identity.id.name);
  });
}

function refusing(demands: () => void): void {
  try {
    demands();
  } catch (error) {
    if (error instanceof CheckFailed) throw new Refused(`${error.check}: ${error.message}`);
    throw error;
  }
}
