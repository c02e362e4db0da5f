import { TvmmpError } from '../errors.ts';
import type { JobStatistics } from '../libvirt/job-statistics.ts';
import type { DomainSummary, Hypervisor } from '../libvirt/port.ts';

/** A domain as libvirt has it now, or null where libvirt does not know it. */
export async function lookAt(hypervisor: Hypervisor, uuid: string): Promise<DomainSummary | null> {
  try {
    return await hypervisor.domain(uuid);
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'domain-not-found') return null;
    throw error;
  }
}

/** The job that libvirt has on a domain; null without one, and where libvirt does not know the domain (any more). */
export async function jobOf(hypervisor: Hypervisor, uuid: string): Promise<JobStatistics | null> {
  try {
    return await hypervisor.jobInfo(uuid);
  } catch (error) {
    if (error instanceof TvmmpError && error.code === 'domain-not-found') return null;
    throw error;
  }
}

/** Whether libvirt has taken it away from here: its definition is gone, or it is off because it was migrated. */
export function hasLeft(domain: DomainSummary | null): boolean {
  return domain === null || (!isActive(domain) && domain.reason === 'migrated');
}

/** Whether a QEMU process stands behind it. */
export function isActive(domain: DomainSummary | null): boolean {
  return domain !== null && domain.state !== 'shutoff' && domain.state !== 'crashed' && domain.id !== null;
}

/** Whether its CPUs run, or were stopped by the user rather than by a migration. */
export function isRunningHere(domain: DomainSummary | null): boolean {
  if (domain === null || !isActive(domain)) return false;
  if (domain.state === 'running' || domain.state === 'blocked' || domain.state === 'pmsuspended') return true;
  return domain.state === 'paused' && !transient.has(domain.reason);
}

/** Reasons of `paused` that a migration sets itself. */
const transient: ReadonlySet<string> = new Set([
  'migration',
  'postcopy',
  'postcopy-failed',
  'starting-up',
  'unknown',
]);
