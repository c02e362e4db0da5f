/** A lab (scripts/lab) of one's own, for tests, the demo and the bench: hosts in namespaces under a root directory that `close` removes. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('../lab', import.meta.url));

/** How a command ended. */
export interface CommandResult {
  /** Exit code; 128 + signal number is the shell's affair, -1 a signal that ended the command itself. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One line that the guest wrote about its vTPM. */
export interface Tick {
  readonly number: number;
  readonly host: string;
  /** PCR 11 of the vTPM, and SHA-256 of the secret sealed in it, in hex; null where the guest met a TPM error. */
  readonly pcr: string | null;
  readonly secret: string | null;
  /** The guest's clock, in milliseconds. */
  readonly clock: number;
}

/** How a host is, as `scripts/lab status --json` says. */
export interface HostStatus {
  readonly name: string;
  readonly address: string;
  readonly state: 'up' | 'down';
  readonly pid: number | null;
  readonly tpm: boolean;
  readonly libvirtd: boolean;
  readonly agent: boolean;
  readonly domains: readonly { readonly name: string; readonly state: string }[];
}

/** Why labs cannot run here, or undefined where they can. */
export function labMissing(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'labs need root';
}

/** A lab with a root directory of its own. */
export class Lab {
  /** What TVMMP_LAB_ROOT is for this lab. On a real disk: guests open theirs with O_DIRECT. */
  readonly root: string;
  readonly name = 'lab';

  constructor() {
    this.root = mkdtempSync('/var/tmp/tvmmp-lab-test-');
  }

  /** Where the lab keeps its state. */
  get directory(): string {
    return join(this.root, this.name);
  }

  /** Runs scripts/lab with these arguments, whatever comes of it. */
  async run(
    args: readonly string[],
    options: { readonly input?: string; readonly cwd?: string } = {},
  ): Promise<CommandResult> {
    const child = spawn(SCRIPT, args, {
      env: { ...process.env, TVMMP_LAB_ROOT: this.root, TVMMP_LAB_NAME: this.name },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    // A command need not read what it is given, nor live until it comes.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    const status = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => {
        resolve(code ?? -1);
      });
    });
    return { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
  }

  /** Runs scripts/lab and gives what it printed; throws if it fails. */
  async must(...args: readonly string[]): Promise<string> {
    const result = await this.run(args);
    if (result.status !== 0) throw new Error(`lab ${args.join(' ')}: ${result.stderr}${result.stdout}`);
    return result.stdout;
  }

  /** Runs a command on a host; throws if it fails. */
  on(host: string, ...command: readonly string[]): Promise<string> {
    return this.must('exec', host, '--', ...command);
  }

  /** The hosts, as they are. */
  async hosts(): Promise<readonly HostStatus[]> {
    const status = JSON.parse(await this.must('status', '--json')) as {
      readonly hosts: readonly HostStatus[];
    };
    return status.hosts;
  }

  /** All of the guest's ticks so far, on all hosts, in order. */
  async ticks(guest: string): Promise<readonly Tick[]> {
    const lines = (await this.must('guest-ticks', guest)).split('\n').filter((line) => line !== '');
    return lines.map((line) => {
      const match =
        /^tick (\d+) (?:pcr=([0-9a-f]{64}) secret=([0-9a-f]{64}) ok|ERROR 0x[0-9a-f]+) t=(\d+) host=(\w+)$/.exec(
          line,
        );
      if (match === null) throw new Error(`a tick of another form: ${line}`);
      return {
        number: Number(match[1]),
        pcr: match[2] ?? null,
        secret: match[3] ?? null,
        host: match[5] ?? '',
        clock: Number(match[4]),
      };
    });
  }

  /** Waits until the guest has ticked at least `count` times on the host; the caller bounds the time. */
  async ticked(guest: string, host: string, count: number): Promise<readonly Tick[]> {
    for (;;) {
      const ticks = await this.ticks(guest);
      if (ticks.filter((tick) => tick.host === host).length >= count) return ticks;
      await sleep(200);
    }
  }

  /** Takes the lab down, whatever became of it, and removes its root. */
  async close(): Promise<void> {
    const result = await this.run(['down']);
    rmSync(this.root, { recursive: true, force: true });
    if (result.status !== 0) throw new Error(result.stderr);
  }
}
