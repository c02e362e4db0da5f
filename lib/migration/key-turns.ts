import { limits } from '../limits.ts';
import { slowMs } from './gathering.ts';
import type { Timers } from './timers.ts';

/** What can wait lets so many commands of keys go before it. */
const commandsMax = 4;

/**
 * At a slow TPM, keys that libvirt waits for come first (SPEC 5.2): what is to be signed of a VM that runs already waits while one is opened. It decides about time alone, never about what is done.
 */
export class KeyTurns {
  readonly #timers: Timers;
  readonly #commandMs: () => number;
  #underWay = 0;
  #waiting: (() => void)[] = [];

  /** `commandMs` is what the TPM took for its last command. */
  constructor(timers: Timers, commandMs: () => number) {
    this.#timers = timers;
    this.#commandMs = commandMs;
  }

  /** Whether the TPM is so slow that its turns matter. */
  get matters(): boolean {
    return this.#commandMs() >= slowMs;
  }

  /** Does something for a key that is wanted now. */
  async first<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay += 1;
    try {
      return await work();
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#go();
    }
  }

  /** Resolves when nothing is done for a key, or has been for long enough; at once where the TPM is fast. */
  async giveWay(): Promise<void> {
    if (this.#underWay === 0 || !this.matters) return;
    const commandMs = this.#commandMs();
    await new Promise<void>((resolve) => {
      const timer = this.#timers.after(Math.min(commandsMax * commandMs, limits.givingWayMs), resolve);
      this.#waiting.push(() => {
        timer.stop();
        resolve();
      });
    });
  }

  #go(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }
}
