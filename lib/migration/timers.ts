import { setTimeout as sleep } from 'node:timers/promises';

/** Something that was put off, and can be called off. */
export interface Timer {
  stop(): void;
}

/** The passing of time as a host has it, given to it: a simulation lets years pass in minutes. All spans are milliseconds. */
export interface Timers {
  /** Since some moment; it goes on whatever becomes of the clock on the wall. */
  elapsed(): number;
  /** Does not keep the process alive. */
  sleep(span: number): Promise<void>;
  after(span: number, work: () => void): Timer;
  every(span: number, work: () => void): Timer;
  /** When what happens in this turn of the event loop is done. */
  soon(work: () => void): void;
}

/** Node's own. */
export const systemTimers: Timers = {
  elapsed: () => performance.now(),
  sleep: (span) => sleep(span, undefined, { ref: false }),
  after: (span, work) => {
    const timer = setTimeout(work, span);
    return {
      stop: () => {
        clearTimeout(timer);
      },
    };
  },
  every: (span, work) => {
    const timer = setInterval(work, span);
    return {
      stop: () => {
        clearInterval(timer);
      },
    };
  },
  soon: (work) => {
    setImmediate(work);
  },
};
