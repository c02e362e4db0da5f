/** One run: operators' work and faults from a plan; then everything works again, and the world must be whole. */
import { Arena } from './arena.ts';
import { isConflict } from '../../lib/migration/situation.ts';
import type { VmTruth } from './domain.ts';
import { Fate } from './faults.ts';
import type { SimulatedHost } from './host.ts';
import { checkInstant, checkLedger, checkRest } from './invariants.ts';
import type { Kernel } from './kernel.ts';
import { migrate } from './migration.ts';
import type { Network } from './network.ts';
import { Operator } from './operator.ts';
import { isFault } from './plan.ts';
import type { Action, Plan } from './plan.ts';

/** What a run did. */
export interface Outcome {
  /** Hand-overs that were completed, by the chains. */
  readonly migrations: number;
  /** Migrations that were asked for. */
  readonly attempts: number;
  /** How often libvirt itself ran a guest twice. */
  readonly doubled: number;
  /** Outcomes that an administrator stated. */
  readonly resolved: number;
  /** Events; the invariants were checked after each. */
  readonly steps: number;
  readonly virtualMs: number;
}

export interface Observer {
  /** Called with the hosts before anything happens. */
  readonly sabotage?: (hosts: readonly SimulatedHost[]) => void;
  readonly log?: (host: string, level: string, fields: object, message: string, time: number) => void;
  readonly action?: (action: Action, time: number) => void;
}

/** VMs that leave together at the end: hosts take no more than so many at once (SPEC 11). */
const togetherMax = 8;

/** Runs a plan. Throws `Violation` when something that must hold does not. */
export async function run(plan: Plan, observer: Observer = {}): Promise<Outcome> {
  return Arena.play(plan, (arena) => new Simulation(plan, arena, observer).run(), observer.log);
}

class Simulation {
  readonly #plan: Plan;
  readonly #arena: Arena;
  readonly #observer: Observer;
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #hosts: readonly SimulatedHost[];
  readonly #vms: readonly VmTruth[];
  readonly #operator: Operator;
  readonly #fate: Fate;
  /** Where each VM went at the end. */
  readonly #went = new Map<VmTruth, SimulatedHost>();

  constructor(plan: Plan, arena: Arena, observer: Observer) {
    this.#plan = plan;
    this.#arena = arena;
    this.#observer = observer;
    this.#kernel = arena.kernel;
    this.#network = arena.network;
    this.#hosts = arena.hosts;
    this.#vms = arena.vms;
    this.#operator = new Operator(arena.network, arena.hosts, arena.vms);
    this.#fate = new Fate(arena.kernel, arena.network, arena.hosts, arena.world);
  }

  async run(): Promise<Outcome> {
    this.#observer.sabotage?.(this.#hosts);
    this.#kernel.afterEach = () => {
      checkInstant(this.#hosts, this.#vms);
    };
    for (const action of this.#plan.actions) {
      await this.#kernel.run(this.#kernel.time + action.afterMs);
      this.#observer.action?.(action, this.#kernel.time);
      if (isFault(action.kind)) this.#fate.strike(action.kind, action);
      else this.#operator.act(action.kind, action);
    }
    await this.#rest();
    await this.#useful(this.#check());
    const holders = this.#check();
    for (const [vm, to] of this.#went)
      if (holders.get(vm) !== to) throw new Error(`${vm.name} went to ${to.name} and is not held there`);
    const migrations = this.#vms.map((vm) =>
      Math.max(...this.#hosts.map(({ journal }) => journal.vm(vm.uuid)?.epoch ?? 0)),
    );
    const { attempts, resolved } = this.#operator;
    return {
      migrations: migrations.reduce((sum, count) => sum + count, 0),
      attempts,
      doubled: this.#network.doublings,
      resolved,
      steps: this.#kernel.steps,
      virtualMs: this.#kernel.time,
    };
  }

  /** Everything works again; operators do what libvirt and the protocol leave to them. Ten minutes must be enough. */
  async #rest(): Promise<void> {
    this.#fate.rest();
    this.#operator.rest();
    await this.#until(() => this.#settled(), 180);
    await this.#mend();
    await this.#until(() => this.#settled(), 420);
    if (this.#operator.settled.size > 0 || this.#network.doublings > 0) {
      for (const outcome of ['give-up', 'keep', 'give-up'] as const)
        for (let turn = 0; turn < 8 && !this.#settled(); turn += 1)
          await this.#arena.wait(this.#operator.resolve(outcome, turn / 8).catch(() => undefined));
      await this.#until(() => this.#settled(), 300);
    }
    await this.#kernel.run(this.#kernel.time + 20_000);
  }

  async #until(fine: () => boolean, secondsMax: number): Promise<void> {
    for (let waited = 0; waited < secondsMax; waited += 10) {
      await this.#kernel.run(this.#kernel.time + 10_000);
      if (fine()) return;
    }
  }

  /** Whether nothing is under way any more. */
  #settled(): boolean {
    return this.#hosts.every(
      ({ journal, machine }) =>
        journal.unfinishedSessions().length === 0 &&
        !journal.sessions().some(isConflict) &&
        journal.vms().every(({ state }) => state !== 'staged') &&
        [...machine.domains.values()].every(({ job, running }) => job === null && running?.incoming !== true),
    );
  }

  /** Guests that libvirt left paused, or let run twice, in its own recovery. */
  async #mend(): Promise<void> {
    for (const host of this.#hosts) host.startAgent();
    for (const vm of this.#vms) {
      for (const { name, machine, journal } of this.#hosts) {
        const domain = machine.domains.get(vm.uuid);
        if (vm.doubled.has(name) && domain?.isActive() === true) {
          await this.#arena.wait(machine.stop(vm.uuid, 'destroyed'));
        } else if (domain?.running?.reason === 'migration' && domain.job === null) {
          if (journal.vm(vm.uuid)?.holder === name) await this.#arena.wait(machine.resume(vm.uuid));
        }
      }
    }
  }

  /** The VMs can be used afterwards: each starts where it is held, and moves. */
  async #useful(holders: ReadonlyMap<VmTruth, SimulatedHost>): Promise<void> {
    for (const [vm, holder] of holders) {
      const domain = holder.machine.domains.get(vm.uuid);
      if (domain === undefined)
        throw new Error(`${holder.name} holds ${vm.name} and has no definition of it`);
      if (!domain.isActive()) await this.#arena.wait(this.#operator.start(holder, vm));
    }
    await this.#kernel.run(this.#kernel.time + 12_000);
    const leaving = [...holders];
    while (leaving.length > 0) {
      const moves = leaving.splice(0, togetherMax).map(([vm, { machine }]) => {
        const to = this.#kernel.pick(this.#hosts.filter((host) => host.machine !== machine));
        this.#went.set(vm, to);
        return migrate(this.#network, machine, vm.uuid, to.machine);
      });
      await this.#arena.wait(Promise.all(moves).then(() => undefined));
    }
    await this.#kernel.run(this.#kernel.time + 12_000);
  }

  /** What must hold at rest; gives who holds each VM. */
  #check(): ReadonlyMap<VmTruth, SimulatedHost> {
    const { rows } = this.#arena;
    const holders = new Map(
      this.#vms.map((vm) => [vm, checkRest(this.#hosts, vm, this.#operator.settled.get(vm) ?? 0)]),
    );
    if (rows !== null) checkLedger(this.#hosts, holders, rows);
    return holders;
  }
}
