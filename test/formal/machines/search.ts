/** Breadth first over every reachable state; each is checked, and from each a good end has to be reachable without another fault. */
import type { Rules } from './rules.ts';
import { following } from './steps.ts';
import { firstWorld, keyOf } from './world.ts';
import type { World } from './world.ts';

export type Property =
  'two runnable' | 'forked' | 'current lost' | 'copy destroyed while it runs' | 'no good end';

export interface Found {
  readonly states: number;
  /** The first state that breaks a property, and which; null where all hold everywhere. */
  readonly violated: { readonly property: Property; readonly world: World } | null;
}

function violation(world: World): Property | null {
  const { sourceRecord, targetRecord, sourceVtpm, targetVtpm, sourceQemu, targetQemu, current, split } =
    world;
  const startableThere = sourceRecord === 'holder' && sourceVtpm && sourceQemu === 'off';
  const startableHere = targetRecord === 'holder' && targetVtpm && targetQemu === 'off';
  const bothRun = sourceQemu === 'runs' && targetQemu === 'runs' && !split;
  if (bothRun || (startableThere && (startableHere || targetQemu === 'runs'))) return 'two runnable';
  if (startableHere && sourceQemu === 'runs' && !split) return 'two runnable';
  if ((world.signedAborted && world.signedArrived > 0) || world.signedArrived > 1) return 'forked';
  const safeThere = sourceVtpm && (sourceRecord === 'holder' || sourceRecord === 'departing');
  const safeHere = targetVtpm && (targetRecord === 'holder' || targetRecord === 'staged');
  if (current === 'source' ? !safeThere : current === 'target' ? !safeHere : !safeThere && !safeHere)
    return 'current lost';
  const destroyed = (sourceQemu === 'runs' && !sourceVtpm) || (targetQemu === 'runs' && !targetVtpm);
  return destroyed ? 'copy destroyed while it runs' : null;
}

/** One holder, everything of the VM with it and nothing elsewhere; or both kept for an administrator, after a fault (SPEC 6.9). */
function isGoodEnd(world: World, faultsAtFirst: number): boolean {
  const { source, target, sourceJournal, targetJournal, sourceRecord, targetRecord, permit, secret } = world;
  if (source === null || target === null || world.sourceTodo.length + world.targetTodo.length > 0)
    return false;
  if (world.phase !== 'none' || secret) return false;
  const empty = targetRecord === 'none' && permit === 'none' && !world.targetVtpm;
  const ended = sourceJournal === 'refused' || sourceJournal === 'aborted' || sourceJournal === 'open';
  if (sourceRecord === 'holder' && world.sourceVtpm && ended) return empty;
  const gone = sourceRecord === 'none' && !world.sourceVtpm && sourceJournal === 'departed';
  if (gone)
    return targetRecord === 'holder' && world.targetVtpm && targetJournal === 'done' && permit === 'none';
  const kept =
    sourceRecord === 'departing' && world.sourceVtpm && targetRecord === 'staged' && world.targetVtpm;
  return (
    kept &&
    world.faults < faultsAtFirst &&
    sourceJournal === 'aborting' &&
    targetJournal === 'staged' &&
    world.definition
  );
}

/** Every state that `faults` faults can lead to, from both openings. */
export function search(rules: Rules, faults: number): Found {
  const worlds: World[] = [];
  const known = new Map<string, number>();
  const edges: number[] = [];
  const number = (world: World): number => {
    const key = keyOf(world);
    const seen = known.get(key);
    if (seen !== undefined) return seen;
    known.set(key, worlds.length);
    return worlds.push(world) - 1;
  };
  for (const cli of [false, true]) number(firstWorld(cli, faults));
  for (let at = 0; at < worlds.length; at += 1) {
    const world = worlds[at];
    if (world === undefined) break;
    const property = violation(world);
    if (property !== null) return { states: worlds.length, violated: { property, world } };
    const next = following(world, rules);
    for (const step of next.steps) {
      const to = number(step);
      if (to !== at) edges.push(at, to);
    }
    for (const fault of next.faults) number(fault);
  }
  const stuck = unended(worlds, edges, faults);
  return {
    states: worlds.length,
    violated: stuck === null ? null : { property: 'no good end', world: stuck },
  };
}

/** A state from which no good end can be reached any more, if there is one. */
function unended(worlds: readonly World[], edges: readonly number[], faults: number): World | null {
  const ends = new Uint8Array(worlds.length);
  const into = new Map<number, number[]>();
  for (let index = 0; index < edges.length; index += 2) {
    const [from = 0, to = 0] = edges.slice(index, index + 2);
    const sources = into.get(to);
    if (sources === undefined) into.set(to, [from]);
    else sources.push(from);
  }
  const queue = worlds.flatMap((world, index) => (isGoodEnd(world, faults) ? [index] : []));
  for (const index of queue) ends[index] = 1;
  for (let index = queue.pop(); index !== undefined; index = queue.pop())
    for (const from of into.get(index) ?? [])
      if (ends[from] === 0) {
        ends[from] = 1;
        queue.push(from);
      }
  return worlds.find((_, index) => ends[index] === 0) ?? null;
}
