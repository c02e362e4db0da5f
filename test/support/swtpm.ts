/** A private swtpm for one test: own state directory, own sockets, ended by its process id. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** Why a suite that needs swtpm cannot run here, or undefined where it can. */
export function swtpmMissing(): string | undefined {
  const missing = ['swtpm', 'swtpm_setup', 'tpm2'].filter((tool) => spawnSync(tool, ['--version']).error);
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;
}

/** How the emulated TPM is made. */
export interface SwtpmOptions {
  /** Run swtpm_setup: EKs, EK certificates in NV memory of a CA made for this test. Default: a blank TPM. */
  readonly manufacture?: boolean;
}

/** An emulated TPM that can be stopped and started again on the same state and socket. */
export class Swtpm {
  /** Removed by `close`; tests may put files here. */
  readonly directory: string;
  /** For FfiTpm and tpm2-tools alike. */
  readonly tcti: string;
  #process: ChildProcess | undefined;

  private constructor(directory: string) {
    this.directory = directory;
    this.tcti = `swtpm:path=${join(directory, 'tpm.sock')}`;
  }

  static async start(options: SwtpmOptions = {}): Promise<Swtpm> {
    const swtpm = new Swtpm(mkdtempSync(join(tmpdir(), 'tvmmp-swtpm-')));
    try {
      mkdirSync(join(swtpm.directory, 'state'));
      if (options.manufacture === true) manufacture(swtpm.directory);
      await swtpm.powerOn();
    } catch (error) {
      await swtpm.close();
      throw error;
    }
    return swtpm;
  }

  /** Starts the emulator (TPM Reset, then TPM2_Startup(CLEAR)). */
  async powerOn(): Promise<void> {
    const socket = join(this.directory, 'tpm.sock');
    const child = spawn(
      'swtpm',
      [
        'socket',
        '--tpm2',
        ...['--tpmstate', `dir=${join(this.directory, 'state')}`],
        ...['--server', `type=unixio,path=${socket}`],
        ...['--ctrl', `type=unixio,path=${socket}.ctrl`],
        ...['--flags', 'not-need-init,startup-clear'],
      ],
      { stdio: 'ignore' },
    );
    this.#process = child;
    await once(child, 'spawn');
    while (!existsSync(socket) || !existsSync(`${socket}.ctrl`)) {
      assert.equal(child.exitCode, null, 'swtpm ended at once');
      await sleep(10);
    }
  }

  /** Kills the emulator, as a power cut would; its state stays. */
  async powerOff(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    for (const name of ['tpm.sock', 'tpm.sock.ctrl']) rmSync(join(this.directory, name), { force: true });
  }

  /** Runs one of tpm2-tools against this TPM, such as `tool('pcrextend', '16:sha256=..')`. */
  tool(name: string, ...args: string[]): string {
    const run = this.tryTool(name, ...args);
    assert.equal(run.status, 0, `tpm2 ${name}: ${run.stderr}`);
    return run.stdout;
  }

  /** Runs one of tpm2-tools that may fail. */
  tryTool(name: string, ...args: string[]): SpawnSyncReturns<string> {
    return spawnSync('tpm2', [name, ...args], {
      encoding: 'utf8',
      cwd: this.directory,
      env: { ...process.env, TPM2TOOLS_TCTI: this.tcti, TSS2_LOG: 'all+error' },
    });
  }

  /** Ends the emulator and removes its state. Safe to repeat. */
  async close(): Promise<void> {
    await this.powerOff();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function manufacture(directory: string): void {
  const file = (name: string, lines: string[]): string => {
    writeFileSync(join(directory, name), lines.join('\n') + '\n');
    return join(directory, name);
  };
  const ca = file('localca.conf', [
    `statedir = ${directory}/ca`,
    `signingkey = ${directory}/ca/signkey.pem`,
    `issuercert = ${directory}/ca/issuercert.pem`,
    `certserial = ${directory}/ca/certserial`,
  ]);
  const caOptions = file('localca.options', [
    '--platform-manufacturer Test',
    '--platform-version 1',
    '--platform-model Test',
  ]);
  const setup = file('setup.conf', [
    'create_certs_tool = /usr/bin/swtpm_localca',
    `create_certs_tool_config = ${ca}`,
    `create_certs_tool_options = ${caOptions}`,
  ]);
  mkdirSync(join(directory, 'ca'));
  const run = spawnSync(
    'swtpm_setup',
    ['--tpm2', '--tpmstate', join(directory, 'state'), '--config', setup, '--create-ek-cert', '--overwrite'],
    { encoding: 'utf8' },
  );
  assert.equal(run.status, 0, `swtpm_setup: ${run.stdout}${run.stderr}`);
}
