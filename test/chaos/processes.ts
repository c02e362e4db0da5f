/** Processes of a lab's hosts as this one sees them, and signals to them. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Guest, ProductLab } from '../support/product-lab.ts';

/** What is struck. */
export type Victim = 'agent' | 'libvirtd' | 'qemu' | 'swtpm' | 'hook-client';

const pidFiles: Readonly<Record<Exclude<Victim, 'hook-client' | 'agent'>, (guest: Guest) => string>> = {
  libvirtd: () => '/run/libvirtd.pid',
  qemu: ({ name }) => `/run/libvirt/qemu/${name}.pid`,
  swtpm: ({ name }) => `/run/libvirt/qemu/swtpm/*-${name}-swtpm.pid`,
};

/** Process id, as we see it, of a host's process; throws where there is none. */
export async function processOf(
  lab: ProductLab,
  host: string,
  victim: Victim,
  guest: Guest,
): Promise<number> {
  if (victim === 'hook-client') return hookClientOf(lab, host);
  if (victim === 'agent') return lab.agentPid(host);
  const text = await lab.on(host, 'bash', '-c', `cat ${pidFiles[victim](guest)}`);
  const inner = text.trim();
  const outer = processesOf(lab, host).find((pid) => innerId(pid) === inner);
  if (outer === undefined) throw new Error(`there is no ${victim} on ${host}`);
  return outer;
}

/** Sends a signal; SIGKILL is waited for. */
export async function signal(pid: number, name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
  process.kill(pid, name);
  while (name === 'SIGKILL' && runs(pid)) await sleep(5);
}

/** Whether the process is there and no zombie. */
export function runs(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== '' && !/\) Z /.test(stat);
}

/** Ends a host as a loss of its power would: all its processes at once. */
export async function cutPower(lab: ProductLab, host: string): Promise<void> {
  const pid = Number(read(join(lab.hostDirectory(host), 'pid')).split(' ')[0]);
  const all = processesOf(lab, host);
  process.kill(pid, 'SIGKILL');
  while (all.some(runs)) await sleep(5);
}

async function hookClientOf(lab: ProductLab, host: string): Promise<number> {
  return lab.eventually(`a hook client waits on ${host}`, () => {
    const found = processesOf(lab, host).find((pid) => read(`/proc/${pid}/comm`) === '50-tvmmp\n');
    return Promise.resolve(found ?? null);
  });
}

/** All processes in the host's namespace of process ids. */
function processesOf(lab: ProductLab, host: string): readonly number[] {
  const first = read(join(lab.hostDirectory(host), 'pid')).split(' ')[0] ?? '';
  const namespace = link(`/proc/${first}/ns/pid`);
  if (namespace === '') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && link(`/proc/${name}/ns/pid`) === namespace)
    .map(Number);
}

function innerId(pid: number): string {
  return /^NSpid:.*\s(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? '';
}

function read(path: string): string {
  try {
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  } catch {
    // It has ended since.
    return '';
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
