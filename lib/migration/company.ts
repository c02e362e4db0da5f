import { limits } from '../limits.ts';
import { slowMs } from './gathering.ts';
import type { Timer, Timers } from './timers.ts';

interface Group {
  readonly ready: Promise<void>;
  readonly go: () => void;
  /** By `Timers.elapsed`. */
  readonly latest: number;
  timer: Timer;
}

/**
 * Has those who come to a slow TPM one shortly after the other come together (SPEC 5.2), where nobody knows how many they are: until nobody has come for a
 * part of a command, and two commands at most, as whoever comes late waits for two. Where the TPM is fast, nobody waits.
 */
export class Company {
  readonly #timers: Timers;
  readonly #commandMs: () => number;
  readonly #part: number;
  #group: Group | null = null;

  /** `commandMs` is what the TPM took for its last command; for a `part` of it nobody has to come. */
  constructor(timers: Timers, commandMs: () => number, part = 1 / 8) {
    this.#timers = timers;
    this.#commandMs = commandMs;
    this.#part = part;
  }

  /** Resolves when nobody else comes. */
  async join(): Promise<void> {
    const commandMs = this.#commandMs();
    if (commandMs < slowMs) return;
    const longest = Math.min(2 * commandMs, limits.gatheringMs);
    const group = (this.#group ??= this.#open(longest));
    group.timer.stop();
    const left = Math.max(0, group.latest - this.#timers.elapsed());
    group.timer = this.#timers.after(Math.min((longest / 2) * this.#part, left), () => {
      this.#group = null;
      group.go();
    });
    await group.ready;
  }

  #open(longest: number): Group {
    let go: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => {
      go = resolve;
    });
    const latest = this.#timers.elapsed() + longest;
    return { ready, go, latest, timer: { stop: () => undefined } };
  }
}
