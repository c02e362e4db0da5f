/** The shipped table of logs under way, without the thread around it: for tests in simulated time. */
import { LogTable } from '../../lib/appraisal/log-table.ts';
import type { LogJudges } from '../../lib/appraisal/log-thread.ts';

export class LogJudgesHere implements LogJudges {
  readonly #table = new LogTable();

  open(...call: Parameters<LogTable['open']>): Promise<void> {
    return here(() => {
      this.#table.open(...call);
    });
  }

  add(...call: Parameters<LogTable['add']>): Promise<void> {
    return here(() => {
      this.#table.add(...call);
    });
  }

  finish(...call: Parameters<LogTable['finish']>): ReturnType<LogJudges['finish']> {
    return here(() => this.#table.finish(...call));
  }

  drop(id: number): Promise<void> {
    return here(() => {
      this.#table.drop(id);
    });
  }
}

function here<T>(work: () => T): Promise<T> {
  return new Promise((resolve) => {
    resolve(work());
  });
}
