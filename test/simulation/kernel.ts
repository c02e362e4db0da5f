/** Virtual time: events in order of their time, everything random from one seed, nothing that waits for the real clock. */
import type { Timer, Timers } from '../../lib/migration/timers.ts';

/** A number between 0 and 1, from a seed: the same ones each time (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Due {
  readonly at: number;
  readonly order: number;
  readonly work: () => void;
}

/** The one clock and the one queue of a simulated world. */
export class Kernel {
  readonly random: () => number;
  /** Milliseconds since the world began. */
  time = 0;
  /** Events that have happened. */
  steps = 0;
  #order = 0;
  #heap: Due[] = [];
  /** Looks at the world after each event; throws when something is wrong. */
  afterEach: () => void = () => undefined;

  constructor(seed: number) {
    this.random = randomOf(seed);
  }

  /** Between `from` and `to`, evenly. */
  between(from: number, to: number): number {
    return from + this.random() * (to - from);
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[Math.floor(this.random() * from.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  }

  at(span: number, work: () => void): void {
    const due = { at: this.time + span, order: this.#order++, work };
    const heap = this.#heap;
    let index = heap.push(due) - 1;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || before(parent, due)) break;
      heap[index] = parent;
      index = above;
    }
    heap[index] = due;
  }

  sleep(span: number): Promise<void> {
    return new Promise((resolve) => {
      this.at(span, resolve);
    });
  }

  /** Lets the world go on until `until`, or nothing is left to happen. */
  async run(until: number): Promise<void> {
    for (let next = this.#heap[0]; next !== undefined && next.at <= until; next = this.#heap[0]) {
      this.#shift();
      this.time = next.at;
      next.work();
      this.steps += 1;
      await settled(this.steps);
      this.afterEach();
    }
    this.time = until;
  }

  #shift(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let below = 2 * index + 1;
      let child = heap[below];
      if (child === undefined) break;
      const right = heap[below + 1];
      if (right !== undefined && before(right, child)) {
        child = right;
        below += 1;
      }
      if (before(last, child)) break;
      heap[index] = child;
      index = below;
    }
    heap[index] = last;
  }
}

function before(one: Due, other: Due): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

/**
 * When all that follows from an event without time passing has happened: promises, and promises of promises. Node lets the next tick come when no
 * promise is left to be settled; now and then the rest of the process gets its turn as well (signals, output).
 */
function settled(step: number): Promise<void> {
  return new Promise((resolve) => {
    if (step % 100 === 0) setImmediate(resolve);
    else process.nextTick(resolve);
  });
}

/** One life of a process: what belongs to it stops with it, at once and for good. */
export class Life {
  readonly kernel: Kernel;
  alive = true;
  #deaths: (() => void)[] = [];

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  end(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const death of this.#deaths.splice(0)) death();
  }

  onEnd(death: () => void): void {
    if (this.alive) this.#deaths.push(death);
    else death();
  }

  /** What a dead process waited for never comes. */
  guard<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      work.then(
        (value) => {
          if (this.alive) resolve(value);
        },
        (error: unknown) => {
          if (this.alive) reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }

  /** The shipped code's timers, on the kernel's clock. */
  timers(): Timers {
    const after = (span: number, work: () => void): Timer => {
      let stopped = false;
      this.kernel.at(span, () => {
        if (!stopped && this.alive) work();
      });
      return {
        stop: () => {
          stopped = true;
        },
      };
    };
    const every = (span: number, work: () => void): Timer => {
      let timer = after(span, tick);
      function tick(): void {
        timer = after(span, tick);
        work();
      }
      return {
        stop: () => {
          timer.stop();
        },
      };
    };
    return {
      elapsed: () => this.kernel.time,
      sleep: (span) => this.guard(this.kernel.sleep(span)),
      after,
      every,
      soon: (work) => void after(0, work),
    };
  }
}
