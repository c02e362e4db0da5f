import { limits } from '../limits.ts';
import type { Timer, Timers } from './timers.ts';

/** A TPM that takes less for a command is not worth waiting for company, milliseconds. */
export const slowMs = 20;

interface Group {
  readonly ready: Promise<void>;
  readonly go: () => void;
  readonly timer: Timer;
}

/**
 * Has what will soon be asked of a slow TPM asked together (SPEC 5.2): whoever comes first waits for those that are expected, for as long as a command or
 * two take, and not at all where it is alone or the TPM is fast. It decides about time alone, never about what is done.
 */
export class Gathering {
  readonly #timers: Timers;
  readonly #commandMs: () => number;
  readonly #commands: number;
  readonly #expected = new Set<object>();
  #group: Group | null = null;

  /** `commandMs` is what the TPM took for its last command; for so many (`commands`) others are waited for. */
  constructor(timers: Timers, commandMs: () => number, commands: number) {
    this.#timers = timers;
    this.#commandMs = commandMs;
    this.#commands = commands;
  }

  /** Whether somebody is expected, or waits for others. */
  get pending(): boolean {
    return this.#expected.size > 0 || this.#group !== null;
  }

  /** Somebody will come, or end before (`forget`). */
  expect(who: object): void {
    this.#expected.add(who);
  }

  /** Nobody has to wait for it any more. */
  forget(who: object): void {
    if (this.#expected.delete(who) && this.#expected.size === 0) this.#leave();
  }

  /** Resolves when all who are expected are there, or have kept the others waiting for long enough. */
  async join(who: object): Promise<void> {
    this.#expected.delete(who);
    const { ready } = (this.#group ??= this.#open());
    if (this.#expected.size === 0) this.#leave();
    await ready;
  }

  #open(): Group {
    const commandMs = this.#commandMs();
    const span = commandMs < slowMs ? 0 : Math.min(commandMs * this.#commands, limits.gatheringMs);
    let go: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => {
      go = resolve;
    });
    const leave = (): void => {
      this.#leave();
    };
    if (span === 0) this.#timers.soon(leave);
    return { ready, go, timer: span === 0 ? { stop: () => undefined } : this.#timers.after(span, leave) };
  }

  #leave(): void {
    const group = this.#group;
    this.#group = null;
    group?.timer.stop();
    group?.go();
  }
}
