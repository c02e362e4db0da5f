/**
 * libvirt lost the answer of its last phase, and a guest runs at two hosts: libvirt's own mistake, which an operator has to end. Most end the source's
 * copy. Some keep it instead, and give the other one up; some keep it first and think better of it: both hosts then say that they have the VM (SPEC 6.9).
 */
import type { SessionRecord } from '../../lib/ledger/records.ts';
import { isConflict } from '../../lib/migration/situation.ts';
import type { Outcome } from '../../lib/migration/situation.ts';
import type { Domain, VmTruth } from './domain.ts';
import type { SimulatedHost } from './host.ts';
import type { AnyJournal } from './journal.ts';
import type { Kernel } from './kernel.ts';

/** States an outcome at a host. Throws what `tvmmp migration resolve` would say. */
export type State = (host: SimulatedHost, session: SessionRecord, outcome: Outcome) => Promise<void>;

/** A hand-over whose VM runs at both ends, as somebody sees it who looks at both. */
interface Double {
  readonly vm: VmTruth;
  readonly source: SimulatedHost;
  readonly target: SimulatedHost;
  readonly session: Uint8Array;
}

export class Doubles {
  readonly #kernel: Kernel;
  readonly #hosts: readonly SimulatedHost[];
  readonly #state: State;
  /** VMs that an operator is at: others leave them alone, also where two hosts are left to believe that they have it. */
  readonly inHand = new Set<VmTruth>();

  constructor(kernel: Kernel, hosts: readonly SimulatedHost[], state: State) {
    this.#kernel = kernel;
    this.#hosts = hosts;
    this.#state = state;
  }

  /** Ends what runs twice, one way or another by `choice` (0 to 1); at the end there is one copy, unless libvirt was away. */
  async end(vm: VmTruth, choice: number): Promise<void> {
    if (vm.doubled.size === 0 || this.inHand.has(vm)) return;
    this.inHand.add(vm);
    try {
      const double = this.#find(vm);
      if (double !== null && choice < 0.3) await this.#keepAtSource(double);
      else if (double !== null && choice < 0.6) await this.#thinkBetter(double);
    } finally {
      await this.#endCopies(vm).catch(() => undefined);
      if (this.#hosts.filter((host) => claims(host, vm)).length <= 1) this.inHand.delete(vm);
    }
  }

  /** The target's copy is ended and given up; what the source's has done since is the truth from now on. */
  async #keepAtSource({ vm, source, target, session }: Double): Promise<void> {
    await target.machine.stop(vm.uuid, 'destroyed');
    await this.#state(source, recordOf(source, session), 'keep');
    if (recordOf(source, session).state !== 'resolved' || !runs(source, vm)) return;
    vm.doubled.delete(source.name);
    vm.latest += 1;
    const { running } = source.machine.need(vm.uuid);
    if (running !== null) running.version = vm.latest;
    const state = source.machine.vtpms.get(vm.uuid);
    if (state !== undefined) state.version = vm.latest;
    await this.#conflict(target, session);
    await this.#state(target, recordOf(target, session), 'give-up');
    await this.#state(source, recordOf(source, session), 'keep');
  }

  /** The source's copy is kept by word, and given up when the other host says that it has the VM. */
  async #thinkBetter({ vm, source, session }: Double): Promise<void> {
    await this.#state(source, recordOf(source, session), 'keep');
    await this.#conflict(source, session);
    await this.#endCopies(vm);
    await this.#kernel.sleep(2_000);
    await this.#state(source, recordOf(source, session), 'give-up');
  }

  /** Ends the copies that should not be. */
  async #endCopies(vm: VmTruth): Promise<void> {
    for (const { name, machine } of this.#hosts)
      if (vm.doubled.has(name)) await machine.stop(vm.uuid, 'destroyed');
  }

  /** Until a host knows that both have it; a minute at most. */
  async #conflict(host: SimulatedHost, session: Uint8Array): Promise<void> {
    for (let waited = 0; waited < 60 && !isConflict(recordOf(host, session)); waited += 1)
      await this.#kernel.sleep(1_000);
  }

  /** Null where more is under way with it than one hand-over. */
  #find(vm: VmTruth): Double | null {
    const source = this.#hosts.find(({ name }) => vm.doubled.has(name));
    const target = this.#hosts.find((host) => host !== source && runs(host, vm));
    // The newest one: it has not gone on from there since.
    const [session] = target?.journal.sessions(vm.uuid) ?? [];
    if (source === undefined || target === undefined) return null;
    if (session?.role !== 'target' || session.state !== 'arrived') return null;
    if (source.journal.session(session.id)?.role !== 'source') return null;
    if (source.agent === null || target.agent === null) return null;
    const record = target.journal.vm(vm.uuid);
    const idle = [source, target].every((host) => domainOf(host, vm)?.job === null);
    const held = record?.holder === target.name && record.state === 'running';
    return idle && held && runs(source, vm) ? { vm, source, target, session: session.id } : null;
  }
}

function domainOf({ machine }: SimulatedHost, vm: VmTruth): Domain | undefined {
  return machine.domains.get(vm.uuid);
}

function runs(host: SimulatedHost, vm: VmTruth): boolean {
  return domainOf(host, vm)?.isActive() === true;
}

function claims({ journal, name }: SimulatedHost, vm: VmTruth): boolean {
  const record = journal.vm(vm.uuid);
  if (record?.holder !== name) return false;
  return (
    record.state !== 'departing' || journal.sessions(vm.uuid).some((session) => isKept(journal, session))
  );
}

/** Whether an administrator has kept it by a word that is still to be signed: *resolved* may come any time. */
function isKept(journal: AnyJournal, { id, role, state }: SessionRecord): boolean {
  const isOpen = role === 'source' && ['offered', 'staged', 'aborting'].includes(state);
  return isOpen && journal.sessionSteps(id).some(({ note }) => note === 'an administrator resolves it: keep');
}

function recordOf({ journal, name }: SimulatedHost, session: Uint8Array): SessionRecord {
  const record = journal.session(session);
  if (record === null) throw new Error(`${name} has no such session`);
  return record;
}
