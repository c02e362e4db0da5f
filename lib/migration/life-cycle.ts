import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { DomainSummary } from '../libvirt/port.ts';
import type { EntryKind } from '../proof/entry.ts';
import type { LifeState } from '../proof/life-cycle.ts';
import { isRolledBack } from './anchor.ts';
import { describeDomain } from './domain.ts';
import { isActive, isRunningHere, lookAt } from './domain-view.ts';
import { forgetSecret } from './incoming.ts';
import { KeyedMutex } from './mutex.ts';
import type { Services } from './services.ts';

/**
 * Keeps the chain true to what libvirt does: compares where libvirt has a VM with where its chain stands, and writes the entries
 * in between. Driven by events and, since events can be missed, by the clock.
 */
export class LifeCycle {
  readonly #services: Services;
  readonly #mutex = new KeyedMutex();

  constructor(services: Services) {
    this.#services = services;
  }

  async reconcileAll(): Promise<void> {
    for (const { uuid } of this.#services.host.journal.vms()) await this.reconcile(uuid);
  }

  /** Brings one VM's chain up to date; a fault is logged and met again at the next look. */
  reconcile(uuid: string): Promise<void> {
    return this.#mutex.run(uuid, async () => {
      try {
        await this.#reconcile(uuid);
      } catch (error) {
        this.#services.host.log.warn(
          { vm: uuid, error: String(error) },
          'the proof could not be brought up to date yet',
        );
      }
    });
  }

  /** A run that is over by the word of libvirt's hook, where the proof does not say so yet. Asks libvirt nothing (DESIGN 6). */
  async hasEnded(uuid: string, as: 'stopped' | 'saved'): Promise<void> {
    const { host, chains } = this.#services;
    const record = this.#ours(uuid);
    if (record === null) return;
    if (record.state !== 'running' && record.state !== 'paused') return;
    try {
      await chains.append(uuid, { kind: as });
    } catch (error) {
      // A look at libvirt may have written the same a moment earlier.
      if (host.journal.vm(uuid)?.state === record.state) throw error;
    }
  }

  async #reconcile(uuid: string): Promise<void> {
    const { host, chains } = this.#services;
    const record = this.#ours(uuid);
    if (record === null) return;
    const domain = await lookAt(host.hypervisor, uuid);
    const now = observed(domain);
    if (now === null) return;
    if (domain !== null) this.#follow(uuid, domain.name);
    for (const kind of missing(record.state, now, domain?.reason === 'booted')) {
      const facts = kind === 'started' ? await this.#facts(uuid) : undefined;
      await chains.append(uuid, { kind, ...(facts === undefined ? {} : { facts }) });
    }
    if (now === 'running' && record.state !== 'running') await forgetSecret(host.hypervisor, record);
    if (domain?.state === 'shutoff' && domain.reason === 'from-snapshot')
      await this.#services.vtpmStates.reverted(uuid);
    if (now === 'running' || now === 'paused') await this.#services.vtpmStates.look(uuid);
  }

  /** The record of a VM whose chain this host continues; not one of which it may not know the end (SPEC 8.8). */
  #ours(uuid: string): VmRecord | null {
    const { journal, identity } = this.#services.host;
    const record = journal.vm(uuid);
    return record === null || !isOurs(record, identity.id.name) || isRolledBack(journal, uuid)
      ? null
      : record;
  }

  /** virsh domrename: the VM is the same, and is asked for by its new name. */
  #follow(uuid: string, name: string): void {
    const { journal } = this.#services.host;
    const record = journal.vm(uuid);
    if (record !== null && record.name !== name) journal.putVm({ ...record, name });
  }

  /** The definition that the VM was started with. */
  async #facts(uuid: string): Promise<Uint8Array | undefined> {
    const { hypervisor, journal } = this.#services.host;
    return describeDomain(await hypervisor.dumpXml(uuid), journal)?.facts;
  }
}

type Observed = Exclude<LifeState, 'departing' | 'destroyed'>;

function isOurs(record: VmRecord, self: string): boolean {
  return isHeldBy(record, self) && record.state !== 'departing';
}

/** Where libvirt has it; null while it is in between. */
function observed(domain: DomainSummary | null): Observed | null {
  if (domain === null) return 'stopped';
  if (!isActive(domain)) return domain.state === 'shutoff' && domain.reason === 'saved' ? 'saved' : 'stopped';
  if (!isRunningHere(domain)) return null;
  return domain.state === 'paused' ? 'paused' : 'running';
}

/**
 * Entries that lead from the chain's state to the observed one (SPEC 2). A saved VM that `booted` has not been restored: its saved
 * state was thrown away before, which libvirt reports by no event.
 */
export function missing(chain: VmRecord['state'], now: Observed, booted = false): readonly EntryKind[] {
  if (chain === now) return [];
  if (chain === 'saved' && booted) return ['stopped', ...missing('stopped', now)];
  const table: Readonly<Record<string, readonly EntryKind[]>> = {
    'stopped>running': ['started'],
    'stopped>paused': ['started', 'suspended'],
    'stopped>saved': ['started', 'saved'],
    'saved>running': ['restored'],
    'saved>paused': ['restored', 'suspended'],
    'saved>stopped': ['stopped'],
    'running>paused': ['suspended'],
    'running>saved': ['saved'],
    'running>stopped': ['stopped'],
    'paused>running': ['resumed'],
    'paused>saved': ['saved'],
    'paused>stopped': ['stopped'],
  };
  return table[`${chain}>${now}`] ?? [];
}
