/** What holds a migration still in a phase: gates in libvirt's hooks, before the hosts' TPMs, and the eye on the agents' logs. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ProductLab } from '../support/product-lab.ts';

const LAB = fileURLToPath(new URL('../../scripts/lab', import.meta.url));
const HOOK_GATE = fileURLToPath(new URL('../../scripts/lab.d/hook-gate', import.meta.url));
const TPM_GATE = fileURLToPath(new URL('../../scripts/lab.d/tpm-gate', import.meta.url));
/** Where agents find their TPM: the gate's port. */
export const tpmGatePort = 2331;
const pollMs = 10;

/** Something that a migration runs into. */
export interface Hold {
  /** Resolves when the migration is there; never rejects. */
  reached(): Promise<void>;
  /** Lets it go on, whether it is there or not. */
  open(): void;
}

/** A hook of libvirt, before or after tvmmp's own. */
export interface HookPlace {
  readonly order: 'before' | 'after';
  readonly operation: string;
  readonly subOperation: string;
}

/** Gates in the hooks of one host. */
export class HookGates {
  readonly #directory: string;

  /** Installs them; libvirtd must be told to look for hooks anew afterwards. */
  constructor(lab: ProductLab, host: string) {
    this.#directory = join(lab.hostDirectory(host), 'gate');
    mkdirSync(this.#directory, { recursive: true });
    const hooks = join(lab.hostDirectory(host), 'fs/etc-libvirt/hooks/qemu.d');
    mkdirSync(hooks, { recursive: true });
    for (const [file, order] of [
      ['10-gate', 'before'],
      ['90-gate', 'after'],
    ] as const) {
      const text = `#!/bin/sh\nexec ${HOOK_GATE} ${this.#directory} ${order} "$@"\n`;
      writeFileSync(join(hooks, file), text, { mode: 0o755 });
    }
  }

  hold({ order, operation, subOperation }: HookPlace): Hold {
    const file = join(this.#directory, `${order}-${operation}-${subOperation}`);
    rmSync(`${file}.held`, { force: true });
    writeFileSync(file, '');
    return {
      reached: async () => {
        while (!existsSync(`${file}.held`)) await sleep(pollMs);
      },
      open: () => {
        rmSync(file, { force: true });
      },
    };
  }
}

/** The gate before one host's TPM; ends with the host, and is then started again. */
export class TpmGate {
  readonly #lab: ProductLab;
  readonly #host: string;
  #child: ChildProcessWithoutNullStreams | null = null;
  #held: () => void = () => undefined;

  constructor(lab: ProductLab, host: string) {
    this.#lab = lab;
    this.#host = host;
  }

  async start(): Promise<void> {
    const child = spawn(LAB, ['exec', this.#host, '--', TPM_GATE, String(tpmGatePort)], {
      env: { ...process.env, TVMMP_LAB_ROOT: this.#lab.root, TVMMP_LAB_NAME: this.#lab.name },
    });
    this.#child = child;
    child.stdin.on('error', () => undefined);
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      child.on('close', () => {
        reject(new Error(`the TPM gate of ${this.#host} ended: ${errors}`));
      });
      createInterface(child.stdout).on('line', (line) => {
        if (line === 'ready') resolve();
        if (line === 'held') this.#held();
      });
    });
  }

  /** Holds the command of this code after `count` others of it. */
  hold(code: number, count: number): Hold {
    const held = new Promise<void>((resolve) => {
      this.#held = resolve;
    });
    this.#order(`hold ${code.toString(16)} ${count}`);
    return {
      reached: () => held,
      open: () => {
        this.#order('open');
      },
    };
  }

  delay(seconds: number): void {
    this.#order(`delay ${seconds}`);
  }

  fail(fails: boolean): void {
    this.#order(`fail ${fails ? 'yes' : 'no'}`);
  }

  stop(): void {
    this.#child?.stdin.end();
    this.#child = null;
  }

  #order(words: string): void {
    this.#child?.stdin.write(`${words}\n`);
  }
}

/** Not a gate: tells as soon as the agent's log says that a session entered a state. What is struck then may have gone on a little. */
export function sessionEnters(lab: ProductLab, host: string, role: string, state: string): Hold {
  const file = openSync(join(lab.hostDirectory(host), 'fs/var-log-tvmmp/tvmmpd.log'), 'r');
  let offset = fstatSync(file).size;
  let open = true;
  return {
    reached: async () => {
      let text = '';
      const entered = new RegExp(`"role":"${role}","state":"${state}".*"msg":"session"`);
      while (open && !entered.test(text)) {
        const chunk = Buffer.alloc(Math.max(0, fstatSync(file).size - offset));
        const length = readSync(file, chunk, 0, chunk.length, offset);
        offset += length;
        text += chunk.toString('utf8', 0, length);
        await sleep(2);
      }
      // One that was given up waits no more, and tells nothing.
      if (!open) await new Promise(() => undefined);
    },
    open: () => {
      if (open) closeSync(file);
      open = false;
    },
  };
}
