/** The tenant's word about one VM (SPEC 10.5), beside the operator's policy: both have to agree. */
import { attributesSeen } from '../appraisal/domains.ts';
import type { DomainView } from '../appraisal/domains.ts';
import { assertTenantSuccessor, tenantFault, verifyTenantPolicy } from '../appraisal/tenant-policy.ts';
import type { TenantPolicy } from '../appraisal/tenant-policy.ts';
import type { TrustedPeer } from '../appraisal/trusted-peer.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { TvmmpError } from '../errors.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { ChainState } from '../proof/chain.ts';
import { homeOf, ownView } from './crossing.ts';
import type { Host } from './host.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';

/** A tenant policy with its signed form, which travels with proofs. */
export interface TenantInForce {
  readonly policy: TenantPolicy;
  readonly envelope: string;
}

/** The tenant policy of a VM of this host, from what it keeps with the chain; null where there is none. */
export function tenantInForce(services: Services, uuid: string): TenantPolicy | null {
  const chain = services.chains.state(uuid);
  return chain === null ? null : tenantOf(services.host, chain);
}

/** The tenant policy that the chain of a VM of this host names at one of its entries; null where it names none. */
export function tenantOf(
  { journal }: Pick<Host, 'journal'>,
  { vm, tenant: digest }: ChainState,
): TenantPolicy | null {
  if (digest === null) return null;
  const held = journal
    .credentials(vm)
    .find((credential) => credential.kind === 'policy' && bytesEqual(credential.digest, digest));
  if (held === undefined) throw new TvmmpError('internal', 'the tenant policy of a VM is not in the journal');
  return verifyTenantPolicy(Buffer.from(held.bytes).toString('utf8'));
}

/** Throws `Refused` unless the tenant lets a host with these attributes hold the VM. */
function requireTenantAgrees(policy: TenantPolicy | null, name: string, attributes: HostAttributes): void {
  const fault = policy === null ? null : tenantFault(policy, attributes);
  if (fault !== null) throw new Refused(`tenant-policy: ${name} must not hold this VM: ${fault}`);
}

/** Throws `Refused` unless the tenant of a VM of this host lets a target hold it, by its policy of now. */
export function requireTenantAgreesTo(services: Services, uuid: string, target: TrustedPeer): void {
  const tenant = tenantInForce(services, uuid);
  if (tenant === null) return;
  const { host, chains } = services;
  const root = target.domain?.root ?? host.identity.root;
  const attributes = attributesSeen(
    homeOf(host, chains.require(uuid)),
    root.digest,
    target.certificate.attributes,
  );
  requireTenantAgrees(tenant, target.label, attributes);
}

/** Throws `Refused` unless the tenant lets this host hold the VM, by the certificate that it signs with now. */
export function requireTenantAgreesToUs(policy: TenantPolicy | null, host: Host, home: DomainView): void {
  if (policy === null) return;
  const { id, root } = host.identity;
  requireTenantAgrees(policy, id.name, attributesSeen(home, root.digest, ownAttributes(host)));
}

/** What the authority says of this host. */
function ownAttributes({ identity, now }: Host): HostAttributes {
  return verifyHostCertificate(identity.akCertificate, identity.root, new Date(now())).attributes;
}

/** A tenant policy as the operator gives it. */
export interface TenantRequest {
  readonly envelope: string;
  /** Digest of the key that the operator knows as the tenant's. */
  readonly keyDigest: Uint8Array;
}

/**
 * Reads a tenant policy for a VM of this host. Throws
 * `policy-invalid`, `Refused`.
 */
export function readTenantPolicy(
  host: Host,
  uuid: string,
  { envelope, keyDigest }: TenantRequest,
  home: DomainView = ownView(host),
): TenantInForce {
  const policy = verifyTenantPolicy(envelope);
  if (policy.vm !== uuid) throw new Refused(`tenant-policy: it is about VM ${policy.vm}, not ${uuid}`);
  if (!bytesEqual(policy.keyDigest, keyDigest))
    throw new Refused("tenant-policy: it is not signed by the tenant's key");
  requireTenantAgreesToUs(policy, host, home);
  return { policy, envelope };
}

/** `tvmmp vm tenant-policy` (SPEC 10.5): another policy of the same tenant, with a higher version. Throws `Refused`, `policy-invalid`. */
export async function bindTenant(services: Services, vm: VmRecord, envelope: string): Promise<VmRecord> {
  const { host, chains } = services;
  if (!isHeldBy(vm, host.identity.id.name) || vm.state === 'staged')
    throw new Refused(`${vm.name} is held by ${vm.holder}: only its holder can take a tenant policy`);
  const current = tenantInForce(services, vm.uuid);
  if (current === null)
    throw new Refused(
      `${vm.name} has no tenant: a tenant policy begins with tvmmp vm protect --tenant-policy`,
    );
  const told = { envelope, keyDigest: current.keyDigest };
  const next = readTenantPolicy(host, vm.uuid, told, homeOf(host, chains.require(vm.uuid)));
  assertTenantSuccessor(current, next.policy);
  await chains.append(vm.uuid, { kind: 'bound', verdict: next.policy.digest }, { tenant: next });
  // The tenant may have forbidden it, or allow it again.
  await services.escrow.bring(vm.uuid);
  return host.journal.vm(vm.uuid) ?? vm;
}
