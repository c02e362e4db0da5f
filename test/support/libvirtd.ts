import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { rootMissing } from './skip.ts';

/** What a private libvirtd is started with. */
export interface PrivateLibvirtdOptions {
  /** Host name inside its UTS namespace; unique by default. */
  readonly hostname?: string;
  /** Lines added to its qemu.conf. */
  readonly qemuConf?: string;
  /** Executable text of /etc/libvirt/hooks/qemu, which libvirtd looks for when it starts. */
  readonly qemuHook?: string;
  /** Shell commands run in its namespaces before it starts, such as making a bridge. */
  readonly setup?: string;
  /** Another one whose knowledge of QEMU to take over: saves the seconds of asking QEMU anew. */
  readonly capabilitiesOf?: PrivateLibvirtd;
}

const DAEMON_START_MS = 60_000;

/** What this machine lacks to start one: root, or Debian’s libvirtd, QEMU or swtpm. */
export function libvirtdMissing(): string | undefined {
  const programs = [
    '/usr/sbin/libvirtd',
    '/usr/bin/qemu-system-x86_64',
    '/usr/bin/swtpm',
    '/usr/bin/unshare',
  ];
  const missing = programs.filter((path) => !existsSync(path));
  return missing.length === 0 ? rootMissing() : `not installed: ${missing.join(', ')}`;
}

/**
 * A real libvirtd of our own, in its own mount, network and UTS namespaces, whose files all lie in one temporary directory.
 * Several run side by side, and beside the machine's own. `stop` ends it and every QEMU and swtpm it started, by process id.
 */
export class PrivateLibvirtd {
  readonly directory: string;
  readonly hostUuid: string;
  readonly hostname: string;
  readonly #setup: string;
  #process: ChildProcess | undefined;

  private constructor(directory: string, hostUuid: string, hostname: string, setup: string) {
    this.directory = directory;
    this.hostUuid = hostUuid;
    this.hostname = hostname;
    this.#setup = setup;
  }

  static async start(options: PrivateLibvirtdOptions = {}): Promise<PrivateLibvirtd> {
    const hostUuid = randomUUID();
    const hostname = options.hostname ?? `tvmmp-${hostUuid.slice(0, 8)}`;
    const directory = mkdtempSync(join(tmpdir(), 'tvmmp-lv-'));
    const daemon = new PrivateLibvirtd(directory, hostUuid, hostname, options.setup ?? ':');
    daemon.#writeConfiguration(options);
    try {
      await daemon.restart();
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  }

  get socketPath(): string {
    return join(this.directory, 'run/libvirt/libvirt-sock');
  }

  get uri(): string {
    return `qemu+unix:///system?socket=${this.socketPath}`;
  }

  /** libvirt's own record of a running domain, with the job under way. */
  statusPath(name: string): string {
    return join(this.directory, 'run/libvirt/qemu', `${name}.xml`);
  }

  get logText(): string {
    const path = join(this.directory, 'libvirtd.log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  #writeConfiguration(options: PrivateLibvirtdOptions): void {
    const at = (path: string): string => join(this.directory, path);
    for (const path of ['etc/hooks', 'lib', 'log', 'cache', 'localca', 'run/lock'])
      mkdirSync(at(path), { recursive: true });
    writeFileSync(
      at('etc/libvirtd.conf'),
      `host_uuid = "${this.hostUuid}"\nauth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n`,
    );
    if (options.capabilitiesOf !== undefined) {
      cpSync(join(options.capabilitiesOf.directory, 'cache'), at('cache'), {
        recursive: true,
        preserveTimestamps: true,
      });
    }
    const qemuConf = [
      'user = "root"',
      'group = "root"',
      'swtpm_user = "root"',
      'swtpm_group = "root"',
      'security_driver = "none"',
      'namespaces = []',
      'cgroup_controllers = []',
      'stdio_handler = "file"',
      options.qemuConf ?? '',
    ];
    writeFileSync(at('etc/qemu.conf'), `${qemuConf.join('\n')}\n`);
    if (options.qemuHook !== undefined)
      writeFileSync(at('etc/hooks/qemu'), options.qemuHook, { mode: 0o755 });
  }

  /** Starts the daemon, or stops and starts it again; guests run on. */
  async restart(): Promise<void> {
    await this.stopDaemon();
    rmSync(this.socketPath, { force: true });
    const mounts: readonly (readonly [string, string])[] = [
      ['etc', '/etc/libvirt'],
      ['lib', '/var/lib/libvirt'],
      ['log', '/var/log/libvirt'],
      ['cache', '/var/cache/libvirt'],
      ['localca', '/var/lib/swtpm-localca'],
      ['run', '/run'],
    ];
    const steps = mounts.map(([from, to]) => `mkdir -p ${to} && mount --bind "$1/${from}" ${to}`);
    const script = [...steps, 'hostname "$2"', 'ip link set lo up', this.#setup, 'exec libvirtd'].join(
      ' && ',
    );
    const log = openSync(join(this.directory, 'libvirtd.log'), 'a');
    // It dies with us even where a killed test never comes to its clean-up.
    const command = ['-m', '-n', '-u', 'setpriv', '--pdeathsig', 'KILL', 'sh', '-c', script, 'sh'];
    const child = spawn('unshare', [...command, this.directory, this.hostname], {
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#process = child;
    await this.#untilListening(child);
  }

  async #untilListening(child: ChildProcess): Promise<void> {
    for (let waitedMs = 0; waitedMs < DAEMON_START_MS; waitedMs += 50) {
      if (child.exitCode !== null) break;
      if (existsSync(this.socketPath)) return;
      await delay(50);
    }
    throw new Error(`libvirtd did not start:\n${this.logText}`);
  }

  /** Ends the daemon alone, as a crash (SIGKILL) or in order (SIGTERM). */
  async stopDaemon(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Ends the daemon and its guests, and removes every file. */
  async stop(): Promise<void> {
    await this.stopDaemon('SIGKILL');
    for (const pid of this.#guestPids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** QEMU and swtpm processes by libvirt's pid files, each checked to be what the file claims. */
  #guestPids(): number[] {
    const pids: number[] = [];
    for (const folder of ['run/libvirt/qemu', 'run/libvirt/qemu/swtpm']) {
      const path = join(this.directory, folder);
      if (!existsSync(path)) continue;
      for (const file of readdirSync(path).filter((name) => name.endsWith('.pid'))) {
        const pid = Number.parseInt(readFileSync(join(path, file), 'utf8'), 10);
        if (Number.isInteger(pid) && /qemu|swtpm/.test(commandName(pid))) pids.push(pid);
      }
    }
    return pids;
  }
}

function commandName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    return '';
  }
}

/** XML of the smallest guest that libvirt can run and migrate: no disk, emulated CPU, optionally an emulator vTPM. */
export function smallDomainXml(options: {
  name: string;
  uuid: string;
  /** With a vTPM; with `secret`, its state encrypted under that libvirt secret. */
  vtpm?: { secret?: string };
  metadata?: string;
}): string {
  const encryption =
    options.vtpm?.secret === undefined ? '' : `<encryption secret='${options.vtpm.secret}'/>`;
  const tpm =
    options.vtpm === undefined
      ? ''
      : `<tpm model='tpm-crb'><backend type='emulator' version='2.0'>${encryption}</backend></tpm>`;
  return `<domain type='qemu'>
  <name>${options.name}</name>
  <uuid>${options.uuid}</uuid>
  ${options.metadata === undefined ? '' : `<metadata>${options.metadata}</metadata>`}
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='pty'/>
    ${tpm}
  </devices>
</domain>`;
}
