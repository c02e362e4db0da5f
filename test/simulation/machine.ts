/** One host without its agent: power, disk, libvirtd with its QEMUs, secrets, hooks. Fakes of what the shipped code runs on. */
import type { HookCall, HookHandler } from '../../lib/agent/hook-server.ts';
import { TvmmpError } from '../../lib/errors.ts';
import { limits } from '../../lib/limits.ts';
import type { HypervisorEvent, SecretDescription } from '../../lib/libvirt/port.ts';
import type { DomainEventDetail, DomainEventName, DomainStateReason } from '../../lib/libvirt/words.ts';
import { Domain } from './domain.ts';
import type { VmTruth } from './domain.ts';
import type { Kernel } from './kernel.ts';
import { Life } from './kernel.ts';

/** vTPM state on disk: which one, and the key that it is encrypted with. */
export interface VtpmState {
  version: number;
  /** When swtpm wrote it: under another IV each time, so that no two files are alike. */
  written?: number;
  readonly key: string | null;
  /** Public area of its endorsement key: that of the host of its birth, by which it is told from others. */
  endorsement?: Uint8Array;
}

/** The agent as libvirt's hook finds it. */
export interface HookPoint {
  readonly life: Life;
  readonly handler: HookHandler;
}

export interface Secret extends SecretDescription {
  value: string | null;
}

/** Gates; the other hooks only tell what has happened. */
const gates = new Set(['migrate', 'prepare', 'restore']);

export class Machine {
  readonly kernel: Kernel;
  readonly name: string;
  readonly vtpms = new Map<string, VtpmState>();
  readonly domains = new Map<string, Domain>();
  readonly secrets = new Map<string, Secret>();
  readonly marks = new Set<string>();
  readonly listeners = new Set<(event: HypervisorEvent) => void>();
  power: Life;
  libvirtd: Life;
  hooks: HookPoint | null = null;
  /** For tests of the simulation itself: neither hook nor key keep anything from starting. */
  unlocked = false;
  #nextId = 1;

  constructor(kernel: Kernel, name: string) {
    this.kernel = kernel;
    this.name = name;
    this.power = new Life(kernel);
    this.libvirtd = new Life(kernel);
  }

  isUp(): boolean {
    return this.power.alive && this.libvirtd.alive;
  }

  // What fails

  /** All processes end; the disk stays. */
  powerOff(): void {
    this.power.end();
    this.libvirtd.end();
    for (const domain of this.domains.values()) this.#die(domain, 'crashed');
    this.secrets.clear();
    this.listeners.clear();
  }

  powerOn(): void {
    this.power = new Life(this.kernel);
    this.libvirtd = new Life(this.kernel);
    this.#forgetTransient();
  }

  /** libvirtd ends; its guests run on, without it. */
  stopLibvirtd(): void {
    this.libvirtd.end();
    this.emit({ kind: 'disconnected', reason: 'libvirtd is gone' });
    this.secrets.clear();
  }

  /** libvirtd takes its guests up again: what came in is ended, what was leaving and could not have arrived runs on. */
  startLibvirtd(): void {
    this.libvirtd = new Life(this.kernel);
    for (const domain of this.domains.values()) {
      domain.job = null;
      domain.lock = Promise.resolve();
      if (domain.running?.incoming === true) this.#die(domain, 'failed');
    }
    this.#forgetTransient();
    this.emit({ kind: 'reconnected' });
  }

  /** What has no definition on disk is known to no libvirtd that did not see its QEMU end. */
  #forgetTransient(): void {
    for (const [uuid, domain] of this.domains)
      if (!domain.persistent && !domain.isActive()) this.domains.delete(uuid);
  }

  // Guests

  define(vm: VmTruth, base: string): Domain {
    const known = this.domains.get(vm.uuid);
    if (known !== undefined) {
      known.base = base;
      known.persistent = true;
      return known;
    }
    const domain = new Domain(vm, base);
    this.domains.set(vm.uuid, domain);
    return domain;
  }

  need(uuid: string): Domain {
    const domain = this.domains.get(uuid) ?? [...this.domains.values()].find(({ vm }) => vm.name === uuid);
    if (domain === undefined) throw new TvmmpError('domain-not-found', `no domain ${uuid}`);
    return domain;
  }

  /** What runs writes: a newer state of the vTPM, in swtpm and on disk at once. */
  work(domain: Domain): void {
    const { running, vm } = domain;
    if (running?.state !== 'running' || running.incoming || vm.doubled.has(this.name)) return;
    vm.latest += 1;
    running.version = vm.latest;
    const state = this.vtpms.get(vm.uuid);
    if (state !== undefined) Object.assign(state, { version: vm.latest, written: this.kernel.steps });
  }

  /** As `virsh start`: boots, or restores what was saved. Throws what libvirt would say. */
  async start(uuid: string): Promise<void> {
    const domain = this.need(uuid);
    const release = await this.locked(domain);
    try {
      if (domain.isActive()) throw failed('domain is already running');
      const restores = domain.savedVersion !== null;
      if (restores) await this.hook(domain, 'restore', 'begin', domain.savedMetadata);
      await this.hook(domain, 'prepare', 'begin', restores ? domain.savedMetadata : domain.metadata);
      this.#requireKey(domain);
      await this.pause(2, 20);
      if (domain.isActive()) throw failed('domain is already running');
      // libvirt makes a new vTPM where there is none.
      const state = this.vtpms.get(uuid) ?? { version: -1, key: null };
      this.vtpms.set(uuid, state);
      domain.running = {
        state: 'running',
        reason: restores ? 'restored' : 'booted',
        id: this.#nextId++,
        version: state.version,
        incoming: false,
        metadata: restores ? domain.savedMetadata : domain.metadata,
      };
      domain.savedVersion = null;
      await this.hook(domain, 'started');
      this.lifecycle(domain, 'started', restores ? 'restored' : 'booted');
    } finally {
      release();
    }
  }

  /** Ends it: by its user, or by its own shutdown. */
  async stop(uuid: string, reason: 'destroyed' | 'shutdown'): Promise<void> {
    const domain = this.need(uuid);
    await this.pause(1, 5);
    if (!domain.isActive()) throw failed('domain is not running');
    this.work(domain);
    this.#die(domain, reason);
  }

  async suspend(uuid: string): Promise<void> {
    const domain = this.need(uuid);
    await this.pause(1, 5);
    if (domain.running?.state !== 'running' || domain.job !== null) throw failed('domain does not run');
    this.work(domain);
    Object.assign(domain.running, { state: 'paused', reason: 'user' });
    this.lifecycle(domain, 'suspended', 'paused');
  }

  async resume(uuid: string): Promise<void> {
    const domain = this.need(uuid);
    await this.pause(1, 5);
    if (domain.running?.state !== 'paused' || domain.running.incoming || domain.job !== null)
      throw failed('domain is not paused');
    Object.assign(domain.running, { state: 'running', reason: 'unpaused' });
    this.lifecycle(domain, 'resumed', 'unpaused');
  }

  /** As `virsh managedsave`. */
  async save(uuid: string): Promise<void> {
    const domain = this.need(uuid);
    await this.pause(5, 50);
    if (!domain.alive || domain.running === null || domain.job !== null) throw failed('domain does not run');
    this.work(domain);
    domain.savedVersion = domain.running.version;
    domain.savedMetadata = domain.running.metadata;
    this.#die(domain, 'saved');
  }

  /** As `virsh managedsave-remove`. */
  forgetSave(uuid: string): void {
    this.need(uuid).savedVersion = null;
  }

  /** Frees a VM that comes in and shall not run: the other side has gone, or said so. */
  dropIncoming(domain: Domain): void {
    if (domain.running?.incoming === true) this.#die(domain, 'failed');
  }

  /** The end of a VM's QEMU here, by whatever cause; libvirt tells hooks and listeners while it lives. */
  #die(domain: Domain, reason: DomainStateReason): void {
    if (domain.running === null) return;
    domain.running = null;
    domain.vm.doubled.delete(this.name);
    domain.offReason = reason;
    domain.job = null;
    if (!this.libvirtd.alive) return;
    this.lifecycle(domain, 'stopped', reason === 'saved' || reason === 'migrated' ? reason : 'destroyed');
    void this.hook(domain, 'release', 'end').catch(() => undefined);
    if (!domain.persistent) this.domains.delete(domain.vm.uuid);
  }

  // A migration, as both libvirts see it

  /** Prepare: asks the hook, starts swtpm and a QEMU that waits. */
  async prepare(vm: VmTruth, xml: string, from: Domain): Promise<Domain> {
    const known = this.domains.get(vm.uuid);
    if (known?.isActive() === true) throw failed('domain is active here');
    await this.hookCall({ ...call(vm.name, 'migrate', 'begin'), xml }, true);
    const domain = known ?? new Domain(vm, from.base);
    const release = await this.locked(domain);
    try {
      domain.base = from.base;
      const metadata = from.running?.metadata ?? from.metadata;
      if (known === undefined) {
        domain.persistent = false;
        this.domains.set(vm.uuid, domain);
      }
      await this.hook(domain, 'prepare', 'begin', metadata);
      const key = this.#requireKey(domain);
      if (domain.isActive()) throw failed('domain is active here');
      domain.running = {
        state: 'paused',
        reason: 'migration',
        id: this.#nextId++,
        version: -1,
        incoming: true,
        metadata,
      };
      this.vtpms.set(vm.uuid, { version: -1, written: this.kernel.steps, key });
      await this.hook(domain, 'started');
      return domain;
    } catch (error) {
      if (!domain.isActive()) await this.hook(domain, 'release', 'end').catch(() => undefined);
      if (known === undefined && !domain.isActive()) this.domains.delete(vm.uuid);
      throw error;
    } finally {
      release();
    }
  }

  /** Finish: the CPUs run here, or stay paused where their user had paused them. */
  finish(domain: Domain, paused: boolean, metadata: string | null): void {
    const { running } = domain;
    if (running?.incoming !== true || running.version < 0) throw failed('the incoming guest is gone');
    Object.assign(running, {
      incoming: false,
      state: paused ? 'paused' : 'running',
      reason: paused ? 'user' : 'migrated',
    });
    domain.persistent = true;
    domain.metadata = metadata;
    this.lifecycle(domain, paused ? 'suspended' : 'resumed', paused ? 'paused' : 'migrated');
  }

  /** Confirm: the source's copy ends, and its definition with it where that was asked for. */
  confirm(domain: Domain, undefine: boolean): void {
    domain.job = null;
    if (undefine) domain.persistent = false;
    this.#die(domain, 'migrated');
  }

  // Hooks and events

  async hook(
    domain: Domain,
    operation: string,
    subOperation = 'begin',
    off = domain.metadata,
  ): Promise<void> {
    await this.hookCall(
      { ...call(domain.vm.name, operation, subOperation), xml: domain.xml(off) },
      gates.has(operation),
    );
  }

  /** The hook client: asks the agent, with a deadline; a protected VM is refused on any doubt, others never asked about. */
  async hookCall(asked: HookCall, gate: boolean): Promise<void> {
    const { libvirtd, hooks } = this;
    if (!asked.xml.includes('tvmmp:vm') || this.unlocked) return;
    await this.pause(0.5, 2);
    mustLive(libvirtd);
    if (hooks?.life.alive !== true) {
      if (gate) throw failed('the agent does not run');
      return;
    }
    const answer = new Promise<void>((resolve, reject) => {
      hooks.handler(asked).then(resolve, reject);
      hooks.life.onEnd(() => {
        reject(failed('the agent ended'));
      });
      this.kernel.at(limits.migrateHookDeadlineMs, () => {
        reject(failed('the agent did not answer in time'));
      });
    });
    await answer.catch((error: unknown) => {
      if (gate) throw failed(error instanceof Error ? error.message : String(error));
    });
    mustLive(libvirtd);
  }

  lifecycle(domain: Domain, event: DomainEventName, detail: DomainEventDetail): void {
    this.emit({ kind: 'lifecycle', uuid: domain.vm.uuid, name: domain.vm.name, event, detail });
  }

  emit(event: HypervisorEvent): void {
    for (const listener of this.listeners) {
      this.kernel.at(this.kernel.between(0.1, 3), () => {
        if (this.listeners.has(listener)) listener(event);
      });
    }
  }

  /** Waits for libvirt's lock on a domain, and gives what releases it. */
  async locked(domain: Domain): Promise<() => void> {
    const before = domain.lock;
    let release: () => void = () => undefined;
    domain.lock = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    return release;
  }

  /** A moment of libvirtd's work; it may end meanwhile. */
  async pause(from: number, to: number): Promise<void> {
    const { libvirtd } = this;
    await this.kernel.sleep(this.kernel.between(from, to));
    if (!libvirtd.alive) throw new TvmmpError('libvirt-connection-lost', 'libvirtd is gone');
  }

  /** swtpm starts only with the key that its state is encrypted with. */
  #requireKey(domain: Domain): string | null {
    const uuid = /<encryption secret='([^']+)'/.exec(domain.base)?.[1];
    if (uuid === undefined) return null;
    const value = this.secrets.get(uuid)?.value ?? null;
    if (this.unlocked) return value;
    if (value === null) throw failed(`secret ${uuid} has no value`);
    const state = this.vtpms.get(domain.vm.uuid);
    if (state !== undefined && state.version >= 0 && state.key !== value) throw failed('swtpm: wrong key');
    return value;
  }
}

function mustLive(libvirtd: Life): void {
  if (!libvirtd.alive) throw failed('libvirtd ended');
}

export function failed(message: string): TvmmpError {
  return new TvmmpError('libvirt-call-failed', message);
}

function call(name: string, operation: string, subOperation: string): Omit<HookCall, 'xml'> {
  return { name, operation, subOperation, extra: '' };
}
