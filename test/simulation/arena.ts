/** A simulated world before anything happens in it: hosts, their agents, and VMs that run on them. Tests of one thing have `stage.ts`. */
import { randomUUID } from 'node:crypto';
import { makeWorld } from '../support/proof-world.ts';
import type { World, WorldHost } from '../support/proof-world.ts';
import { domainXml } from './domain.ts';
import type { VmTruth } from './domain.ts';
import { SimulatedHost } from './host.ts';
import { Kernel } from './kernel.ts';
import { SharedRows } from './ledger.ts';
import { Network } from './network.ts';
import { simulateKey, standIn } from './stand-in.ts';
import { Seals } from './tpm.ts';

/** What a world is made from. */
export interface Size {
  readonly seed: number;
  readonly hosts: number;
  readonly vms: number;
}

/** Hears what the agents log. */
export type Listen = (host: string, level: string, fields: object, message: string, time: number) => void;

interface Cast {
  readonly world: World;
  readonly hosts: readonly WorldHost[];
}

let shared: Promise<Cast> | undefined;

/** An authority and five hosts: the same for all runs of a process. */
async function makeCast(): Promise<Cast> {
  const world = await makeWorld();
  const more = [await world.enrol('delta.test'), await world.enrol('epsilon.test')];
  const hosts = [world.alpha, world.beta, world.gamma, ...more];
  for (const { tpm } of hosts) simulateKey(tpm.akKey);
  return { world, hosts };
}

/** One seed in so many runs with the shipped journal (SQLite) and codec (CBOR) too: four fifths of the time would be theirs. */
const thoroughEach = 8;

export class Arena {
  readonly world: World;
  readonly kernel: Kernel;
  readonly network: Network;
  readonly hosts: readonly SimulatedHost[];
  readonly vms: readonly VmTruth[];
  /** Every other world has a ledger that its hosts share. */
  readonly rows: SharedRows | null;

  private constructor({ world, hosts }: Cast, size: Size, listen: Listen) {
    this.world = world;
    this.kernel = new Kernel(size.seed);
    const thorough = size.seed % thoroughEach === 0;
    this.network = new Network(this.kernel, thorough);
    this.rows = size.seed % 2 === 0 ? null : new SharedRows();
    const around = {
      kernel: this.kernel,
      network: this.network,
      seals: new Seals(),
      world,
      rows: this.rows,
      thorough,
      host: (name: string): SimulatedHost => this.named(name),
      log: (host: string, level: string, fields: object, message: string): void => {
        listen(host, level, fields, message, this.kernel.time);
      },
    };
    this.hosts = hosts.slice(0, size.hosts).map((enrolled) => new SimulatedHost(around, enrolled));
    this.vms = Array.from({ length: size.vms }, (_, index) => ({
      uuid: randomUUID(),
      name: `vm${index}`,
      latest: 0,
      doubled: new Set(),
    }));
  }

  /** Sets a world up, lets `play` happen in it, and clears it away. */
  static async play<T>(
    size: Size,
    play: (arena: Arena) => Promise<T>,
    listen: Listen = () => undefined,
  ): Promise<T> {
    shared ??= makeCast();
    const cast = await shared;
    const restore = standIn(size.seed);
    try {
      const arena = new Arena(cast, size, listen);
      await arena.#begin();
      const result = await play(arena);
      for (const host of arena.hosts) {
        host.killAgent();
        host.journal.close();
      }
      return result;
    } finally {
      restore();
    }
  }

  /** Hosts are up, VMs are protected on one of them and run there. */
  async #begin(): Promise<void> {
    for (const host of this.hosts) host.startAgent();
    await this.kernel.run(this.kernel.time + 1_000);
    for (const vm of this.vms) {
      const host = this.kernel.pick(this.hosts);
      host.machine.define(vm, domainXml(vm));
      await this.wait(host.protect(vm.uuid));
      await this.wait(host.machine.start(vm.uuid));
    }
    await this.kernel.run(this.kernel.time + 1_000);
  }

  /** Lets time pass until it is done; its failure is ours. */
  async wait(work: Promise<void>): Promise<void> {
    const done = { is: false, error: null as unknown };
    work.then(
      () => (done.is = true),
      (error: unknown) => {
        done.is = true;
        done.error = error;
      },
    );
    for (let waited = 0; !done.is && waited < 6_000; waited += 1)
      await this.kernel.run(this.kernel.time + 100);
    if (done.error !== null) throw done.error as Error;
    if (!done.is) throw new Error('something that takes moments took ten minutes');
  }

  named(name: string): SimulatedHost {
    const host = this.hosts.find((one) => one.name === name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }
}
