import type { Timers } from '../../lib/migration/timers.ts';

/** Time that passes when a test says so. */
export class HandTimers implements Timers {
  #now = 0;
  #due: { at: number; work: () => void }[] = [];

  elapsed(): number {
    return this.#now;
  }
  sleep(span: number): Promise<void> {
    return new Promise((resolve) => void this.after(span, resolve));
  }
  after(span: number, work: () => void) {
    const entry = { at: this.#now + span, work };
    this.#due.push(entry);
    return { stop: () => void (this.#due = this.#due.filter((one) => one !== entry)) };
  }
  every(): never {
    throw new Error('not used here');
  }
  soon(work: () => void): void {
    this.after(0, work);
  }
  async pass(span: number): Promise<void> {
    this.#now += span;
    const due = this.#due.filter(({ at }) => at <= this.#now);
    this.#due = this.#due.filter(({ at }) => at > this.#now);
    for (const { work } of due) work();
    await settle();
  }
  get waiting(): number {
    return this.#due.length;
  }
}

/** Lets what is due in this turn of the event loop happen. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
