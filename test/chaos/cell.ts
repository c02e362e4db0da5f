/** One cell of the table: one migration, one fault in one phase, and what must hold afterwards. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CommandResult } from '../../scripts/lab.d/lab.ts';
import { ChaosLab } from './chaos-lab.ts';
import type { Route } from './chaos-lab.ts';
import { bootAgain, everythingHolds, onceSettled } from './checks.ts';
import type { Fault, Heal, Scene } from './faults.ts';
import type { Hold } from './gates.ts';
import { errorOfStop, errorsIn } from './guest-ticks.ts';
import type { Phase, Side } from './phases.ts';

/** Phase, fault and the host that is struck. */
export interface Cell {
  readonly phase: Phase;
  readonly fault: Fault;
  readonly side: Side;
}

/** How a cell went where all held. */
export interface CellOutcome {
  /** Where the VM is: it moved, or it stayed. */
  readonly outcome: 'moved' | 'stayed';
  /** Whether the guest's run ended with the fault, and it was started again. */
  readonly restarted: boolean;
  /** Whether it was a named conflict that an administrator had to resolve (SPEC 6.9). */
  readonly conflict?: boolean;
  /** From the mending of the fault until all of it held. */
  readonly settledMs: number;
}

/** How long a migration may take to come to its phase, and virsh to come back once the fault is mended. */
const reachMs = 60_000;
const virshMs = 120_000;

/** Runs one cell; throws what does not hold. The guest starts where `route` says, and is left at the other host than it ends on. */
export async function runCell(chaos: ChaosLab, cell: Cell, from: string): Promise<CellOutcome> {
  const { lab, guest } = chaos;
  const to = lab.hostNames.find((name) => name !== from) ?? from;
  const route: Route = { source: from, destination: to };
  const before = await lab.ticks(guest.name);
  const { migration, heal } = await struck(chaos, cell, route);
  await sleep(cell.fault.lastsMs);
  const atHeal = cell.fault.stopsVtpm === true ? await lab.ticks(guest.name) : null;
  await heal();
  const healedAt = Date.now();
  const result = await within(virshMs, 'virsh migrate does not come back', migration);
  let conflict = false;
  const { holder, running } = await onceSettled(lab, guest, before, (secondRun) => {
    conflict = true;
    chaos.givenUp.push(...secondRun);
  });
  if (result.status === 0 && holder !== to)
    throw new Error(`virsh says that the VM moved, and ${holder} holds it`);
  const vtpmWasLost = cell.fault.losesVtpm === true && holder === route[cell.side];
  const restarted = !running || vtpmWasLost;
  if (restarted) await bootAgain(lab, guest, holder, running);
  const now = await lab.ticks(guest.name);
  const unanswered = atHeal === null ? 0 : errorOfStop(atHeal, now);
  const errors = errorsIn(vtpmWasLost ? now : before) + unanswered;
  await everythingHolds(lab, guest, holder, errors, chaos.givenUp);
  const settledMs = Date.now() - healedAt;
  await movesOn(chaos, holder);
  return { outcome: holder === to ? 'moved' : 'stayed', restarted, conflict, settledMs };
}

/** Begins a migration and strikes it in the phase; what was held goes on, with the fault there. */
async function struck(
  chaos: ChaosLab,
  { phase, fault, side }: Cell,
  route: Route,
): Promise<{ readonly migration: Promise<CommandResult>; readonly heal: Heal }> {
  const { lab, guest } = chaos;
  const { place } = phase;
  const hold: Hold = place.by === 'memory' ? memoryTravels(chaos, route) : chaos.hold(place, route);
  const options = place.by === 'memory' ? { bandwidthMiBs: 1 } : {};
  const migration = lab.migrate(route.source, route.destination, guest, options);
  try {
    const reached =
      place.by === 'tpm' && place.afterLibvirt === true ? bothOf(hold, migration) : hold.reached();
    await within(reachMs, `the migration does not come to ${phase.name}`, reached);
    const scene: Scene = { chaos, route, side };
    return { migration, heal: await fault.strike(scene) };
  } finally {
    hold.open();
  }
}

async function bothOf(hold: Hold, migration: Promise<CommandResult>): Promise<void> {
  await hold.reached();
  const { status, stderr } = await migration;
  if (status !== 0) throw new Error(`the migration failed before it was struck: ${stderr}`);
}

function memoryTravels({ lab, guest }: ChaosLab, { source }: Route): Hold {
  return {
    reached: () => lab.copying(source, guest),
    // Nobody waits for it: libvirtd may be dead, or stopped for a while.
    open: () => void lab.exec(source, 'virsh', '-q', 'migrate-setspeed', guest.name, '1000'),
  };
}

/** After all that, the VM migrates like any other. */
async function movesOn({ lab, guest }: ChaosLab, holder: string): Promise<void> {
  const other = lab.hostNames.find((name) => name !== holder) ?? holder;
  await lab.moved(holder, other, guest);
  await lab.ticksOn(other, guest, 1);
}

async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  const stop = new AbortController();
  const late = sleep(ms, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`${what} (${ms / 1000} s)`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    late.catch(() => undefined);
    stop.abort();
  }
}
