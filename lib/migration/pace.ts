import type { Timers } from './timers.ts';

/** How much each of many may do: so much at once, and so much a minute after that (a token bucket each). */
export class Pace {
  readonly #timers: Timers;
  readonly #atOnce: number;
  readonly #perMinute: number;
  /** What each has left, as of a time by `Timers.elapsed`; who has all of it is not in it. */
  readonly #left = new Map<string, { readonly count: number; readonly at: number }>();

  constructor(timers: Timers, atOnce: number, perMinute: number) {
    this.#timers = timers;
    this.#atOnce = atOnce;
    this.#perMinute = perMinute;
  }

  /** False for one that has to wait; otherwise it counts. */
  take(who: string): boolean {
    const at = this.#timers.elapsed();
    for (const name of [...this.#left.keys()])
      if (this.#countOf(name, at) >= this.#atOnce) this.#left.delete(name);
    const count = this.#countOf(who, at);
    if (count < 1) return false;
    this.#left.set(who, { count: count - 1, at });
    return true;
  }

  #countOf(who: string, now: number): number {
    const left = this.#left.get(who);
    if (left === undefined) return this.#atOnce;
    return Math.min(this.#atOnce, left.count + ((now - left.at) / 60_000) * this.#perMinute);
  }
}
