/** A lab with tvmmp installed, and the sentences that system tests are made of. Every wait is bounded. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { Lab, labMissing } from '../../scripts/lab.d/lab.ts';
import type { CommandResult, Tick } from '../../scripts/lab.d/lab.ts';
import { skipWithout } from './skip.ts';

const STATISTICS = fileURLToPath(new URL('../../scripts/bench.d/statistics.mjs', import.meta.url));
/** A guest under emulation on a busy machine takes its time; what takes longer is not coming. */
const patienceMs = 90_000;
const pollMs = 150;
const logLinesShown = 25;
const askStatus = `
import socket
agent = socket.socket(socket.AF_UNIX)
agent.connect("/run/tvmmp/agent.sock")
agent.sendall(b'{"method":"status","params":{}}\\n')
print(agent.makefile().readline())
`;

/** Which hosts there are, and on which of them tvmmp is installed (all, unless said otherwise). */
export interface LabOptions {
  readonly hosts?: readonly string[];
  readonly installed?: readonly string[];
  /** With an etcd cluster for a ledger. */
  readonly etcd?: boolean;
  /** What is to be done with the hosts before tvmmp is installed on them; gives what has to be done before they go down. */
  readonly prepare?: (lab: ProductLab) => Promise<() => void>;
}

/** A guest of the lab. */
export interface Guest {
  readonly name: string;
  readonly uuid: string;
}

/** A protected VM as `tvmmp status --json` has it. */
export interface Vm {
  readonly uuid: string;
  readonly name: string;
  readonly state: string;
  readonly holder: string;
  readonly epoch: number;
  readonly entries: number;
  readonly head: string;
}

/** `tvmmp status --json`. */
export interface AgentStatus {
  readonly host: string;
  readonly policy: { readonly id: string; readonly version: number };
  readonly vms: readonly Vm[];
  readonly migrations: readonly {
    readonly vm: string;
    readonly role: string;
    readonly state: string;
    /** Why it cannot go on; '' where nothing is in its way. */
    readonly problem: string;
  }[];
  readonly ledger: {
    readonly kind: string;
    readonly problem: string;
    readonly behind: readonly string[];
    readonly conflicts: readonly { readonly vm: string; readonly problem: string }[];
  };
  readonly rollback: { readonly rolledBack: number | null; readonly vms: readonly string[] };
  readonly vtpms: {
    readonly unread: readonly { readonly vm: string }[];
    readonly exchanged: readonly { readonly problem: string }[];
  };
  /** SPEC 16. */
  readonly trust: {
    readonly appraised: number | null;
    readonly quarantine: { readonly reason: string; readonly failed: readonly string[] } | null;
    readonly peers: readonly { readonly host: string; readonly outcome: string }[];
  };
}

/** `tvmmp proof verify --json`. */
export interface VerifiedReport {
  readonly outcome: string;
  readonly holder: string;
  readonly head: { readonly sequence: number; readonly epoch: number; readonly state: string };
  readonly holdings: readonly {
    readonly epoch: number;
    readonly host: string;
    readonly destroyed: number | null;
  }[];
  readonly entries: readonly {
    readonly kind: string;
    readonly host: string;
    readonly epoch: number;
    readonly beside: boolean;
    readonly sequence: number;
  }[];
}

/** What a host's agent has done since it started. */
export interface Cost {
  readonly quotes: number;
  /** All of them, increments of the counter too. */
  readonly tpmCommands: number;
  readonly increments: number;
  readonly roundTrips: number;
}

/** How `virsh migrate` is called. Defaults: live, p2p, TLS, persistent at the destination, undefined at the source. */
export interface MigrateOptions {
  readonly p2p?: boolean;
  readonly tls?: boolean;
  readonly live?: boolean;
  readonly persistent?: boolean;
  readonly undefineSource?: boolean;
  readonly bandwidthMiBs?: number;
  readonly extra?: readonly string[];
}

/** What a host still has of a VM. */
export interface Remains {
  readonly secret: boolean;
  readonly sealedKey: boolean;
  readonly vtpmState: boolean;
  readonly permit: boolean;
}

/** A lab whose hosts are a trusted group: authority, policy, enrolment, hooks and agents as an operator installs them. */
export class ProductLab extends Lab {
  readonly hostNames: readonly string[];
  #release: () => void = () => undefined;

  private constructor(hosts: readonly string[]) {
    super();
    this.hostNames = hosts;
  }

  /** Brings the hosts up and installs tvmmp (alpha and beta, unless said otherwise). Leaves nothing when it fails. */
  static async start(options: LabOptions = {}): Promise<ProductLab> {
    const hosts = options.hosts ?? ['alpha', 'beta'];
    const lab = new ProductLab(hosts);
    try {
      await lab.must('up', '--hosts', hosts.join(','), ...(options.etcd === true ? ['--etcd'] : []));
      lab.#release = (await options.prepare?.(lab)) ?? lab.#release;
      await lab.must('install', ...(options.installed ?? hosts));
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  override async close(): Promise<void> {
    this.#release();
    await super.close();
  }

  // Guests

  /** Defines a guest, protects it and starts it, as far as the options say, and waits until it ticks. */
  async guest(
    host: string,
    name: string,
    options: { readonly protect?: boolean; readonly start?: boolean; readonly encrypted?: boolean } = {},
  ): Promise<Guest> {
    const guest = { name, uuid: randomUUID() };
    const encrypted = options.encrypted === true ? ['--encrypted'] : [];
    await this.must('guest-define', host, name, '--uuid', guest.uuid, ...encrypted);
    if (options.protect !== false) await this.on(host, 'tvmmp', 'vm', 'protect', name);
    if (options.start !== false) await this.boot(host, guest);
    return guest;
  }

  /** Starts a guest and waits until it ticks: PCR 11 names the boot (the guest's clock may begin behind where it was). */
  async boot(host: string, guest: Guest): Promise<Tick> {
    const earlier = new Set((await this.ticks(guest.name)).map(({ pcr }) => pcr));
    await this.on(host, 'virsh', '-q', 'start', guest.name);
    return this.eventually(`${guest.name} ticks on ${host}`, async () => {
      const ticks = await this.ticks(guest.name);
      return ticks.find((tick) => tick.host === host && !earlier.has(tick.pcr)) ?? null;
    });
  }

  /** Ends a guest at once, and waits until its proof says so. */
  async halt(host: string, guest: Guest): Promise<void> {
    await this.on(host, 'virsh', '-q', 'destroy', guest.name);
    await this.state(host, guest, 'stopped');
  }

  async countTicks(host: string, guest: Guest): Promise<number> {
    return (await this.ticks(guest.name)).filter((tick) => tick.host === host).length;
  }

  /** Waits for `more` further ticks on the host; gives the last. */
  async ticksOn(host: string, guest: Guest, more = 2): Promise<Tick> {
    return this.ticksTo(host, guest, (await this.countTicks(host, guest)) + more);
  }

  /** Waits until the guest has ticked `count` times on the host in all; gives the last of these ticks. */
  async ticksTo(host: string, guest: Guest, count: number): Promise<Tick> {
    const log = join(this.hostDirectory(host), `fs/var-log-libvirt/qemu/${guest.name}-console.log`);
    let length = -1;
    return this.eventually(`${guest.name} ticks on ${host}`, async () => {
      const now = statSync(log, { throwIfNoEntry: false })?.size ?? 0;
      if (now === length) return null;
      length = now;
      const ticks = (await this.ticks(guest.name)).filter((tick) => tick.host === host);
      return ticks[count - 1] ?? null;
    });
  }

  /** All ticks of a guest that was never restarted: none is missing, none met a TPM error, PCR and secret never changed. */
  async unbroken(guest: Guest): Promise<void> {
    const ticks = await this.ticks(guest.name);
    const [first] = ticks;
    assert.ok(first?.pcr && first.secret, `${guest.name} never ticked`);
    ticks.forEach(({ number, pcr, secret }, index) => {
      assert.equal(number, first.number + index, `a tick of ${guest.name} is missing, or came twice`);
      assert.equal(pcr, first.pcr, `PCR 11 of ${guest.name} changed at tick ${number}`);
      assert.equal(secret, first.secret, `the sealed secret of ${guest.name} changed at tick ${number}`);
    });
  }

  /** libvirt's word for the domain's state on a host (`running`, `shut off`, ...); null where it is not defined. */
  async domainState(host: string, guest: Guest): Promise<string | null> {
    const result = await this.exec(host, 'virsh', '-q', 'domstate', guest.uuid);
    return result.status === 0 ? result.stdout.trim() : null;
  }

  // Migration

  /** The command of a plain migration. */
  migrateCommand(guest: Guest, to: string, options: MigrateOptions = {}): readonly string[] {
    const p2p = options.p2p !== false;
    return [
      ...['virsh', '-q', 'migrate'],
      ...(options.live === false ? [] : ['--live']),
      ...(p2p ? ['--p2p'] : []),
      ...(options.tls === false ? [] : ['--tls']),
      ...(options.persistent === false ? [] : ['--persistent']),
      ...(options.undefineSource === false ? [] : ['--undefinesource']),
      ...(options.bandwidthMiBs === undefined ? [] : ['--bandwidth', String(options.bandwidthMiBs)]),
      ...(options.extra ?? []),
      ...[guest.name, `qemu+tcp://${to}/system`, `tcp://${to}`],
    ];
  }

  /** Migrates by plain virsh, whatever comes of it. */
  migrate(from: string, to: string, guest: Guest, options: MigrateOptions = {}): Promise<CommandResult> {
    return this.exec(from, ...this.migrateCommand(guest, to, options));
  }

  /** Migrates by plain virsh, and waits until both hosts have finished the hand-over. */
  async moved(from: string, to: string, guest: Guest, options: MigrateOptions = {}): Promise<void> {
    const result = await this.migrate(from, to, guest, options);
    assert.equal(result.status, 0, result.stderr);
    await this.settled(from, to);
  }

  /** Waits until no session is unfinished on these hosts. */
  async settled(...hosts: readonly string[]): Promise<void> {
    for (const host of hosts) {
      await this.eventually(`${host} has finished its hand-overs`, async () =>
        (await this.agentStatus(host)).migrations.length === 0 ? true : null,
      );
    }
  }

  /** Waits until libvirt copies the guest's memory. */
  async copying(host: string, guest: Guest): Promise<void> {
    await this.eventually(`${host} copies the memory of ${guest.name}`, async () => {
      const { stdout } = await this.exec(host, 'virsh', 'domjobinfo', guest.name);
      const processed = /Memory processed:\s+([\d.]+)/.exec(stdout)?.[1];
      return processed !== undefined && Number(processed) > 0 ? true : null;
    });
  }

  /** Begins a migration that takes longer than any test, and waits until memory travels; `finish` lets it end. */
  async slowly(
    from: string,
    to: string,
    guest: Guest,
    options: MigrateOptions = {},
  ): Promise<{ readonly ended: Promise<CommandResult>; readonly finish: () => Promise<CommandResult> }> {
    const ended = this.migrate(from, to, guest, { ...options, bandwidthMiBs: 1 });
    await Promise.race([
      this.copying(from, guest),
      ended.then(({ stderr }) => Promise.reject(new Error(`the migration ended already: ${stderr}`))),
    ]);
    const finish = async (): Promise<CommandResult> => {
      await this.on(from, 'virsh', '-q', 'migrate-setspeed', guest.name, '1000');
      return ended;
    };
    return { ended, finish };
  }

  // Agents

  /** What `tvmmp status --json` shows, asked for by a smaller program: tests ask often. */
  async agentStatus(host: string): Promise<AgentStatus> {
    const reply = JSON.parse(await this.on(host, 'python3', '-c', askStatus)) as {
      readonly result?: AgentStatus;
    };
    if (reply.result === undefined) throw new Error(`the agent of ${host} answers ${JSON.stringify(reply)}`);
    return reply.result;
  }

  /** What the host's agent knows of a VM. */
  async vm(host: string, guest: Guest): Promise<Vm | null> {
    return (await this.agentStatus(host)).vms.find(({ uuid }) => uuid === guest.uuid) ?? null;
  }

  /** Waits until the host's agent has the VM in this state. */
  async state(host: string, guest: Guest, state: string): Promise<Vm> {
    return this.eventually(`${guest.name} is ${state} for ${host}`, async () => {
      const vm = await this.vm(host, guest);
      return vm?.state === state ? vm : null;
    });
  }

  /** Waits until the host has read the vTPM of a VM that came, and found it the one of its proof (SPEC 4.5). */
  async vtpmRead(host: string, guest: Guest): Promise<void> {
    await this.eventually(`${host} has read the vTPM of ${guest.name}`, async () => {
      const { unread, exchanged } = (await this.agentStatus(host)).vtpms;
      assert.deepEqual(exchanged, []);
      return unread.some(({ vm }) => vm === guest.uuid) ? null : true;
    });
  }

  /** Ends the host's agent by SIGKILL. */
  async killAgent(host: string): Promise<void> {
    const pid = this.agentPid(host);
    process.kill(pid, 'SIGKILL');
    await this.eventually(`the agent of ${host} is dead`, () => {
      const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : '';
      return Promise.resolve(stat === '' || / Z /.test(stat) ? true : null);
    });
  }

  /** Process id of the host's agent as this test sees it. */
  agentPid(host: string): number {
    return Number(readFileSync(join(this.hostDirectory(host), 'agent.pid'), 'utf8').split(' ')[0]);
  }

  async restartAgent(host: string): Promise<void> {
    await this.must('stop-agent', host);
    await this.must('start-agent', host);
  }

  async cost(host: string): Promise<Cost> {
    const { quotes, tpmCommands, bridgeTpmCommands, roundTrips } = JSON.parse(
      await this.on(host, process.execPath, STATISTICS),
    ) as {
      quotes: number;
      tpmCommands: Record<string, number>;
      bridgeTpmCommands: number;
      roundTrips: number;
    };
    const commands = Object.values(tpmCommands).reduce((sum, count) => sum + count, bridgeTpmCommands);
    return { quotes, tpmCommands: commands, increments: tpmCommands['NV_Increment'] ?? 0, roundTrips };
  }

  // Proof

  /** Exports a VM's proof from a host and verifies it offline, with the authority's root certificate alone. */
  async proof(host: string, guest: Guest): Promise<VerifiedReport> {
    const file = join(this.directory, `${guest.name}-${host}.tvmmp-proof`);
    await this.on(host, 'tvmmp', 'proof', 'export', guest.uuid, '-o', file);
    const root = join(this.directory, 'root.pem');
    writeFileSync(root, readFileSync(join(this.hostDirectory(host), 'fs/etc-tvmmp/authority.pem')));
    const result = await this.exec(host, 'tvmmp', 'proof', 'verify', file, '--authority', root, '--json');
    assert.equal(result.status, 0, `the proof of ${guest.name} does not verify: ${result.stderr}`);
    return JSON.parse(result.stdout) as VerifiedReport;
  }

  /** Kinds of the entries in the chain, without those that stand beside it. */
  async kinds(host: string, guest: Guest): Promise<readonly string[]> {
    return (await this.proof(host, guest)).entries.filter(({ beside }) => !beside).map(({ kind }) => kind);
  }

  /** Waits until the chain ends with these kinds. */
  async endsWith(host: string, guest: Guest, ...kinds: readonly string[]): Promise<void> {
    let last: readonly string[] = [];
    await this.eventually(
      `the proof of ${guest.name} ends with ${kinds.join(', ')}`,
      async () => {
        last = (await this.kinds(host, guest)).slice(-kinds.length);
        return last.join() === kinds.join() ? true : null;
      },
      () => last.join(', '),
    );
  }

  /** What the host's journal says of the state of a VM's vTPM (SPEC 8.4). */
  vtpmStanding(host: string, guest: Guest): string | null {
    const file = join(this.hostDirectory(host), 'fs/var-lib-tvmmp/journal.sqlite');
    const journal = new Database(file, { readonly: true });
    try {
      const row = journal.prepare('SELECT standing FROM vtpm_state WHERE vm = ?').get(guest.uuid) as
        { standing: string } | undefined;
      return row?.standing ?? null;
    } finally {
      journal.close();
    }
  }

  /** What is on the host of a VM's key and vTPM, looked for where each of them is kept. */
  async remains(host: string, guest: Guest): Promise<Remains> {
    const secrets = await this.on(host, 'virsh', '-q', 'secret-list');
    const journal = new Database(join(this.hostDirectory(host), 'fs/var-lib-tvmmp/journal.sqlite'), {
      readonly: true,
    });
    try {
      const row = journal.prepare('SELECT sealed, secret FROM vm WHERE uuid = ?').get(guest.uuid) as
        { sealed: Buffer | null; secret: string } | undefined;
      const permit = journal.prepare('SELECT 1 FROM permit WHERE vm = ?').get(guest.uuid);
      const known = row !== undefined && row.secret !== '' && secrets.includes(row.secret);
      return {
        secret: known || secrets.includes(guest.uuid),
        sealedKey: row?.sealed != null,
        vtpmState: existsSync(this.vtpmDirectory(host, guest)),
        permit: permit !== undefined,
      };
    } finally {
      journal.close();
    }
  }

  /** Holds unless nothing of a VM's key and vTPM is left on the host. */
  async nothingLeft(host: string, guest: Guest): Promise<void> {
    assert.deepEqual(
      await this.remains(host, guest),
      { secret: false, sealedKey: false, vtpmState: false, permit: false },
      `${host} still has something of ${guest.name}`,
    );
  }

  // The lab

  /** Shows the end of every host's logs on standard error. */
  showLogs(): void {
    for (const host of this.hostNames) {
      for (const log of ['fs/var-log-tvmmp/tvmmpd.log', 'fs/var-log-libvirt/libvirtd.log']) {
        const path = join(this.hostDirectory(host), log);
        if (!existsSync(path)) continue;
        const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-logLinesShown);
        process.stderr.write(`--- ${host} ${log}\n${lines.join('\n')}\n`);
      }
    }
  }

  /** Runs a command on a host, whatever comes of it. */
  exec(host: string, ...command: readonly string[]): Promise<CommandResult> {
    return this.run(['exec', host, '--', ...command]);
  }

  hostDirectory(host: string): string {
    return join(this.directory, 'hosts', host);
  }

  vtpmDirectory(host: string, guest: Guest): string {
    return join(this.hostDirectory(host), 'fs/var-lib-libvirt/swtpm', guest.uuid);
  }

  /** Tries until it gives something; fails after a time in which it surely would have. */
  async eventually<T>(
    what: string,
    attempt: () => Promise<T | null>,
    instead: () => string = () => '',
  ): Promise<T> {
    const end = Date.now() + patienceMs;
    for (;;) {
      const found = await attempt();
      if (found !== null) return found;
      if (Date.now() > end) throw new Error(`waited in vain: ${what}${instead() && ` (${instead()})`}`);
      await sleep(pollMs);
    }
  }
}

/**
 * A lab for the tests of one `describe`: comes up before the first with what they share, goes down after the last. A failed test
 * shows what the hosts wrote meanwhile.
 */
export function withLab(options: LabOptions, prepare: (lab: ProductLab) => Promise<void> | void): void {
  let lab: ProductLab | null = null;
  before(async function () {
    skipWithout(this, labMissing());
    lab = await ProductLab.start(options);
    await prepare(lab);
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') lab?.showLogs();
  });
  after(async () => {
    await lab?.close();
  });
}

/** A refusal as virsh shows it: libvirt passes on what the hook said. */
export function assertRefused(result: CommandResult, reason: RegExp): void {
  assert.notEqual(result.status, 0, 'it was not refused');
  assert.match(result.stderr, /tvmmp: refused: /);
  assert.match(result.stderr, reason);
}
