/** Three simulated hosts for tests of one thing at a time: what happens next is for the test to say, and time is virtual. */
import { randomUUID } from 'node:crypto';
import { H } from '../../lib/encoding/hash.ts';
import { canonicalFacts } from '../../lib/libvirt/canonical-facts.ts';
import { facts as factsOf } from '../../lib/libvirt/facts.ts';
import type { Host } from '../../lib/migration/host.ts';
import type { TenantRequest } from '../../lib/migration/tenant.ts';
import type { VmRecord } from '../../lib/ledger/records.ts';
import { makeWorld } from '../support/proof-world.ts';
import type { World } from '../support/proof-world.ts';
import { domainXml } from './domain.ts';
import type { VmTruth } from './domain.ts';
import { SimulatedHost } from './host.ts';
import { Kernel } from './kernel.ts';
import { migrate } from './migration.ts';
import { Network } from './network.ts';
import { Seals } from './tpm.ts';

/** One line of an agent's log. */
interface Logged {
  readonly host: string;
  readonly level: string;
  readonly text: string;
}

let shared: Promise<World> | undefined;

/** Opens a stage before each test of the suite that calls this, hands it over, and closes it after the test. */
export function stageBeforeEach(
  setUp: (stage: Stage) => Promise<void> | void,
  alter: Parameters<typeof Stage.open>[0] = {},
): void {
  let stage: Stage | undefined;
  beforeEach(async () => {
    stage = await Stage.open(alter);
    await setUp(stage);
  });
  afterEach(() => {
    stage?.close();
  });
}

/** See the head of this file. Alpha and beta have agents; gamma has none until a test starts it. */
export class Stage {
  readonly kernel = new Kernel(1);
  readonly network = new Network(this.kernel, true);
  readonly seals = new Seals();
  readonly world: World;
  readonly alpha: SimulatedHost;
  readonly beta: SimulatedHost;
  readonly gamma: SimulatedHost;
  readonly logged: Logged[] = [];

  private constructor(world: World) {
    this.world = world;
    const { kernel, network, seals } = this;
    const log = (host: string, level: string, fields: object, message: string): void => {
      this.logged.push({ host, level, text: `${message} ${JSON.stringify(fields)}` });
    };
    const host = (name: string): SimulatedHost => this.named(name);
    const around = { kernel, network, seals, world, rows: null, thorough: true, log, host };
    this.alpha = new SimulatedHost(around, world.alpha);
    this.beta = new SimulatedHost(around, world.beta);
    this.gamma = new SimulatedHost(around, world.gamma);
  }

  /** Hosts whose agents run. What a host has otherwise than others is said by `alter`. */
  static async open(
    alter: Readonly<Partial<Record<'alpha' | 'beta' | 'gamma', (host: Host) => Host>>> = {},
  ): Promise<Stage> {
    shared ??= makeWorld();
    const stage = new Stage(await shared);
    for (const name of ['alpha', 'beta', 'gamma'] as const) {
      const change = alter[name];
      if (change !== undefined) stage[name].alter = change;
    }
    for (const host of [stage.alpha, stage.beta]) {
      host.boot('base');
      host.startAgent();
    }
    await stage.pass(1_000);
    return stage;
  }

  close(): void {
    for (const host of [this.alpha, this.beta, this.gamma]) {
      host.killAgent();
      host.journal.close();
    }
  }

  named(name: string): SimulatedHost {
    const host = [this.alpha, this.beta, this.gamma].find((one) => one.name === name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  /** Lets time pass. */
  async pass(spanMs: number): Promise<void> {
    await this.kernel.run(this.kernel.time + spanMs);
  }

  /** Lets time pass until it is done, ten minutes at most. */
  until<T>(work: Promise<T>): Promise<T> {
    return untilDone(work, () => this.pass(100));
  }

  /** A VM that is protected at a host, with a tenant where one is said, and runs there unless said otherwise. */
  async vm(
    at: SimulatedHost,
    { started = true, tenant }: { started?: boolean; tenant?: (uuid: string) => TenantRequest } = {},
  ): Promise<VmTruth> {
    const vm: VmTruth = { uuid: randomUUID(), name: 'vm', latest: 0, doubled: new Set() };
    at.machine.define(vm, domainXml(vm));
    await this.until(at.protect(vm.uuid, tenant?.(vm.uuid)));
    if (started) await this.until(at.machine.start(vm.uuid));
    await this.pass(2_000);
    return vm;
  }

  /** `virsh migrate`. */
  async virsh(vm: VmTruth, from: SimulatedHost, to: SimulatedHost, undefine = true): Promise<void> {
    await this.until(migrate(this.network, from.machine, vm.uuid, to.machine, { undefine }));
    await this.pass(20_000);
  }

  /** What a host's journal says of a VM. */
  record(host: SimulatedHost, vm: VmTruth): VmRecord {
    const record = host.journal.vm(vm.uuid);
    if (record === null) throw new Error(`${host.name} has no record of ${vm.name}`);
    return record;
  }

  /** The reason of a host's last refusal. */
  refusal(host: SimulatedHost): string {
    return host.journal.refusals(1)[0]?.reason ?? '';
  }

  /** Whether a host's agent has logged this. */
  hasLogged(host: SimulatedHost, pattern: RegExp): boolean {
    return this.logged.some((line) => line.host === host.name && pattern.test(line.text));
  }
}

/** H("tvmmp/facts/1", canonical facts) of a definition. */
export function factsHash(xml: string): Uint8Array {
  return H('tvmmp/facts/1', canonicalFacts(factsOf(xml)));
}

/** Lets a little time pass again and again until it is done: 6,000 times at most. */
export async function untilDone<T>(work: Promise<T>, pass: () => Promise<void>): Promise<T> {
  const state = { done: false };
  const settle = (): void => {
    state.done = true;
  };
  work.then(settle, settle);
  for (let waited = 0; !state.done && waited < 6_000; waited += 1) await pass();
  if (!state.done) throw new Error('something that takes moments took ten minutes');
  return work;
}
