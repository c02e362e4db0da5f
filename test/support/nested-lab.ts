/** A nested lab (`scripts/lab up --nested`) of a test's own: machines of QEMU with firmware, Secure Boot, TPM and IMA. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** Files that a machine wrote, by name. */
export type MachineFiles = ReadonlyMap<string, Buffer>;

export class NestedLab {
  /** Where a test may keep files, beside the lab's. */
  readonly directory: string;
  readonly #environment: NodeJS.ProcessEnv;

  private constructor(directory: string) {
    this.directory = directory;
    this.#environment = { ...process.env, TVMMP_LAB_ROOT: join(directory, 'labs'), TVMMP_LAB_NAME: 'nested' };
  }

  /** Builds what is missing, and boots the machines. */
  static async up(machines: readonly string[]): Promise<NestedLab> {
    const lab = new NestedLab(await mkdtemp(join(tmpdir(), 'tvmmp-nested-')));
    await lab.#lab(['up', '--nested', '--hosts', machines.join(',')]);
    return lab;
  }

  async down(): Promise<void> {
    await this.#lab(['down']);
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Reboots a machine as its arguments say (`scripts/lab help`). */
  async reboot(machine: string, ...how: readonly string[]): Promise<void> {
    await this.#lab(['reboot', machine, ...how]);
  }

  /** Runs a shell script as root on a machine, up to its first error, and answers what it printed. */
  async shell(machine: string, script: string): Promise<string> {
    const { stdout } = await this.#lab(['exec', machine, '--', 'bash', '-euo', 'pipefail', '-c', script]);
    return stdout.toString();
  }

  /** The same with a script that leaves files in its directory, a new one. */
  async files(machine: string, script: string): Promise<MachineFiles> {
    const whole = `cd "$(mktemp -d)"\n{ ${script}\n} >&2\nfor f in *; do echo "$f $(base64 -w 0 "$f")"; done`;
    const text = await this.shell(machine, whole);
    return new Map(
      text
        .trimEnd()
        .split('\n')
        .map((line) => {
          const [name = '', base64 = ''] = line.split(' ');
          return [name, Buffer.from(base64, 'base64')];
        }),
    );
  }

  /** Writes a file on a machine, from root's home on; directories are made. */
  async put(machine: string, path: string, text: string): Promise<void> {
    const script = 'mkdir -p "$(dirname "$1")" && cat >"$1"';
    await this.#lab(['exec', machine, '--', 'bash', '-euc', script, 'bash', path], text);
  }

  /** The root of the maker of the machines' TPMs. */
  async tpmRoot(): Promise<string> {
    return readFile(join(this.directory, 'labs/nested/tpm-roots/root.pem'), 'utf8');
  }

  async #lab(words: readonly string[], input = ''): Promise<{ stdout: Buffer }> {
    const running = run('scripts/lab', words, {
      env: this.#environment,
      encoding: 'buffer',
      maxBuffer: OUTPUT_BYTES_MAX,
    });
    running.child.stdin?.end(input);
    return running;
  }
}
