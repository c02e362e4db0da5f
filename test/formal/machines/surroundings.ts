/** What neither agent decides: libvirt's phases (begin, prepare, perform, finish, confirm), guests that end, faults. */
import { bit, messageNames, toSource, toTarget } from './world.ts';
import type { MessageName, World } from './world.ts';

type Add = (next: World) => void;

function runsAgain(world: World): World {
  return world.sourceQemu === 'waits' ? { ...world, sourceQemu: 'runs' } : world;
}

/** The incoming QEMU ends; libvirt takes its vTPM state away, or leaves it. */
function endsIncoming(world: World, add: Add): void {
  const ended: World = { ...world, targetQemu: 'off', secret: world.secret && world.target === null };
  add({ ...ended, targetVtpm: false });
  add(ended);
}

export function libvirtOf(world: World, add: Add): void {
  const { phase, sourceQemu, targetQemu, target, permit } = world;
  const moving = phase === 'begin' || phase === 'admitted' || phase === 'stream' || phase === 'streamed';
  if (world.released && phase === 'none') {
    add({ ...world, released: false });
    if (world.source !== null && world.jobs > 0 && sourceQemu === 'runs')
      add({ ...world, released: false, jobs: 0, phase: 'begin' });
  }
  const free = world.targetTodo.length === 0;
  if (phase === 'begin' && target?.tag === 'staged' && free && permit === 'fresh')
    add({ ...world, permit: 'used', admitted: true, secret: true, phase: 'admitted' });
  const mayPrepare =
    phase === 'admitted' && target !== null && world.admitted && world.targetRecord === 'staged';
  if (mayPrepare && world.secret && targetQemu === 'off')
    add({ ...world, targetQemu: 'waits', targetVtpm: true, admitted: false, phase: 'stream' });
  if (target !== null && targetQemu !== 'off' && world.secret) add({ ...world, secret: false });
  if (phase === 'stream' && targetQemu === 'waits' && sourceQemu === 'runs')
    add({ ...world, phase: 'streamed', sourceQemu: 'waits' });
  if (phase === 'streamed' && targetQemu === 'waits')
    add({ ...world, phase: 'finished', targetQemu: 'runs', definition: true, current: 'target' });
  if (phase === 'finished') {
    const confirmed: World = { ...world, phase: 'none', sourceQemu: 'off', reason: 'migrated' };
    add({ ...confirmed, sourceVtpm: false });
    add(confirmed);
  }
  if (moving) add(runsAgain({ ...world, phase: 'none' }));
  if (phase === 'none' && targetQemu === 'waits') endsIncoming(world, add);
  if (sourceQemu === 'runs' && phase !== 'finished') add({ ...world, sourceQemu: 'off', phase: 'none' });
  if (targetQemu === 'runs') add({ ...world, targetQemu: 'off', secret: world.secret && target === null });
  if (sourceQemu === 'waits' && phase === 'none' && world.sourceRecord === 'holder')
    add({ ...world, sourceQemu: 'runs' });
}

function without(world: World, names: readonly MessageName[]): number {
  return names.reduce((channel, name) => channel & ~bit(name), world.channel);
}

function sourceDies(world: World): World {
  return {
    ...world,
    source: null,
    sourceTodo: [],
    released: false,
    cli: false,
    channel: without(world, toSource),
  };
}

function targetDies(world: World): World {
  const forgotten: World = world.unsynced
    ? { ...world, unsynced: false, targetRecord: 'none', permit: 'none', targetJournal: 'open' }
    : world;
  return { ...forgotten, target: null, targetTodo: [], admitted: false, channel: without(world, toTarget) };
}

/** libvirt's migration, when the target's host or libvirtd is gone. */
function breaks(world: World, add: Add): void {
  if (world.phase === 'none') add(world);
  else if (world.phase !== 'finished') add(runsAgain({ ...world, phase: 'none' }));
  else {
    add(world);
    add(bothRun(world));
  }
}

function bothRun(world: World): World {
  return { ...world, phase: 'none', sourceQemu: 'runs', split: true, current: 'both' };
}

/** One fault, which `world` has been charged for. */
export function faultsOf(world: World, add: Add): void {
  for (const name of messageNames)
    if ((world.channel & bit(name)) !== 0) add({ ...world, channel: world.channel & ~bit(name) });
  if (world.channel !== 0) add({ ...world, channel: 0 });
  if (world.source !== null) add(sourceDies(world));
  if (world.target !== null) add(targetDies(world));
  add({ ...sourceDies(world), sourceQemu: 'off', phase: 'none', reason: 'unknown' });
  breaks({ ...targetDies(world), targetQemu: 'off', secret: false }, add);
  add({ ...world, phase: 'none', reason: 'unknown' });
  if (world.sourceQemu !== 'off')
    add({
      ...world,
      sourceQemu: 'off',
      reason: world.phase === 'finished' ? 'migrated' : world.reason,
      phase: 'none',
    });
  breaks({ ...world, secret: false }, (next) => {
    if (next.targetQemu === 'waits') endsIncoming(next, add);
    else add(next);
  });
  if (world.phase === 'finished') add(bothRun(world));
}
