/** What operators and users do in a run. What comes of it is for the invariants to judge, so failures are no news. */
import type { SessionRecord } from '../../lib/ledger/records.ts';
import { Refused } from '../../lib/migration/refused.ts';
import { outcomesOf } from '../../lib/migration/situation.ts';
import type { Outcome } from '../../lib/migration/situation.ts';
import type { Domain, VmTruth } from './domain.ts';
import { Doubles } from './doubles.ts';
import type { SimulatedHost } from './host.ts';
import { migrate } from './migration.ts';
import type { Network } from './network.ts';
import type { Action, WorkKind } from './plan.ts';

/** Those who work in a world: they see all hosts, and state outcomes by what they see. */
export class Operator {
  readonly #network: Network;
  readonly #hosts: readonly SimulatedHost[];
  readonly #vms: readonly VmTruth[];
  /** Migrations that were asked for. */
  attempts = 0;
  /** Outcomes that were stated and taken. */
  resolved = 0;
  /** VMs whose hand-overs were settled by such a word: a *departed* may be missing. */
  readonly settled = new Map<VmTruth, number>();
  readonly #doubles: Doubles;

  constructor(network: Network, hosts: readonly SimulatedHost[], vms: readonly VmTruth[]) {
    this.#network = network;
    this.#hosts = hosts;
    this.#vms = vms;
    this.#doubles = new Doubles(network.kernel, hosts, (host, session, outcome) =>
      this.#state(host, session, outcome),
    );
  }

  act(kind: WorkKind, action: Action): void {
    const host = at(this.#hosts, action.a);
    const vm = at(this.#vms, action.b);
    const there = this.#runs(vm) ?? host;
    if (this.#doubles.inHand.has(vm)) return;
    const others = this.#hosts.filter((one) => one !== there);
    const to = at(others, action.a);
    switch (kind) {
      case 'virsh':
        this.attempts += 1;
        quietly(migrate(this.#network, there.machine, vm.uuid, to.machine, { undefine: action.c < 0.7 }));
        return;
      case 'tvmmp':
        this.attempts += 1;
        quietly(there.depart(vm.uuid, to));
        return;
      case 'evacuate':
        quietly(
          host.evacuate(
            this.#hosts.filter((one) => one !== host),
            1 + Math.floor(action.c * 8),
            (leaving) => !this.#doubles.inHand.has(leaving),
          ),
        );
        return;
      case 'start': {
        const off =
          this.#vms.find((one) => this.#runs(one) === undefined && !this.#doubles.inHand.has(one)) ?? vm;
        const holder = this.#holderOf(off);
        if (holder !== undefined && this.#runs(off) === undefined) quietly(this.start(holder, off));
        return;
      }
      case 'start-elsewhere':
        quietly(host.machine.domains.has(vm.uuid) ? host.machine.start(vm.uuid) : undefined);
        return;
      case 'stop':
        quietly(there.machine.stop(vm.uuid, action.c < 0.5 ? 'destroyed' : 'shutdown'));
        return;
      case 'pause':
        quietly(there.machine.suspend(vm.uuid));
        return;
      case 'resume': {
        const paused =
          this.#vms.find((one) => this.#runs(one)?.machine.domains.get(one.uuid)?.runs === false) ?? vm;
        quietly(this.#runs(paused)?.machine.resume(paused.uuid));
        return;
      }
      case 'save':
        quietly(there.machine.save(vm.uuid));
        return;
      case 'cancel':
        cancel(there.machine.domains.get(vm.uuid));
        return;
      case 'end-double':
        quietly(this.endDouble(this.#vms.find(({ doubled }) => doubled.size > 0) ?? vm, action.c));
        return;
      case 'resolve-keep':
        quietly(this.resolve('keep', action.c));
        return;
      case 'resolve-give-up':
        quietly(this.resolve('give-up', action.c));
        return;
    }
  }

  /** States an outcome for one session that waits for another host, where it is what an operator who looks at all hosts would state. */
  async resolve(outcome: Outcome, which: number): Promise<void> {
    const open = this.#hosts.flatMap((host) =>
      host.agent === null
        ? []
        : host.journal
            .sessions()
            .filter((session) => outcomesOf(session).includes(outcome))
            .map((session) => ({ host, session })),
    );
    const fit = open.filter(({ host, session }) => this.#isTrue(host, session, outcome));
    if (fit.length === 0) return;
    const { host, session } = at(fit, which);
    const vm = this.#vms.find(({ uuid }) => uuid === session.vm);
    if (vm === undefined || this.#doubles.inHand.has(vm)) return;
    await this.#state(host, session, outcome);
  }

  /** `virsh start`, without a saved state where that is an old one. */
  async start({ machine }: SimulatedHost, { uuid }: VmTruth): Promise<void> {
    try {
      await machine.start(uuid);
    } catch (error) {
      if (machine.domains.get(uuid)?.savedVersion === null || !/this (memory|is an old)/.test(String(error)))
        throw error;
      machine.forgetSave(uuid);
      await machine.start(uuid);
    }
  }

  /** At rest: nobody is at anything any more. */
  rest(): void {
    this.#doubles.inHand.clear();
  }

  /** Ends what libvirt has made run twice. */
  async endDouble(vm: VmTruth, choice: number): Promise<void> {
    await this.#doubles.end(vm, choice);
  }

  /** A word that was taken, or may have been: its agent was killed over it. */
  async #state(host: SimulatedHost, session: SessionRecord, outcome: Outcome): Promise<void> {
    const vm = this.#vms.find(({ uuid }) => uuid === session.vm);
    try {
      await host.resolve(session, outcome);
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (vm !== undefined) this.settled.set(vm, (this.settled.get(vm) ?? 0) + 1);
      throw error;
    }
    this.resolved += 1;
    if (vm !== undefined) this.settled.set(vm, (this.settled.get(vm) ?? 0) + 1);
  }

  /** Whether the VM is here (to be kept), or elsewhere and nothing of its newest state here alone (to be given up). */
  #isTrue(host: SimulatedHost, session: SessionRecord, outcome: Outcome): boolean {
    const vm = this.#vms.find(({ uuid }) => uuid === session.vm);
    if (vm === undefined || vm.doubled.size > 0) return false;
    const domainOf = ({ machine }: SimulatedHost): Domain | undefined => machine.domains.get(vm.uuid);
    const newest = ({ machine }: SimulatedHost): boolean => machine.vtpms.get(vm.uuid)?.version === vm.latest;
    const whole = (one: SimulatedHost): boolean => newest(one) && domainOf(one)?.job === null;
    const holds = ({ journal, name }: SimulatedHost): boolean => {
      const record = journal.vm(vm.uuid);
      return record?.holder === name && record.state !== 'departing';
    };
    const elsewhere = this.#hosts.filter((one) => one !== host);
    if (outcome === 'give-up') {
      // What came unseen, and stopped, may be let go where its source has all of it too.
      const unseen = session.role === 'target' && session.state === 'staged';
      const there = elsewhere.some(
        (one) => whole(one) && (domainOf(one)?.alive === true || holds(one) || unseen),
      );
      return there && domainOf(host)?.isActive() !== true;
    }
    if (session.role === 'target' && session.state === 'arrived') {
      const claimed = elsewhere.some(({ journal }) => journal.session(session.id)?.state === 'resolved');
      return !claimed && (!holds(host) || whole(host));
    }
    return whole(host) && !elsewhere.some((one) => domainOf(one)?.isActive() === true || newest(one));
  }

  #runs(vm: VmTruth): SimulatedHost | undefined {
    return this.#hosts.find(({ machine }) => machine.domains.get(vm.uuid)?.isActive() === true);
  }

  #holderOf(vm: VmTruth): SimulatedHost | undefined {
    return this.#hosts.find((host) => {
      const record = host.journal.vm(vm.uuid);
      return record?.holder === host.name && record.sealed !== null;
    });
  }
}

function cancel(domain: Domain | undefined): void {
  if (domain?.job != null) domain.job.cancelled = true;
}

/** One of a list by a number from 0 to 1. */
export function at<T>(from: readonly T[], where: number): T {
  const found = from[Math.min(from.length - 1, Math.floor(where * from.length))];
  if (found === undefined) throw new Error('nothing to choose from');
  return found;
}

function quietly(work: Promise<void> | undefined): void {
  work?.catch(() => undefined);
}
