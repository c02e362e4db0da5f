/**
 * The lab that all attacks share: alpha and beta run tvmmpd, mallory is enrolled and approved like them and its keys are the
 * attacker's (no agent runs there), delta has the hook and nothing else. A guest with a protected vTPM runs on alpha.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab, labMissing } from '../../scripts/lab.d/lab.ts';
import type { CommandResult, Tick } from '../../scripts/lab.d/lab.ts';
import type { Check } from '../../lib/appraisal/verdict.ts';
import { Attacker, attackerPort } from './attacker.ts';
import { skipWithout } from './skip.ts';

/** A refusal as `tvmmp explain --json` has it. */
export interface ShownRefusal {
  readonly time: number;
  readonly vm: string | null;
  readonly peer: string | null;
  readonly operation: string;
  readonly reason: string;
  readonly verdict: { readonly checks: readonly Check[] } | null;
}

/** A VM as `tvmmp status --json` has it. */
export interface ShownVm {
  readonly uuid: string;
  readonly name: string;
  readonly state: string;
  readonly holder: string;
  readonly epoch: number;
}

/** Who calls the hook by hand, and how. */
export interface HookOptions {
  readonly user?: string;
  /** Options of the hook client. */
  readonly client?: readonly string[];
}

/** How often something is looked for that has to come. */
const triesMax = 150;

export const victim = 'victim';
export const victimUuid = '3e7c1d52-6f0a-4b8e-9c11-2a4f6d8b0c31';
/** Any digest that is not the one that was measured. */
export const surprise = 'e'.repeat(64);

const liveFlags = ['--live', '--p2p', '--tls', '--persistent', '--undefinesource'];

/** See the head of this file. */
export class AttackLab {
  readonly lab = new Lab();
  #mallory: Attacker | null = null;
  #relay: ChildProcess | null = null;

  async up(): Promise<void> {
    const { lab } = this;
    await lab.must('up', '--hosts', 'alpha,beta,mallory,delta', '--tpm-delay', '0');
    await lab.must('install', 'alpha', 'beta', 'mallory');
    await lab.must('stop-agent', 'mallory');
    await lab.must('arm', 'delta');
    await lab.must('guest-define', 'alpha', victim, '--uuid', victimUuid);
    await lab.on('alpha', 'tvmmp', 'vm', 'protect', victim);
    await lab.on('alpha', 'virsh', '-q', 'start', victim);
    await this.#startRelay();
    this.#mallory = await Attacker.at(this.relayDirectory, this.etc('mallory'));
    await lab.ticked(victim, 'alpha', 2);
  }

  async close(): Promise<void> {
    await this.#mallory?.close();
    this.#relay?.stdin?.end();
    await this.lab.close();
  }

  /** The attacker. */
  get mallory(): Attacker {
    assert.ok(this.#mallory !== null);
    return this.#mallory;
  }

  /** UNIX sockets that lead into mallory's network. */
  get relayDirectory(): string {
    return join(this.lab.directory, 'shared');
  }

  /** A host's /etc/tvmmp. */
  etc(host: string): string {
    return join(this.lab.directory, 'hosts', host, 'fs/etc-tvmmp');
  }

  /** Where a host's libvirt keeps the vTPM's state. */
  vtpm(host: string, uuid = victimUuid): string {
    return join(this.lab.directory, 'hosts', host, 'fs/var-lib-libvirt/swtpm', uuid);
  }

  /** Runs a command on a host, whatever comes of it. */
  exec(host: string, ...command: readonly string[]): Promise<CommandResult> {
    return this.lab.run(['exec', host, '--', ...command]);
  }

  /** `virsh migrate` of the victim from alpha, with these flags more. */
  virshMigrate(to: string, ...more: readonly string[]): Promise<CommandResult> {
    return this.virshMigrateWith(liveFlags, to, ...more);
  }

  /** `virsh migrate` with exactly these flags. */
  virshMigrateWith(flags: readonly string[], to: string, ...more: readonly string[]): Promise<CommandResult> {
    const uris = [`qemu+tcp://${to}/system`, `tcp://${to}`];
    return this.exec('alpha', 'virsh', '-q', 'migrate', ...flags, victim, ...uris, ...more);
  }

  /** `tvmmp migrate` of the victim from alpha; to mallory's attacker unless said otherwise. */
  tvmmpMigrate(to = 'mallory', agent = `${to}:${attackerPort}`): Promise<CommandResult> {
    return this.exec('alpha', 'tvmmp', 'migrate', victim, to, '--agent', agent, '--json');
  }

  /** Refusals that a host has written down, the last first. */
  async refusals(host: string, count = 1): Promise<readonly ShownRefusal[]> {
    const text = await this.lab.on(host, 'tvmmp', 'explain', '--json', '--count', String(count));
    return JSON.parse(text) as readonly ShownRefusal[];
  }

  /** What a host's journal says about a VM. */
  async vm(host: string, uuid = victimUuid): Promise<ShownVm | undefined> {
    const text = await this.lab.on(host, 'tvmmp', 'status', '--json');
    return (JSON.parse(text) as { vms: ShownVm[] }).vms.find((vm) => vm.uuid === uuid);
  }

  /** Waits until a host's journal has a VM in a state. */
  async becomes(host: string, state: string, uuid = victimUuid): Promise<void> {
    let seen: string | undefined;
    for (let tries = 0; tries < triesMax; tries += 1) {
      seen = (await this.vm(host, uuid))?.state;
      if (seen === state) return;
      await sleep(100);
    }
    throw new Error(`the VM is ${seen ?? 'unknown'} at ${host}, not ${state}`);
  }

  /** The lines of a host's agent log. */
  log(host: string): string {
    return readFileSync(join(this.lab.directory, 'hosts', host, 'fs/var-log-tvmmp/tvmmpd.log'), 'utf8');
  }

  /** Waits until a host's agent has logged something that matches, beyond `from` characters. */
  async logged(host: string, pattern: RegExp, from: number): Promise<void> {
    for (let tries = 0; tries < triesMax; tries += 1) {
      if (pattern.test(this.log(host).slice(from))) return;
      await sleep(100);
    }
    throw new Error(`${host} did not log ${String(pattern)}: ${this.log(host).slice(from)}`);
  }

  /** The guest runs on a host with its vTPM: one more tick there, with the PCR and the secret that it always had. */
  async ticksOn(host = 'alpha'): Promise<void> {
    const before = await this.lab.ticks(victim);
    const seen = await this.lab.ticked(victim, host, before.filter((tick) => tick.host === host).length + 1);
    const last = seen.at(-1);
    assert.equal(last?.host, host, 'the guest ticks on another host');
    assert.ok(last.pcr !== null && last.secret !== null, `tick ${last.number} met a TPM error`);
    const ok = ({ pcr, secret }: Tick): boolean => pcr === last.pcr && secret === last.secret;
    assert.ok(seen.every(ok), 'the vTPM is another one');
    assert.deepEqual(
      seen.map(({ number }) => number),
      seen.map((_, index) => index + 1),
      'a tick is missing or came twice',
    );
  }

  /** The victim's definition as it would travel, with a change. Written to a file that every host sees. */
  async changedXml(change: (xml: string) => string): Promise<string> {
    const xml = await this.lab.on(
      'alpha',
      'virsh',
      '-q',
      'dumpxml',
      '--migratable',
      '--security-info',
      victim,
    );
    const changed = change(xml);
    assert.notEqual(changed, xml, 'the attack changes nothing');
    const file = join(this.relayDirectory, 'changed.xml');
    writeFileSync(file, changed);
    return file;
  }

  /** Calls the hook on a host by hand, as `user`. */
  hook(host: string, operation: string, xml: string, options: HookOptions = {}): Promise<CommandResult> {
    const { user = 'root', client = [] } = options;
    const as = user === 'root' ? [] : ['setpriv', '--reuid', user, '--regid', 'nogroup', '--clear-groups'];
    const hook = ['/etc/libvirt/hooks/qemu.d/50-tvmmp', ...client, victim, operation, 'begin', '-'];
    return this.lab.run(['exec', host, '--', ...as, ...hook], { input: xml });
  }

  /** The victim goes to beta and comes back, so that both know it. */
  async roundTrip(): Promise<void> {
    const { status, stderr } = await this.virshMigrate('beta');
    assert.equal(status, 0, stderr);
    await this.becomes('alpha', 'gone');
    await this.comeHome();
  }

  /** Brings the victim from beta back to alpha. */
  async comeHome(): Promise<void> {
    await this.lab.on('beta', 'tvmmp', 'migrate', victim, 'alpha');
    await this.becomes('beta', 'gone');
  }

  /** Reads mallory's files anew. */
  async reloadMallory(): Promise<void> {
    await this.mallory.close();
    this.#mallory = await Attacker.at(this.relayDirectory, this.etc('mallory'));
  }

  /** Gives mallory's host back to its own agent while `work` runs. */
  async withHonestMallory(work: () => Promise<void>): Promise<void> {
    await this.mallory.close();
    await this.lab.must('start-agent', 'mallory');
    try {
      await work();
    } finally {
      await this.lab.must('stop-agent', 'mallory');
      this.#mallory = await Attacker.at(this.relayDirectory, this.etc('mallory'));
    }
  }

  async #startRelay(): Promise<void> {
    const program = new URL('attacker-relay.ts', import.meta.url).pathname;
    const targets = [
      'tpm.sock=127.0.0.1:2321',
      'tpm.sock.ctrl=127.0.0.1:2322',
      'alpha=alpha:16515',
      'beta=beta:16515',
    ];
    const script = new URL('../../scripts/lab', import.meta.url).pathname;
    const node = [process.execPath, '--import', 'tsx', program];
    const child = spawn(
      script,
      ['exec', 'mallory', '--', ...node, this.relayDirectory, String(attackerPort), ...targets],
      {
        env: { ...process.env, TVMMP_LAB_ROOT: this.lab.root, TVMMP_LAB_NAME: this.lab.name },
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    this.#relay = child;
    await once(child.stdout, 'data');
  }
}

let shared: Promise<AttackLab> | null = null;

async function sharedLab(): Promise<AttackLab> {
  const world = new AttackLab();
  try {
    await world.up();
    return world;
  } catch (error) {
    await world.close();
    throw error;
  }
}

/** The lab that all files of one run share, for use within a `describe`. */
export function attackLab(): () => AttackLab {
  let world: AttackLab | undefined;
  before(async function () {
    skipWithout(this, labMissing());
    world = await (shared ??= sharedLab());
  });
  return () => {
    assert.ok(world !== undefined);
    return world;
  };
}

// Of the root suite: after all files.
after(async () => {
  await (await shared?.catch(() => null))?.close();
});
