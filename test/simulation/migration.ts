/** libvirt's five phases between two machines, with what can go wrong in each (libvirt: src/qemu/qemu_migration.c, version 3, peer to peer). */
import type { OutgoingMigration } from '../../lib/libvirt/migration-job.ts';
import type { Domain } from './domain.ts';
import { failed } from './machine.ts';
import type { Machine } from './machine.ts';
import type { Network } from './network.ts';

/** libvirt's record of a migration that leaves, as its status file has it. */
export function outgoing(domain: Domain | undefined): OutgoingMigration | null {
  if (domain?.job == null) return null;
  return {
    uuid: domain.vm.uuid,
    phase: 'begin3',
    flags: new Set(['live', 'peer2peer', 'persistDest', 'undefineSource', 'tls']),
    unknownFlags: 0,
    startedMs: domain.job.startedMs,
  };
}

/** How long libvirtd keeps an incoming guest whose source it has lost. */
const keepAliveMs = { from: 5_000, to: 30_000 };

/** One migration. Rejects with what `virsh migrate` would say; the guest then runs on where it was. */
export async function migrate(
  network: Network,
  source: Machine,
  uuid: string,
  to: Machine,
  { undefine = true } = {},
): Promise<void> {
  const domain = source.need(uuid);
  await source.pause(1, 5);
  const { running } = domain;
  if (running === null || !domain.alive || domain.job !== null) throw failed('domain does not run');
  if (source === to) throw failed('attempt to migrate guest to the same host');
  const paused = running.state === 'paused';
  const job = { startedMs: source.kernel.time, cancelled: false };
  domain.job = job;
  const libvirtds = { from: source.libvirtd, to: to.libvirtd };
  let incoming: Domain | null = null;
  /** Whether both ends and the way between them are still those that the migration began with. */
  const check = (): void => {
    if (!libvirtds.from.alive || domain.running !== running) throw failed('the source went away');
    if (
      !libvirtds.to.alive ||
      !network.reaches(source.name, to.name) ||
      !network.reaches(to.name, source.name)
    )
      throw failed('the connection to the destination is gone');
    if (job.cancelled) throw failed('operation aborted: job canceled by client');
    if (incoming !== null && incoming.running?.incoming !== true) throw failed('the destination gave up');
  };
  try {
    await step(source, 0.5, 5);
    check();
    incoming = await to.prepare(domain.vm, domain.xml(), domain);
    check();
    await perform(source, domain, check);
    if (!paused) Object.assign(running, { state: 'paused', reason: 'migration' });
    source.lifecycle(domain, 'suspended', 'migrated');
    await step(source, 1, 30);
    check();
    transfer(source, domain, incoming, to);
    await step(source, 0.2, 5);
    check();
    to.finish(incoming, paused, domain.metadata);
    loseAnswer(network, source, to);
  } catch (error) {
    giveUp(network, { source, domain, incoming, to, paused, mine: domain.job === job });
    throw error;
  }
  await source.kernel.sleep(source.kernel.between(0.2, 5));
  if (!libvirtds.from.alive || domain.running !== running) throw failed('the source went away');
  if (!network.reaches(to.name, source.name)) {
    // Finish was done, and its answer is lost: libvirt itself lets the source go on. Its operator has to end one of the two.
    domain.vm.doubled.add(source.name);
    network.doublings += 1;
    giveUp(network, { source, domain, incoming: null, to, paused, mine: true });
    throw failed('the connection to the destination is gone');
  }
  source.confirm(domain, undefine);
}

/** Where it was drawn that the answer to Finish gets lost. */
function loseAnswer(network: Network, source: Machine, to: Machine): void {
  const spanMs = network.losesAnswerMs;
  if (spanMs === null) return;
  network.losesAnswerMs = null;
  network.link(to.name, source.name, false);
  network.kernel.at(spanMs, () => {
    network.link(to.name, source.name, true);
  });
}

/** The live copy: the guest works on meanwhile. */
async function perform(source: Machine, domain: Domain, check: () => void): Promise<void> {
  const { kernel } = source;
  for (let rounds = 1 + Math.floor(kernel.random() * 5); rounds > 0; rounds -= 1) {
    await step(source, 5, 800);
    source.work(domain);
    check();
  }
}

/** All of the state is over: memory and vTPM, the latter written to the destination's disk. */
function transfer(source: Machine, domain: Domain, incoming: Domain, to: Machine): void {
  const version = domain.running?.version ?? -1;
  if (incoming.running !== null) incoming.running.version = version;
  const state = to.vtpms.get(domain.vm.uuid);
  if (state === undefined) return;
  const endorsement = source.vtpms.get(domain.vm.uuid)?.endorsement;
  Object.assign(state, { version, written: to.kernel.steps, endorsement });
}

interface Attempt {
  readonly source: Machine;
  readonly domain: Domain;
  readonly incoming: Domain | null;
  readonly to: Machine;
  readonly paused: boolean;
  readonly mine: boolean;
}

/** The destination's guest goes (at once where it can be told, by keepalive where not), the source's goes on. */
function giveUp(network: Network, { source, domain, incoming, to, paused, mine }: Attempt): void {
  const { kernel } = source;
  if (incoming !== null) {
    const told = source.isUp() && network.reaches(source.name, to.name);
    const after = told ? kernel.between(0.5, 20) : kernel.between(keepAliveMs.from, keepAliveMs.to);
    kernel.at(after, () => {
      to.dropIncoming(incoming);
    });
  }
  if (!source.libvirtd.alive || !mine) return;
  domain.job = null;
  const { running } = domain;
  if (running === null || paused || running.state !== 'paused') return;
  Object.assign(running, { state: 'running', reason: 'migration-canceled' });
  source.lifecycle(domain, 'resumed', 'migrated');
}

async function step(machine: Machine, from: number, to: number): Promise<void> {
  await machine.kernel.sleep(machine.kernel.between(from, to));
}
