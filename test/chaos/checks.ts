/** What must hold after a fault, whatever it was. Throws what does not. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { Tick } from '../../scripts/lab.d/lab.ts';
import type { AgentStatus, Guest, ProductLab } from '../support/product-lab.ts';
import { secondRun, ticksHold } from './guest-ticks.ts';

/** From the mending of the last fault until nothing is under way. A permit and an incoming VM's grace are a minute each (SPEC 11). */
export const settleMs = 150_000;
const pollMs = 500;
/** What libvirt may say of a VM where its holder is another host. */
const notHere: readonly (string | null)[] = [null, 'shut off'];

/** A conflict that lasts so long is one: it is named, and waits for an administrator (SPEC 6.9). */
const conflictMs = 20_000;

/** Where the VM is. */
export interface Settled {
  readonly holder: string;
  readonly running: boolean;
}

/**
 * Waits until both agents have nothing under way, one host holds the VM, and no other has anything of it. Where both say
 * `hand-over-conflict`, it does as their administrator would, and calls `resolved` with the ticks of a run that was stopped for it.
 * `before`: the guest's ticks before all this.
 */
export async function onceSettled(
  lab: ProductLab,
  guest: Guest,
  before: readonly Tick[],
  resolved: (secondRun: readonly Tick[]) => void,
): Promise<Settled> {
  const began = Date.now();
  let mayResolve = true;
  for (;;) {
    try {
      return await settled(lab, guest);
    } catch (error) {
      const waited = Date.now() - began;
      if (mayResolve && waited > conflictMs && (await inConflict(lab))) {
        mayResolve = false;
        resolved(await resolveConflict(lab, guest, before));
      } else if (waited > settleMs) throw error;
      await sleep(pollMs);
    }
  }
}

/** Both hosts name it, not one alone (SPEC 6.9). */
async function inConflict(lab: ProductLab): Promise<boolean> {
  const statuses = await Promise.all(lab.hostNames.map((host) => lab.agentStatus(host)));
  return statuses.every(({ migrations }) =>
    migrations.some(({ problem }) => problem.startsWith('hand-over-conflict')),
  );
}

/**
 * As README says (A migration that does not end). Where one host alone runs the VM, it stays there. Where both do, it stays with
 * the target, which the longer proof names as its holder: once the source’s copy is stopped, nothing contradicts *arrived* any
 * more (SPEC 6.8), and nobody states anything. Gives the ticks of a run that was stopped, from where both went on.
 */
async function resolveConflict(
  lab: ProductLab,
  guest: Guest,
  before: readonly Tick[],
): Promise<readonly Tick[]> {
  const states = new Map<string, string | null>();
  for (const host of lab.hostNames) states.set(host, await lab.domainState(host, guest));
  const running = lab.hostNames.filter((host) => states.get(host) === 'running');
  assert.ok(running.length > 0, 'in conflict, and running on no host');
  const keeper = running.length === 1 ? running[0] : await targetOf(lab);
  const loser = lab.hostNames.find((host) => host !== keeper);
  assert.ok(keeper !== undefined && loser !== undefined);
  const resolve = (host: string, ...outcome: readonly string[]): Promise<string> =>
    lab.on(host, 'tvmmp', 'migration', 'resolve', guest.name, ...outcome);
  let second: readonly Tick[] = [];
  if (running.length > 1) {
    await lab.on(loser, 'virsh', '-q', 'destroy', guest.name);
    second = secondRun(before, await lab.ticks(guest.name), keeper, loser);
    await lab.settled(...lab.hostNames);
  } else await resolve(loser, '--give-up', '--i-accept-loss');
  if (states.get(loser) !== null) await lab.on(loser, 'virsh', '-q', 'undefine', guest.name);
  if (running.length === 1) await resolve(keeper, '--keep-here', '--i-accept-two-copies');
  return second;
}

async function targetOf(lab: ProductLab): Promise<string | undefined> {
  const statuses = await Promise.all(lab.hostNames.map((host) => lab.agentStatus(host)));
  return statuses.find(({ migrations }) => migrations.some(({ role }) => role === 'target'))?.host;
}

async function settled(lab: ProductLab, guest: Guest): Promise<Settled> {
  const statuses: AgentStatus[] = [];
  for (const host of lab.hostNames) statuses.push(await lab.agentStatus(host));
  for (const { host, migrations } of statuses)
    assert.deepEqual(migrations, [], `${host} has not finished its hand-overs`);
  const holders = statuses.filter(({ host, vms }) =>
    vms.some((vm) => vm.uuid === guest.uuid && vm.holder === host),
  );
  assert.equal(holders.length, 1, `held by ${holders.map(({ host }) => host).join(' and ') || 'nobody'}`);
  const [{ host: holder, vms }] = holders as [AgentStatus];
  const vm = vms.find(({ uuid }) => uuid === guest.uuid);
  const here = await lab.domainState(holder, guest);
  const states: Readonly<Record<string, string>> = { running: 'running', 'shut off': 'stopped' };
  assert.equal(states[here ?? ''], vm?.state, `libvirt of ${holder} has the VM ${here ?? 'not at all'}`);
  for (const other of statuses.filter(({ host }) => host !== holder)) {
    const known = other.vms.find(({ uuid }) => uuid === guest.uuid);
    assert.equal(known?.state ?? 'gone', 'gone', `the VM is not gone for ${other.host}`);
    const there = await lab.domainState(other.host, guest);
    assert.ok(notHere.includes(there), `the VM is ${there ?? ''} on ${other.host} too`);
    await lab.nothingLeft(other.host, guest);
  }
  return { holder, running: here === 'running' };
}

/** Starts the guest again where its run has ended, or its vTPM was killed under it; the vTPM's secret is the same. */
export async function bootAgain(
  lab: ProductLab,
  guest: Guest,
  holder: string,
  running: boolean,
): Promise<void> {
  if (running) await lab.halt(holder, guest);
  await lab.boot(holder, guest);
  await lab.state(holder, guest, 'running');
}

/**
 * The guest ticks on with its vTPM, its secret is in libvirt no more, and the proof is whole at both hosts. `errors`: how many ticks
 * that met a TPM error are accounted for; `givenUp`: ticks of second runs that an administrator stopped.
 */
export async function everythingHolds(
  lab: ProductLab,
  guest: Guest,
  holder: string,
  errors: number,
  givenUp: readonly Tick[],
): Promise<void> {
  await lab.ticksOn(holder, guest);
  ticksHold(await lab.ticks(guest.name), errors, givenUp);
  assert.equal(
    (await lab.on(holder, 'virsh', '-q', 'secret-list')).trim(),
    '',
    `a secret is left in libvirt of ${holder}`,
  );
  const { outcome, holder: proved, head, holdings } = await lab.proof(holder, guest);
  assert.equal(outcome, 'verified');
  assert.equal(proved, holder, 'the proof names another holder');
  assert.equal(head.state, 'running');
  assert.ok(
    holdings.slice(0, -1).every(({ destroyed }) => destroyed !== null),
    'departed of an earlier holder is missing',
  );
  unforked(lab, guest);
}

/** Entries of one number are the same in both journals. */
function unforked(lab: ProductLab, guest: Guest): void {
  const [first, second] = lab.hostNames.map((host) => entriesOf(lab, host, guest)) as [Entries, Entries];
  for (const [sequence, bytes] of first) {
    const there = second.get(sequence);
    assert.ok(there === undefined || there.equals(bytes), `the chain is forked at entry ${sequence}`);
  }
}

type Entries = ReadonlyMap<number, Buffer>;

function entriesOf(lab: ProductLab, host: string, guest: Guest): Entries {
  const journal = new Database(join(lab.hostDirectory(host), 'fs/var-lib-tvmmp/journal.sqlite'), {
    readonly: true,
  });
  try {
    const rows = journal.prepare('SELECT sequence, bytes FROM entry WHERE vm = ?').all(guest.uuid) as {
      sequence: number;
      bytes: Buffer;
    }[];
    return new Map(rows.map(({ sequence, bytes }) => [sequence, bytes]));
  } finally {
    journal.close();
  }
}
