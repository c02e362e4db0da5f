import { TvmmpError } from '../errors.ts';
import type { VmRecord } from '../ledger/records.ts';
import { isActive, isRunningHere, lookAt } from './domain-view.ts';
import { forgetEscrow } from './escrow.ts';
import { forgetSecret } from './incoming.ts';
import type { Services } from './services.ts';

/** libvirt's Confirm phase follows the target's *arrived* within moments; what takes longer is looked at again later. */
const leaveDeadlineMs = 5_000;
const leavePollMs = 50;

/**
 * Before *arrived* is believed, libvirt must agree that the VM is not (any more) running here (SPEC 6.8). Throws
 * `hand-over-conflict` when it runs on with no migration under way: nothing is destroyed on the word of a peer alone.
 */
export async function waitUntilLeft(services: Services, uuid: string): Promise<void> {
  const { hypervisor, timers } = services.host;
  for (let waited = 0; ; waited += leavePollMs) {
    const job = await hypervisor.jobInfo(uuid).catch(() => null);
    const domain = await lookAt(hypervisor, uuid);
    if (!isRunningHere(domain)) return;
    if (job === null || waited >= leaveDeadlineMs) {
      throw new TvmmpError(
        'hand-over-conflict',
        `the target says that VM ${uuid} arrived, and libvirt runs it here`,
      );
    }
    await timers.sleep(leavePollMs);
  }
}

/**
 * Destroys what is left of a VM that has arrived elsewhere in this session: libvirt secret, sealed key, vTPM state; then looks that
 * nothing is there (SPEC 8.3). Waits for libvirt to let go of the VM first, and never touches one that runs here or that has come
 * back meanwhile.
 */
export async function destroyCopy(services: Services, uuid: string, session: Uint8Array): Promise<void> {
  await waitUntilGone(services, uuid);
  await removeAndCheck(services, uuid, () => goneRecord(services, uuid, session));
}

/** Removes key and vTPM state of a VM whose record `find` still finds fit for it, then looks that they are gone. */
export async function removeAndCheck(services: Services, uuid: string, find: () => VmRecord): Promise<void> {
  const { host } = services;
  const record = find();
  await removeKeyAndState(services, record);
  host.journal.putVm({ ...find(), sealed: null, context: null });
  if (await host.hypervisor.secretExists(record.secret)) {
    throw new TvmmpError('destruction-incomplete', `the libvirt secret of ${record.name} is still there`);
  }
  if (await host.files.hasVtpmState(uuid)) {
    throw new TvmmpError('destruction-incomplete', `the vTPM state of ${record.name} is still there`);
  }
}

/** Removes the libvirt secret and the vTPM state directory of a VM that does not run here. */
export async function removeKeyAndState(services: Services, vm: VmRecord): Promise<void> {
  const { host } = services;
  if (isActive(await lookAt(host.hypervisor, vm.uuid))) {
    throw new TvmmpError('vm-unsuitable', `VM ${vm.name} is active on this host`);
  }
  await forgetSecret(host.hypervisor, vm);
  await host.files.removeVtpmState(vm.uuid);
  host.journal.removeVtpmState(vm.uuid);
  forgetEscrow(host.journal, vm.uuid);
}

/** The record of a VM that this session gave away; one that has been taken up again is not to be touched. */
function goneRecord(services: Services, uuid: string, session: Uint8Array): VmRecord {
  const record = services.host.journal.vm(uuid);
  if (record?.state !== 'gone' || services.host.journal.session(session)?.state !== 'destroying') {
    throw new TvmmpError('destruction-incomplete', `VM ${uuid} is not one that this session gave away`);
  }
  return record;
}

/** A copy that libvirt left paused after its migration is over is ended: its successor runs elsewhere, by its own signature. */
async function waitUntilGone(services: Services, uuid: string): Promise<void> {
  const { hypervisor, timers } = services.host;
  for (let waited = 0; ; waited += leavePollMs) {
    const job = await hypervisor.jobInfo(uuid).catch(() => null);
    const domain = await lookAt(hypervisor, uuid);
    if (!isActive(domain)) return;
    if (waited >= leaveDeadlineMs) {
      if (job === null && !isRunningHere(domain)) await hypervisor.destroy(uuid);
      throw new TvmmpError('destruction-incomplete', `libvirt still has VM ${uuid} active on this host`);
    }
    await timers.sleep(leavePollMs);
  }
}
