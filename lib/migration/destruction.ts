import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TvmmpError } from '../errors.ts';
import { isActive, lookAt } from './domain-view.ts';
import type { Services } from './services.ts';

/** libvirt's Confirm phase follows the target's *arrived* within moments; longer means that libvirtd is stuck or away. */
const leaveDeadlineMs = 120_000;
const leavePollMs = 100;

/**
 * Destroys what is left of a VM that has arrived elsewhere: libvirt secret, sealed key, vTPM state; then looks that nothing is
 * there (SPEC 8.3). Waits for libvirt to let go of the VM first, and never touches one that runs here.
 */
export async function destroyCopy(services: Services, uuid: string): Promise<void> {
  const { host } = services;
  await waitUntilGone(services, uuid);
  const record = host.journal.vm(uuid);
  if (record === null) throw new TvmmpError('vm-unknown', `VM ${uuid} is not in the journal`);
  await removeKeyAndState(services, uuid, record.secret);
  host.journal.putVm({ ...record, state: 'gone', sealed: null, context: null });
  if (await host.hypervisor.secretExists(record.secret)) {
    throw new TvmmpError('destruction-incomplete', `the libvirt secret of ${record.name} is still there`);
  }
  if (await exists(vtpmDirectory(services, uuid))) {
    throw new TvmmpError('destruction-incomplete', `the vTPM state of ${record.name} is still there`);
  }
}

/** Removes the libvirt secret and the vTPM state directory of a VM that does not run here. */
export async function removeKeyAndState(services: Services, uuid: string, secret: string): Promise<void> {
  const { host } = services;
  if (isActive(await lookAt(host.hypervisor, uuid))) {
    throw new TvmmpError('vm-unsuitable', `VM ${uuid} runs on this host`);
  }
  await host.hypervisor.undefineSecret(secret);
  await rm(vtpmDirectory(services, uuid), { recursive: true, force: true });
}

/** Where libvirt keeps a VM's vTPM state. */
export function vtpmDirectory(services: Services, uuid: string): string {
  return join(services.host.settings.vtpmStateDirectory, uuid);
}

async function waitUntilGone(services: Services, uuid: string): Promise<void> {
  const { hypervisor } = services.host;
  for (let waited = 0; isActive(await lookAt(hypervisor, uuid)); waited += leavePollMs) {
    if (waited >= leaveDeadlineMs) {
      throw new TvmmpError('destruction-incomplete', `libvirt still has VM ${uuid} active on this host`);
    }
    await sleep(leavePollMs);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
