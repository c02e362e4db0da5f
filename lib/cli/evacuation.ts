/** Empties a host: many VMs, several destinations, bounded parallelism. Without I/O: what a move is, the caller says. */

/** A VM to be moved away. */
export interface Leaving {
  readonly uuid: string;
  readonly name: string;
}

/** One attempt that came to nothing. */
export interface FailedAttempt {
  readonly to: string;
  readonly code: string;
  readonly message: string;
}

/** What became of a VM. */
export type Evacuated<Moved> =
  | {
      readonly vm: Leaving;
      readonly outcome: 'moved';
      readonly to: string;
      readonly moved: Moved;
      readonly attempts: readonly FailedAttempt[];
    }
  | { readonly vm: Leaving; readonly outcome: 'left-meanwhile'; readonly attempts: readonly FailedAttempt[] }
  | { readonly vm: Leaving; readonly outcome: 'failed'; readonly attempts: readonly FailedAttempt[] }
  | { readonly vm: Leaving; readonly outcome: 'not-begun'; readonly attempts: readonly FailedAttempt[] };

/** How VMs are moved, and how one learns where they are. */
export interface Mover<Moved> {
  /** Rejects where the VM did not move. */
  move(vm: Leaving, to: string): Promise<Moved>;
  /** Waits until no hand-over of the VM is under way; false when it is not on this host any more. */
  settled(vm: Leaving): Promise<boolean>;
  /** A failed attempt in its code and text; `fatal` where no further attempt makes sense (the agent is gone), `busy` where the same one does later. */
  explain(error: unknown): {
    readonly code: string;
    readonly message: string;
    readonly fatal: boolean;
    readonly busy: boolean;
  };
  /** Lets a busy destination have a moment. */
  pause(): Promise<void>;
  /** Tells of each VM when it is over. */
  report(result: Evacuated<Moved>, done: number, all: number): void;
}

/** How often one destination is asked for one VM. */
const timesMax = 5;

/**
 * Moves the VMs, at most `parallel` at a time: each to the destination whose turn it is, and where that fails to the others in order; one that was
 * busy is asked again. `stop` tells
 * that no further one is to be begun. Results are in the order of the VMs.
 */
export async function evacuate<Moved>(
  vms: readonly Leaving[],
  destinations: readonly string[],
  parallel: number,
  mover: Mover<Moved>,
  stop: () => boolean = () => false,
): Promise<readonly Evacuated<Moved>[]> {
  const results = new Map<Leaving, Evacuated<Moved>>();
  const queue = vms.map((vm, turn) => ({ vm, turn }));
  let fatal = false;
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { vm, turn } = next;
      const ended = stop() || fatal;
      const found = ended
        ? ({ vm, outcome: 'not-begun', attempts: [] } as const)
        : await leave(vm, rotated(destinations, turn), mover, stop, () => {
            fatal = true;
          });
      results.set(vm, found);
      mover.report(found, results.size, vms.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, vms.length) }, work));
  return vms.flatMap((vm) => results.get(vm) ?? []);
}

async function leave<Moved>(
  vm: Leaving,
  destinations: readonly string[],
  mover: Mover<Moved>,
  stop: () => boolean,
  onFatal: () => void,
): Promise<Evacuated<Moved>> {
  const attempts: FailedAttempt[] = [];
  // A destination that is busy is asked again, after the others.
  const queue = destinations.map((to) => ({ to, times: 1 }));
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { to, times } = next;
    try {
      if (!(await mover.settled(vm))) return { vm, outcome: 'left-meanwhile', attempts };
      return { vm, outcome: 'moved', to, moved: await mover.move(vm, to), attempts };
    } catch (error) {
      const { code, message, fatal, busy } = mover.explain(error);
      attempts.push({ to, code, message });
      if (fatal) {
        onFatal();
        break;
      }
      if (!busy || times === timesMax || stop()) continue;
      queue.push({ to, times: times + 1 });
      await mover.pause();
    }
  }
  return { vm, outcome: 'failed', attempts };
}

/** The list beginning with the element whose turn it is. */
function rotated<T>(list: readonly T[], turn: number): readonly T[] {
  const at = list.length === 0 ? 0 : turn % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
