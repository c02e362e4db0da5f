/** What happens in one run: operators' work and faults, drawn from a seed; then everything works again, and the world must be whole. */
import { randomUUID } from 'node:crypto';
import { makeWorld } from '../support/proof-world.ts';
import type { World } from '../support/proof-world.ts';
import { domainXml } from './domain.ts';
import type { VmTruth } from './domain.ts';
import { SimulatedHost } from './host.ts';
import { checkInstant, checkLedger, checkRest } from './invariants.ts';
import { SharedRows, ledgerPlace } from './ledger.ts';
import { Kernel, randomOf } from './kernel.ts';
import { migrate } from './migration.ts';
import { Network } from './network.ts';
import { Seals } from './tpm.ts';

/** How often each action is drawn. */
const weights = {
  virsh: 9,
  tvmmp: 9,
  start: 5,
  stop: 2,
  pause: 2,
  resume: 2,
  save: 1,
  'start-elsewhere': 1,
  cancel: 2,
  'agent-dies': 3,
  'agent-dies-writing': 6,
  'libvirtd-restarts': 2,
  'power-cut': 1,
  'link-down': 2,
  'link-one-way': 2,
  'messages-lost': 2,
  'message-again': 3,
  'tpm-fails': 2,
  'tpm-slow': 1,
  'disk-full': 2,
  'other-system': 1,
  'clock-steps': 2,
} as const;

export type ActionKind = keyof typeof weights;

/** One thing that happens, this long after the one before; `a`, `b`, `c` are numbers from 0 to 1 that say where and how much. */
export interface Action {
  readonly afterMs: number;
  readonly kind: ActionKind;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** A run that can be had again: the seed of the world, and what happens in it. */
export interface Plan {
  readonly seed: number;
  readonly hosts: number;
  readonly vms: number;
  readonly actions: readonly Action[];
}

export function planOf(seed: number, size: { readonly actions: number }): Plan {
  const random = randomOf(seed ^ 0x5eed);
  const kinds = Object.entries(weights).flatMap(([kind, weight]) =>
    Array<ActionKind>(weight).fill(kind as ActionKind),
  );
  const actions = Array.from({ length: size.actions }, (): Action => {
    const kind = kinds[Math.floor(random() * kinds.length)] ?? 'virsh';
    return {
      afterMs: random() < 0.3 ? random() * 100 : random() * 6_000,
      kind,
      a: random(),
      b: random(),
      c: random(),
    };
  });
  return { seed, hosts: 2 + Math.floor(random() * 2), vms: 1 + Math.floor(random() * 2), actions };
}

/** What a run did. */
export interface Outcome {
  /** Hand-overs that were completed, by the chains. */
  readonly migrations: number;
  /** Migrations that were asked for. */
  readonly attempts: number;
  /** How often libvirt itself ran a guest twice. */
  readonly doubled: number;
  readonly virtualMs: number;
}

export interface Observer {
  /** Called with the hosts before anything happens. */
  readonly sabotage?: (hosts: readonly SimulatedHost[]) => void;
  readonly log?: (host: string, level: string, fields: object, message: string, time: number) => void;
  readonly action?: (action: Action, time: number) => void;
}

let shared: Promise<World> | undefined;

/** Runs a plan. Throws `Violation` when something that must hold does not. */
export async function run(plan: Plan, observer: Observer = {}): Promise<Outcome> {
  shared ??= makeWorld();
  const simulation = new Simulation(plan, await shared, observer);
  return simulation.run();
}

class Simulation {
  readonly #plan: Plan;
  readonly #observer: Observer;
  readonly #kernel: Kernel;
  readonly #network: Network;
  /** Every other world has a ledger that its hosts share. */
  readonly #rows: SharedRows | null;
  readonly #hosts: readonly SimulatedHost[];
  readonly #vms: readonly VmTruth[];
  #attempts = 0;
  #doubled = 0;
  /** Faults end by themselves; at rest no new ones begin. */
  #resting = false;

  constructor(plan: Plan, world: World, observer: Observer) {
    this.#plan = plan;
    this.#observer = observer;
    this.#kernel = new Kernel(plan.seed);
    this.#network = new Network(this.#kernel);
    this.#rows = plan.seed % 2 === 0 ? null : new SharedRows();
    const around = {
      kernel: this.#kernel,
      network: this.#network,
      seals: new Seals(),
      rows: this.#rows,
      world,
      host: (name: string): SimulatedHost => this.#named(name),
      log: (host: string, level: string, fields: object, message: string): void => {
        observer.log?.(host, level, fields, message, this.#kernel.time);
      },
    };
    this.#hosts = [world.alpha, world.beta, world.gamma]
      .slice(0, plan.hosts)
      .map((enrolled) => new SimulatedHost(around, enrolled));
    this.#vms = Array.from({ length: plan.vms }, (_, index) => ({
      uuid: randomUUID(),
      name: `vm${index}`,
      latest: 0,
      doubled: null,
    }));
  }

  async run(): Promise<Outcome> {
    await this.#begin();
    this.#observer.sabotage?.(this.#hosts);
    this.#kernel.afterEach = () => {
      checkInstant(this.#hosts, this.#vms);
    };
    for (const action of this.#plan.actions) {
      await this.#kernel.run(this.#kernel.time + action.afterMs);
      this.#observer.action?.(action, this.#kernel.time);
      this.#act(action);
    }
    await this.#rest();
    const migrations = this.#vms.map((vm) => checkRest(this.#hosts, vm).journal.departures(vm.uuid).length);
    if (this.#rows !== null) checkLedger(this.#hosts, this.#vms, this.#rows);
    for (const vm of this.#vms) await this.#useful(vm);
    for (const host of this.#hosts) {
      host.killAgent();
      host.journal.close();
    }
    return {
      migrations: migrations.reduce((sum, count) => sum + count, 0),
      attempts: this.#attempts,
      doubled: this.#doubled,
      virtualMs: this.#kernel.time,
    };
  }

  /** Hosts are up, VMs are protected on one of them and run there. */
  async #begin(): Promise<void> {
    for (const host of this.#hosts) host.startAgent();
    await this.#kernel.run(this.#kernel.time + 1_000);
    for (const vm of this.#vms) {
      const host = this.#kernel.pick(this.#hosts);
      host.machine.define(vm, domainXml(vm));
      await this.#wait(host.protect(vm.uuid));
      await this.#wait(host.machine.start(vm.uuid));
    }
    await this.#kernel.run(this.#kernel.time + 1_000);
  }

  /** Lets time pass until it is done; its failure is ours. */
  async #wait(work: Promise<void>): Promise<void> {
    const done = { is: false, error: null as unknown };
    work.then(
      () => (done.is = true),
      (error: unknown) => {
        done.is = true;
        done.error = error;
      },
    );
    for (let waited = 0; !done.is && waited < 600; waited += 1)
      await this.#kernel.run(this.#kernel.time + 1_000);
    if (done.error !== null) throw done.error as Error;
    if (!done.is) throw new Error('something that takes moments took ten minutes');
  }

  /** Everything works again, and stays so; operators do what libvirt leaves to them. */
  async #rest(): Promise<void> {
    this.#resting = true;
    this.#network.healAll();
    this.#network.delayMs = 5;
    for (const host of this.#hosts) {
      host.disk.full = false;
      host.disk.endsAfter = null;
      host.tpm.failing = false;
      host.tpm.delayMs = 10;
      host.boot('base');
      if (!host.machine.power.alive) host.machine.powerOn();
      if (!host.machine.libvirtd.alive) host.machine.startLibvirtd();
      host.startAgent();
    }
    await this.#kernel.run(this.#kernel.time + 180_000);
    await this.#mend();
    await this.#kernel.run(this.#kernel.time + 420_000);
  }

  /** Guests that libvirt left paused, or let run twice, in its own recovery. */
  async #mend(): Promise<void> {
    for (const host of this.#hosts) host.startAgent();
    for (const vm of this.#vms) {
      for (const { name, machine } of this.#hosts) {
        const domain = machine.domains.get(vm.uuid);
        if (vm.doubled === name && domain?.isActive() === true) {
          await this.#wait(machine.stop(vm.uuid, 'destroyed'));
        } else if (domain?.running?.reason === 'migration' && domain.job === null) {
          const held = this.#named(name).journal.vm(vm.uuid);
          if (held?.holder === name) await this.#wait(machine.resume(vm.uuid));
        }
      }
      vm.doubled = null;
    }
  }

  /** The VM can be used afterwards: it starts where it is held, and moves. */
  async #useful(vm: VmTruth): Promise<void> {
    const holder = checkRest(this.#hosts, vm);
    const domain = holder.machine.domains.get(vm.uuid);
    if (domain === undefined) throw new Error(`${holder.name} holds ${vm.name} and has no definition of it`);
    if (!domain.isActive()) await this.#wait(holder.machine.start(vm.uuid));
    await this.#kernel.run(this.#kernel.time + 20_000);
    const to = this.#kernel.pick(this.#hosts.filter((host) => host !== holder));
    await this.#wait(migrate(this.#network, holder.machine, vm.uuid, to.machine));
    await this.#kernel.run(this.#kernel.time + 60_000);
    checkInstant(this.#hosts, this.#vms);
    if (checkRest(this.#hosts, vm) !== to)
      throw new Error(`${vm.name} went to ${to.name} and is not held there`);
  }

  #named(name: string): SimulatedHost {
    const host = this.#hosts.find((one) => one.name === name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  /** What an operator or fate does; what comes of it is for the invariants to judge, so failures are no news. */
  #act(action: Action): void {
    const host = at(this.#hosts, action.a);
    const vm = at(this.#vms, action.b);
    const there =
      this.#hosts.find(({ machine }) => machine.domains.get(vm.uuid)?.isActive() === true) ?? host;
    const to = at(
      this.#hosts.filter((one) => one !== there),
      action.a,
    );
    const elsewhere = at(
      this.#hosts.filter((one) => one !== host),
      action.c,
    );
    const span = 200 + action.c * 20_000;
    switch (action.kind) {
      case 'virsh':
        this.#attempts += 1;
        quietly(
          migrate(this.#network, there.machine, vm.uuid, to.machine, { undefine: action.c < 0.7 }),
          () => {
            if (vm.doubled !== null) this.#doubled += 1;
          },
        );
        return;
      case 'tvmmp':
        this.#attempts += 1;
        quietly(there.depart(vm.uuid, to));
        return;
      case 'start':
        quietly(this.#holderOf(vm)?.machine.start(vm.uuid));
        return;
      case 'start-elsewhere':
        quietly(host.machine.domains.has(vm.uuid) ? host.machine.start(vm.uuid) : undefined);
        return;
      case 'stop':
        quietly(there.machine.stop(vm.uuid, action.c < 0.5 ? 'destroyed' : 'shutdown'));
        return;
      case 'pause':
        quietly(there.machine.suspend(vm.uuid));
        return;
      case 'resume':
        quietly(there.machine.resume(vm.uuid));
        return;
      case 'save':
        quietly(there.machine.save(vm.uuid));
        return;
      case 'cancel': {
        const job = there.machine.domains.get(vm.uuid)?.job;
        if (job != null) job.cancelled = true;
        return;
      }
      default:
        this.#fault(action.kind, { host, elsewhere, span, c: action.c });
    }
  }

  #fault(kind: ActionKind, { host, elsewhere, span, c }: Fault): void {
    const { machine, disk, tpm } = host;
    const later = (work: () => void): void => {
      this.#kernel.at(span, () => {
        if (!this.#resting) work();
      });
    };
    const comesBack = (): void => {
      later(() => {
        host.startAgent();
      });
    };
    switch (kind) {
      case 'agent-dies':
        host.killAgent();
        {
          comesBack();
          return;
        }
      case 'agent-dies-writing':
        disk.endsAfter = Math.floor(c * 8);
        disk.endsDone = (c * 8) % 1 < 0.5;
        {
          comesBack();
          return;
        }
      case 'libvirtd-restarts':
        if (!machine.libvirtd.alive) return;
        machine.stopLibvirtd();
        {
          later(() => {
            if (machine.power.alive && !machine.libvirtd.alive) machine.startLibvirtd();
          });
          return;
        }
      case 'power-cut':
        machine.powerOff();
        host.agent = null;
        {
          later(() => {
            if (!machine.power.alive) machine.powerOn();
            host.startAgent();
          });
          return;
        }
      case 'link-down':
      case 'link-one-way':
        this.#network.link(host.name, elsewhere.name, false);
        if (kind === 'link-down') this.#network.link(elsewhere.name, host.name, false);
        this.#network.link(host.name, ledgerPlace, false);
        {
          later(() => {
            this.#network.link(host.name, elsewhere.name, true);
            this.#network.link(elsewhere.name, host.name, true);
            this.#network.link(host.name, ledgerPlace, true);
          });
          return;
        }
      case 'messages-lost':
        this.#network.breakage = 0.3;
        this.#network.delayMs = 200;
        {
          later(() => {
            this.#network.breakage = 0;
            this.#network.delayMs = 5;
          });
          return;
        }
      case 'message-again':
        if (c < 0.5) this.#network.repeat(Math.floor(c * 128));
        else this.#network.forge(Math.floor(c * 128));
        return;
      case 'tpm-fails':
        tpm.failing = true;
        {
          later(() => {
            tpm.failing = false;
          });
          return;
        }
      case 'tpm-slow':
        tpm.delayMs = 1_000;
        {
          later(() => {
            tpm.delayMs = 10;
          });
          return;
        }
      case 'disk-full':
        disk.full = true;
        {
          later(() => {
            disk.full = false;
          });
          return;
        }
      case 'other-system':
        host.boot('another');
        {
          later(() => {
            host.boot('base');
          });
          return;
        }
      case 'clock-steps':
        host.clockOffMs += (c - 0.5) * 600_000;
        return;
      default:
        throw new Error(`${kind} is no fault`);
    }
  }

  #holderOf(vm: VmTruth): SimulatedHost | undefined {
    return this.#hosts.find((host) => {
      const record = host.journal.vm(vm.uuid);
      return record?.holder === host.name && record.sealed !== null;
    });
  }
}

interface Fault {
  readonly host: SimulatedHost;
  readonly elsewhere: SimulatedHost;
  readonly span: number;
  readonly c: number;
}

function at<T>(from: readonly T[], where: number): T {
  const found = from[Math.min(from.length - 1, Math.floor(where * from.length))];
  if (found === undefined) throw new Error('nothing to choose from');
  return found;
}

function quietly(work: Promise<void> | undefined, then: () => void = () => undefined): void {
  work?.catch(then);
}
