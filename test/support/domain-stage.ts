/** Simulated hosts of three domains (test/simulation): what a hand-over between them does, with the shipped agents. */
import { randomUUID } from 'node:crypto';
import { domainOf } from '../../lib/appraisal/domains.ts';
import type { Domain } from '../../lib/appraisal/domains.ts';
import { TvmmpError } from '../../lib/errors.ts';
import type { TenantRequest } from '../../lib/migration/tenant.ts';
import { domainXml } from '../simulation/domain.ts';
import type { VmTruth } from '../simulation/domain.ts';
import { SimulatedHost } from '../simulation/host.ts';
import { Kernel } from '../simulation/kernel.ts';
import { Network } from '../simulation/network.ts';
import { untilDone } from '../simulation/stage.ts';
import { Seals } from '../simulation/tpm.ts';
import type { World, WorldHost, WorldPolicy } from './proof-world.ts';
import { makeDomains } from './two-domains.ts';
import type { Domains } from './two-domains.ts';

let shared: Promise<Domains> | undefined;

/** Alpha and beta are hosts of acme, gamma and delta of partner (delta with level 3), theta of third. */
export class DomainStage {
  readonly kernel = new Kernel(1);
  readonly network = new Network(this.kernel, true);
  readonly domains: Domains;
  readonly alpha: SimulatedHost;
  readonly beta: SimulatedHost;
  readonly gamma: SimulatedHost;
  readonly delta: SimulatedHost;
  readonly theta: SimulatedHost;
  /** The policy in force at all hosts of a domain. */
  readonly #policies = new Map<World, WorldPolicy>();
  readonly #worlds = new Map<string, World>();
  readonly #seals = new Seals();

  private constructor(domains: Domains, enrolled: readonly [WorldHost, WorldHost]) {
    this.domains = domains;
    const { acme, partner, third } = domains;
    this.alpha = this.#host(acme, acme.alpha);
    this.beta = this.#host(acme, acme.beta);
    this.gamma = this.#host(partner, partner.gamma);
    this.delta = this.#host(partner, enrolled[0]);
    this.theta = this.#host(third, enrolled[1]);
    this.network.domainSeen = (own, peer) => this.#seen(own, peer);
  }

  static async open(): Promise<DomainStage> {
    shared ??= makeDomains();
    const domains = await shared;
    const delta = await domains.partner.enrol('delta.test', { attributes: new Map([['level', 3]]) });
    const stage = new DomainStage(domains, [delta, await domains.third.enrol('theta.test')]);
    for (const host of stage.#all) host.startAgent();
    await stage.pass(1_000);
    return stage;
  }

  close(): void {
    for (const host of this.#all) {
      host.killAgent();
      host.journal.close();
    }
  }

  get #all(): readonly SimulatedHost[] {
    return [this.alpha, this.beta, this.gamma, this.delta, this.theta];
  }

  #host(world: World, enrolled: WorldHost): SimulatedHost {
    const { kernel, network } = this;
    const host = (name: string): SimulatedHost => {
      const found = this.#all.find((one) => one.name === name);
      if (found === undefined) throw new Error(`no host ${name}`);
      return found;
    };
    const around = { kernel, network, seals: this.#seals, world, rows: null, thorough: true, host };
    const made = new SimulatedHost({ ...around, log: () => undefined }, enrolled);
    this.#worlds.set(made.name, world);
    made.alter = (shipped) => ({
      ...shipped,
      policy: () => {
        const { policy, text } = this.policyOf(world);
        return { policy, envelope: text };
      },
    });
    return made;
  }

  policyOf(world: World): WorldPolicy {
    return this.#policies.get(world) ?? world.policy;
  }

  /** Acme's next policy, with these other domains; none: without the member. */
  acmeNames(others: readonly Domain[], version = 4): void {
    const { acme } = this.domains;
    const change = others.length === 0 ? {} : { domains: { self: 'acme', others } };
    this.#policies.set(acme, acme.signPolicy({ version, ...change }));
  }

  /** As agents do it with TLS: whose root the policy in force names is believed. */
  #seen(own: string, peer: string): { readonly name: string; readonly root: Uint8Array } | null {
    const [here, there] = [this.#worlds.get(own), this.#worlds.get(peer)];
    if (here === undefined || there === undefined) throw new Error(`no host ${own} or ${peer}`);
    if (here === there) return null;
    const root = there.authority.root.digest;
    const named = domainOf(this.policyOf(here).policy.domains, root);
    if (named === null)
      throw new TvmmpError('peer-untrusted', `${own} does not know the authority of ${peer}`);
    return { name: named.name, root };
  }

  async pass(spanMs: number): Promise<void> {
    await this.kernel.run(this.kernel.time + spanMs);
  }

  /** Lets time pass until it is done, ten minutes at most. */
  until<T>(work: Promise<T>): Promise<T> {
    return untilDone(work, () => this.pass(100));
  }

  /** A VM that is protected at a host and runs there. */
  async vm(at: SimulatedHost, tenant?: (uuid: string) => TenantRequest): Promise<VmTruth> {
    const vm: VmTruth = { uuid: randomUUID(), name: 'vm', latest: 0, doubled: new Set() };
    at.machine.define(vm, domainXml(vm));
    await this.until(at.protect(vm.uuid, tenant?.(vm.uuid)));
    await this.until(at.machine.start(vm.uuid));
    await this.pass(2_000);
    return vm;
  }

  /** `tvmmp migrate`, and what follows it. */
  async move(vm: VmTruth, from: SimulatedHost, to: SimulatedHost): Promise<void> {
    await this.until(from.depart(vm.uuid, to));
    await this.pass(20_000);
  }

  /** State and holder by a host's journal. */
  standing(host: SimulatedHost, vm: VmTruth): string {
    const record = host.journal.vm(vm.uuid);
    return record === null ? 'unknown' : `${record.state} at ${record.holder}`;
  }

  /** Bytes of the VM's proof as a host exports it. */
  proof(host: SimulatedHost, vm: VmTruth): Uint8Array {
    if (host.agent === null) throw new Error('no agent');
    return host.agent.services.chains.proof(vm.uuid);
  }

  refusal(host: SimulatedHost): string {
    return host.journal.refusals(1)[0]?.reason ?? '';
  }
}
