/** The tenant's part of a proof (SPEC 10.5): every host that took the VM while a tenant policy was in force satisfied it. */
import { assertTenantSuccessor, tenantFault } from '../appraisal/tenant-policy.ts';
import type { TenantPolicy } from '../appraisal/tenant-policy.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { TvmmpError } from '../errors.ts';
import type { ChainState } from './chain.ts';
import type { Credentials } from './credentials.ts';
import type { Entry, EntryKind } from './entry.ts';
import { CheckFailed, demand } from './fault.ts';

/**
 * `tenant`: an entry that binds the VM to a tenant policy brings one of the same tenant and a higher version than that in force;
 * its signer satisfies it, and so does each host that arrives.
 */
export function demandTenant(
  before: ChainState | null,
  after: ChainState,
  { entry, attributes }: { readonly entry: Entry; readonly attributes: HostAttributes },
  credentials: Credentials,
): void {
  if (after.tenant === null || !looked.has(entry.kind)) return;
  const policy = credentials.tenant(after.tenant, after.vm);
  if (entry.kind === 'bound' && before !== null && before.tenant !== null)
    demandSuccessor(credentials.tenant(before.tenant, after.vm), policy);
  const fault = tenantFault(policy, attributes);
  demand(fault === null, 'tenant', `${entry.host.name} took the VM: ${fault ?? ''}`);
}

/** Kinds whose signer the tenant has a say about. */
const looked: ReadonlySet<EntryKind> = new Set(['bound', 'arrived', 'recovered']);

function demandSuccessor(current: TenantPolicy, next: TenantPolicy): void {
  try {
    assertTenantSuccessor(current, next);
  } catch (error) {
    if (error instanceof TvmmpError) throw new CheckFailed('tenant', error.message);
    throw error;
  }
}
