/** A host: a machine, its TPM and disk, and an agent made of the shipped parts (as lib/agent/agent.ts puts them together). */
import { followEvents } from '../../lib/agent/events.ts';
import { hookHandler } from '../../lib/agent/hooks.ts';
import { sha256 } from '../../lib/encoding/hash.ts';
import { evacuate } from '../../lib/cli/evacuation.ts';
import { TvmmpError } from '../../lib/errors.ts';
import { Journal } from '../../lib/ledger/journal.ts';
import type { SessionRecord } from '../../lib/ledger/records.ts';
import { SqliteLedger } from '../../lib/ledger/sqlite-ledger.ts';
import { Admission } from '../../lib/migration/admission.ts';
import { depart } from '../../lib/migration/departure.ts';
import type { HostFiles } from '../../lib/migration/files.ts';
import type { Host, Log } from '../../lib/migration/host.ts';
import type { LogFiles } from '../../lib/migration/log-files.ts';
import { forgetLeftKeys } from '../../lib/migration/left-keys.ts';
import { LifeCycle } from '../../lib/migration/life-cycle.ts';
import { protect } from '../../lib/migration/protection.ts';
import { tellInProofs } from '../../lib/migration/quarantine-entries.ts';
import { resolve } from '../../lib/migration/resolution.ts';
import { RestingKeys } from '../../lib/migration/resting-keys.ts';
import { servicesOf } from '../../lib/migration/services.ts';
import type { Services } from '../../lib/migration/services.ts';
import type { Outcome } from '../../lib/migration/situation.ts';
import { Sessions } from '../../lib/migration/sessions.ts';
import type { TenantRequest } from '../../lib/migration/tenant.ts';
import type { WorldHost, World } from '../support/proof-world.ts';
import { pcrsOf, worldStart } from '../support/proof-world.ts';
import { LogJudgesHere } from '../support/log-judges.ts';
import type { VmTruth } from './domain.ts';
import { hypervisorOf } from './hypervisor.ts';
import { journalOf } from './journal.ts';
import type { AnyJournal, DiskMood } from './journal.ts';
import { SharedLedger } from './ledger.ts';
import type { SharedRows } from './ledger.ts';
import { Life } from './kernel.ts';
import type { Kernel } from './kernel.ts';
import { Machine } from './machine.ts';
import { MemoryJournal } from './memory-journal.ts';
import { migrate, outgoing } from './migration.ts';
import type { Network } from './network.ts';
import { HeldList } from './revocation.ts';
import type { Seals, TpmMood } from './tpm.ts';
import { bridgeOf, tpmOf } from './tpm.ts';

/** A running agent. */
export interface Agent {
  readonly life: Life;
  readonly services: Services;
  readonly sessions: Sessions;
}

/** What hosts of one world share. */
export interface Surroundings {
  readonly kernel: Kernel;
  readonly network: Network;
  readonly seals: Seals;
  readonly world: World;
  /** The ledger that all hosts share; null: each has its own. */
  readonly rows: SharedRows | null;
  readonly host: (name: string) => SimulatedHost;
  /** Whether the shipped journal and codec run, rather than what stands for them. */
  readonly thorough: boolean;
  readonly log: (host: string, level: string, fields: object, message: string) => void;
}

export class SimulatedHost {
  readonly name: string;
  readonly machine: Machine;
  readonly journal: AnyJournal;
  readonly disk: DiskMood = { full: false, endsAfter: null, endsDone: false };
  readonly tpm: TpmMood = { failing: false, delayMs: 10, counter: null, approved: true };
  readonly revocations: HeldList;
  /** Its kernel's logs: none, unless a test gives it some. */
  logs: LogFiles = {
    eventLog: () => Promise.resolve(null),
    imaList: () => Promise.resolve(null),
    imaLength: () => Promise.resolve(null),
  };
  /** How far the host's clock is from the true time. */
  clockOffMs = 0;
  agent: Agent | null = null;
  /** For tests of one thing: what of the host is otherwise, from the agent's next start on. */
  alter: (host: Host) => Host = (host) => host;
  readonly #around: Surroundings;
  readonly enrolled: WorldHost;

  constructor(around: Surroundings, enrolled: WorldHost) {
    this.#around = around;
    this.enrolled = enrolled;
    this.name = enrolled.id.name;
    this.machine = new Machine(around.kernel, this.name);
    this.journal = around.thorough ? new Journal(':memory:') : new MemoryJournal();
    this.revocations = new HeldList(around.world);
    this.boot('base');
  }

  get address(): string {
    return `${this.name}:16515`;
  }

  /** What the TPM has measured from now on: `base` and `update` are approved. */
  boot(image: string): void {
    this.enrolled.tpm.pcrs = pcrsOf(image);
    this.tpm.approved = image === 'base' || image === 'update';
  }

  /** Kills the agent where it stands. */
  killAgent(): void {
    this.agent?.life.end();
    this.agent = null;
  }

  /** Starts the agent, where there is none; what fails at its start is tried again later, as systemd would. */
  startAgent(): void {
    if (this.agent?.life.alive === true || !this.machine.power.alive) return;
    const life = new Life(this.#around.kernel);
    this.machine.power.onEnd(() => {
      life.end();
    });
    const services = servicesOf(this.alter(this.#host(life)));
    const sessions = new Sessions(services);
    this.agent = { life, services, sessions };
    this.#begin(this.agent).catch((error: unknown) => {
      this.#around.log(this.name, 'warn', { error: String(error) }, 'the agent did not start');
      life.end();
    });
    life.onEnd(() => {
      sessions.stop();
    });
  }

  async #begin({ life, services, sessions }: Agent): Promise<void> {
    const lifeCycle = new LifeCycle(services);
    const restingKeys = new RestingKeys(services.host, services.platform, () => sessions.busy);
    await services.host.hypervisor.versions();
    await services.anchor.begin();
    life.onEnd(() => {
      services.anchor.end();
    });
    await forgetLeftKeys(services);
    services.ledgerNews.begin();
    sessions.start();
    services.platform.prepare();
    restingKeys.start();
    services.vtpmIdentities.start();
    life.onEnd(() => {
      restingKeys.stop();
      services.vtpmIdentities.stop();
    });
    await followEvents(services, sessions, lifeCycle);
    await lifeCycle.reconcileAll();
    services.selfAppraisal.onLooked = async (appraisal) => {
      services.peerAttestations.attest(appraisal);
      await tellInProofs(services);
    };
    services.selfAppraisal.begin();
    services.silentPeers.start();
    life.onEnd(() => {
      services.selfAppraisal.end();
      services.silentPeers.stop();
    });
    const admission = new Admission(services, sessions);
    const handler = hookHandler({ services, sessions, admission, lifeCycle });
    this.#around.network.listen({
      name: this.name,
      life,
      accept: (channel) => {
        sessions.accept(channel).catch((error: unknown) => {
          services.host.log.warn({ error: String(error) }, 'a connection of a peer ended');
        });
      },
    });
    this.machine.hooks = { life, handler };
  }

  /** `tvmmp vm protect`. */
  async protect(vm: string, tenant: TenantRequest | null = null): Promise<void> {
    if (this.agent === null) throw new Error('no agent');
    await protect(this.agent.services, vm, tenant);
  }

  /** `tvmmp migrate`. */
  async depart(uuid: string, to: SimulatedHost): Promise<void> {
    const { agent } = this;
    const vm = agent?.services.host.journal.vm(uuid);
    if (agent === null || vm == null) throw new Error('not here');
    const request = {
      vm,
      agent: to.address,
      destinationUri: to.name,
      migrateUri: null,
      bandwidthMiBs: null,
    };
    await depart(agent.services, agent.sessions, request, () => undefined);
  }

  /** `tvmmp migration resolve`. */
  async resolve(session: SessionRecord, outcome: Outcome): Promise<void> {
    if (this.agent === null) throw new Error('no agent');
    const { services, sessions, life } = this.agent;
    await new Promise<void>((done, fail) => {
      resolve(services, sessions, session, outcome).then(() => {
        done();
      }, fail);
      life.onEnd(() => {
        fail(new Error('the agent ended'));
      });
    });
  }

  /** `tvmmp evacuate`: what this host runs goes to the others, several at a time. */
  async evacuate(
    to: readonly SimulatedHost[],
    parallel: number,
    which: (vm: VmTruth) => boolean,
  ): Promise<void> {
    const leaving = [...this.machine.domains.values()]
      .filter(({ alive, vm }) => alive && which(vm))
      .map(({ vm }) => vm);
    const names = new Map(to.map((host) => [host.name, host]));
    await evacuate(leaving, [...names.keys()], parallel, {
      move: async ({ uuid }, name) => {
        const host = names.get(name);
        if (host !== undefined) await this.depart(uuid, host);
      },
      settled: ({ uuid }) => Promise.resolve(this.machine.domains.get(uuid)?.alive === true),
      explain: (error) => ({
        code: '',
        message: String(error),
        fatal: this.agent === null,
        busy: String(error).includes('refused: busy: '),
      }),
      pause: () => this.#around.kernel.sleep(2_000),
      report: () => undefined,
    });
  }

  #host(life: Life): Host {
    const { kernel, network, seals, world, rows } = this.#around;
    const { id, certificate, tpm } = this.enrolled;
    const journal = journalOf(this.journal, this.disk, life);
    const log: Log = {
      debug: (fields, message) => {
        this.#around.log(this.name, 'debug', fields, message);
      },
      info: (fields, message) => {
        this.#around.log(this.name, 'info', fields, message);
      },
      warn: (fields, message) => {
        this.#around.log(this.name, 'warn', fields, message);
      },
      error: (fields, message) => {
        this.#around.log(this.name, 'error', fields, message);
      },
    };
    return {
      identity: {
        id,
        akCertificate: certificate,
        akPublic: tpm.akPublic,
        receivePublic: tpm.receivePublic,
        receiveKeyName: tpm.receiveKeyName,
        root: world.authority.root,
        vtpmIssuers: null,
        signerCertificates: [world.authority.policySigner],
      },
      policy: () => ({ policy: world.policy.policy, envelope: world.policy.text }),
      revocations: () => this.revocations.inForce,
      learnRevocations: (envelope) => {
        this.revocations.learn(envelope);
      },
      settings: { tcti: 'simulation', libvirtUri: 'simulation:///', advertise: this.address, peers: [] },
      tpm: tpmOf(tpm, this.tpm, life),
      hypervisor: hypervisorOf(this.machine, life, (uuid, destination) =>
        migrate(network, this.machine, uuid, this.#around.host(destination).machine),
      ),
      bridge: bridgeOf(this.machine, seals, this.tpm, life),
      vtpmDesk: () => Promise.reject(new TvmmpError('internal', 'not in the simulation')),
      journal,
      ledger: rows === null ? new SqliteLedger(journal) : new SharedLedger(rows, network, this.name, life),
      files: this.#files(),
      logFiles: this.logs,
      logJudges: new LogJudgesHere(),
      timers: life.timers(),
      log,
      now: () => Math.floor(worldStart + kernel.time + this.clockOffMs),
      connect: (address) => network.connect(this.name, life, address),
      versions: new Map([['tvmmp', 'simulated']]),
    };
  }

  #files(): HostFiles {
    const { machine } = this;
    const now = <T>(value: T): Promise<T> => Promise.resolve(value);
    return {
      vtpmStateDirectory: (vm) => `/vtpm/${vm}/tpm2`,
      hasVtpmState: (vm) => now(machine.vtpms.has(vm)),
      vtpmIsMade: (vm) => now(machine.vtpms.has(vm)),
      vtpmStateDigest: (vm) => {
        const state = machine.vtpms.get(vm);
        return now(
          state === undefined
            ? null
            : sha256(Buffer.from(`${state.version} ${state.written ?? 0} ${state.key ?? ''}`)),
        );
      },
      keepArrived: () => now(undefined),
      removeVtpmState: (vm) => now(void machine.vtpms.delete(vm)),
      vtpmFileSystem: () => now({ directory: '/vtpm', type: 0xef53 }),
      mark: (vm) => now(void machine.marks.add(vm)),
      unmark: (vm) => now(void machine.marks.delete(vm)),
      outgoingMigration: (name) =>
        now(outgoing([...machine.domains.values()].find(({ vm }) => vm.name === name))),
      missingMigrationTls: () => now(null),
    };
  }
}
