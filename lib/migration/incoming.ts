import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { Hypervisor } from '../libvirt/port.ts';
import type { OwnSealedKey } from '../native/bridge.ts';
import { removeKeyAndState } from './destruction.ts';
import { isActive, lookAt } from './domain-view.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';

/** What the hook of this host was shown of the VM that comes in. */
export interface IncomingDomain {
  readonly name: string;
  /** H("tvmmp/facts/1", canonical facts) of the offered XML. */
  readonly facts: Uint8Array;
  readonly secret: string;
}

/** A VM that comes to this host, and the session in which it does. */
export interface Incoming {
  readonly uuid: string;
  readonly session: Uint8Array;
  /** Null where the source opened the session: the hook brings the domain later and must find the promised facts. */
  readonly domain: IncomingDomain | null;
  /** Resolves once what was staged is behind the TPM's counter (SPEC 8.8). */
  anchored(): Promise<void>;
}

/** The XML that libvirt was given must be the VM that the source's *departing* entry speaks of. Throws `Refused`. */
export function checkFacts(promised: Uint8Array, found: Uint8Array): void {
  if (bytesEqual(promised, found)) return;
  throw new Refused(
    'facts: the domain XML is not that of the VM that the source attests; someone changed it on the way ' +
      '(disk, emulator, TPM or its encryption); migrate without --xml, or restart the VM at the source first',
  );
}

/** What libvirt calls the secret's use: by it we know our own. */
export function secretUsage(vm: string): string {
  return `tvmmp ${vm}`;
}

/** Removes the libvirt secret of a VM, if it is there and ours. */
export async function forgetSecret(
  hypervisor: Hypervisor,
  vm: Pick<VmRecord, 'uuid' | 'secret'>,
): Promise<void> {
  if (vm.secret === '') return;
  const secrets = await hypervisor.secrets();
  if (secrets.some(({ uuid, usageName }) => uuid === vm.secret && usageName === secretUsage(vm.uuid))) {
    await hypervisor.undefineSecret(vm.secret);
  }
}

/**
 * Opens a VM's sealed key in the TPM, straight into libvirt's secret: defined ephemeral and private a moment before, gone as soon
 * as swtpm has started (SPEC 8.3). Leaves no secret behind when the TPM refuses. `hold`: of a use of the TPM that this one was expected by.
 */
export async function giveKeyToLibvirt(
  services: Services,
  vm: VmRecord,
  hold: number | null = null,
): Promise<void> {
  if (vm.secret === '') throw new TvmmpError('internal', `VM ${vm.name} has no secret`);
  await services.givenKeys.give(vm, () => unsealIntoLibvirt(services, vm, hold));
}

async function unsealIntoLibvirt(
  { host, platform }: Services,
  vm: VmRecord,
  hold: number | null,
): Promise<void> {
  await host.hypervisor.defineSecret({
    uuid: vm.secret,
    usageType: 'vtpm',
    usageName: secretUsage(vm.uuid),
    ephemeral: true,
    private: true,
    description: `vTPM key of ${vm.name}, managed by tvmmp`,
  });
  try {
    const { libvirtUri } = host.settings;
    const give = (own: OwnSealedKey) =>
      host.bridge.unsealIntoLibvirt({ ...own, libvirtUri, secretUuid: vm.secret });
    await platform.withKey(vm, give, hold);
  } catch (error) {
    await forgetSecret(host.hypervisor, vm);
    if (error instanceof TvmmpError && error.code === 'seal-refused') {
      throw new Refused(
        `seal: this host's TPM does not release the vTPM key of ${vm.name}: its PCRs are in no approved state any more`,
      );
    }
    throw error;
  }
}

/** Throws away what was received for a VM that does not come: permit, sealed key, secret, vTPM state (SPEC 6.8). */
export async function discardIncoming(services: Services, uuid: string, session: Uint8Array): Promise<void> {
  const { host } = services;
  const record = host.journal.vm(uuid);
  const permit = host.journal.permit(uuid);
  if (record?.state !== 'staged' || permit === null || !bytesEqual(permit.session, session)) return;
  if (isActive(await lookAt(host.hypervisor, uuid))) {
    throw new TvmmpError('vm-unsuitable', `VM ${record.name} is active on this host`);
  }
  await removeKeyAndState(services, record);
  host.journal.transaction(() => {
    host.journal.removePermit(uuid);
    host.journal.putVm({ ...record, state: 'gone', sealed: null, context: null });
    host.journal.changeSession(session, { state: 'aborted' }, host.now());
  });
}

/** What is left of sessions that came to nothing while it could not be cleared away: staged records that no session waits for. */
export async function discardOrphans(services: Services): Promise<void> {
  const { journal } = services.host;
  const waiting = new Set(journal.unfinishedSessions('target').map(({ vm }) => vm));
  for (const record of journal.vms().filter(({ state }) => state === 'staged')) {
    const permit = journal.permit(record.uuid);
    if (permit !== null && !waiting.has(record.uuid))
      await discardIncoming(services, record.uuid, permit.session);
  }
}
