import { bytesEqual } from '../bytes/compare.ts';
import { H } from '../encoding/hash.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import { nameOf } from '../tpm/public-area.ts';
import { isRolledBack } from './anchor.ts';
import { isActive, lookAt } from './domain-view.ts';
import { Refused } from './refused.ts';
import { adoptRun } from './runs.ts';
import type { Services } from './services.ts';
import { isConflict } from './situation.ts';
import { forgetReading } from './vtpm-identity.ts';

/**
 * `tvmmp vm adopt` (SPEC 8.5): an administrator takes up the vTPM's state that lies there, although it is not the one that the VM stopped
 * with; the proof says so. Throws `Refused` where this host may not, or where there is nothing to adopt.
 */
export async function adopt(services: Services, vm: VmRecord): Promise<VmRecord> {
  const { host, chains } = services;
  await endLostRun(services, vm);
  await requireOff(services, vm);
  const digest = await services.vtpmStates.refusedState(vm);
  if (digest === null)
    throw new Refused(`the vTPM state of ${vm.name} is its last one: there is nothing to adopt`);
  await services.custody.requireHolder(vm);
  await requireItsOwn(services, vm);
  if (!bytesEqual(digest, (await services.vtpmStates.refusedState(vm)) ?? new Uint8Array()))
    throw new Refused(`the vTPM state of ${vm.name} changed a moment ago; try again`);
  host.log.warn({ vm: vm.uuid }, 'an administrator takes up a vTPM state');
  await chains.append(
    vm.uuid,
    { kind: 'adopted', verdict: digest },
    {
      journal: (next) => {
        requireHolder(services, next);
        host.journal.putVtpmState({ vm: vm.uuid, standing: 'adopted', digest, time: host.now() });
        forgetReading(host.journal, vm.uuid);
        return next;
      },
    },
  );
  await services.anchor.settleOrOwe();
  return host.journal.vm(vm.uuid) ?? vm;
}

/**
 * `tvmmp vm adopt --run`: the memory of an earlier run, a saved state or a snapshot, may come back once, and its vTPM with it (SPEC 8.7).
 */
export async function adoptMemory(services: Services, vm: VmRecord, run: number): Promise<VmRecord> {
  const { host, chains } = services;
  await requireOff(services, vm);
  await services.custody.requireHolder(vm);
  host.log.warn({ vm: vm.uuid, run }, 'an administrator lets the memory of an earlier run come back');
  await chains.append(
    vm.uuid,
    { kind: 'adopted', verdict: H('tvmmp/run/1', run) },
    {
      journal: (next) => {
        requireHolder(services, next);
        adoptRun(host.journal, next, run);
        return next;
      },
    },
  );
  await services.anchor.settleOrOwe();
  return host.journal.vm(vm.uuid) ?? vm;
}

/** Where the journal went back to a day on which the VM ran, nobody has signed yet that it does not any more (SPEC 8.8). */
async function endLostRun(services: Services, vm: VmRecord): Promise<void> {
  const { host, chains } = services;
  if (!isRolledBack(host.journal, vm.uuid) || (vm.state !== 'running' && vm.state !== 'paused')) return;
  if (!isHeldBy(vm, host.identity.id.name) || isActive(await lookAt(host.hypervisor, vm.uuid))) return;
  await services.custody.requireHolder(vm);
  await chains.append(vm.uuid, { kind: 'stopped' });
}

async function requireOff(services: Services, vm: VmRecord): Promise<void> {
  requireHolder(services, services.host.journal.vm(vm.uuid) ?? vm);
  if (isActive(await lookAt(services.host.hypervisor, vm.uuid)))
    throw new Refused(`libvirt runs ${vm.name}; shut it down first`);
}

/** It never makes a second holder: whoever is not the holder now has nothing to adopt. */
function requireHolder({ host }: Services, record: VmRecord): void {
  const { uuid, name, state, holder } = record;
  const { journal, identity } = host;
  if (!isHeldBy(record, identity.id.name) || state === 'staged')
    throw new Refused(
      `${name} is held by ${holder}: what lies here is an old copy; only its holder can adopt`,
    );
  const sessions = journal.sessions(uuid);
  const unfinished = journal.unfinishedSessions('source').some(({ vm }) => vm === uuid);
  if (unfinished || sessions.some(isConflict))
    throw new Refused(`a migration of ${name} is not over; see tvmmp migration list`);
  if (state !== 'stopped' && state !== 'saved')
    throw new Refused(`${name} is ${state} according to its proof; shut it down first`);
}

/** The key has to open it, and it has to be this VM's vTPM. Throws `Refused`, and what opening a key may. */
export async function requireItsOwn({ host, platform }: Services, vm: VmRecord): Promise<void> {
  const { publicArea } = await platform.withKey(vm, (own) =>
    host.bridge.vtpmEndorsementKey({ stateDir: host.files.vtpmStateDirectory(vm.uuid), own }),
  );
  if (vm.vtpm === null || bytesEqual(nameOf(publicArea), vm.vtpm)) return;
  throw new Refused(`what lies there is not the vTPM of ${vm.name}: its endorsement key is another one`);
}
