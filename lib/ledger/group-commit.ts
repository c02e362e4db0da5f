import type { Journal } from './journal.ts';

interface Waiting {
  readonly change: () => void;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Decisions about many VMs that come at the same time, as one durable write: the disk is synced once for all of them, and each
 * still has its own outcome. What is decided alone is written alone, as fast as ever.
 */
export class GroupCommit {
  readonly #journal: Pick<Journal, 'transaction'>;
  readonly #soon: (work: () => void) => void;
  #waiting: readonly Waiting[] = [];

  /** `soon` runs something when what happens in this turn of the event loop is done. */
  constructor(journal: Pick<Journal, 'transaction'>, soon: (work: () => void) => void) {
    this.#journal = journal;
    this.#soon = soon;
  }

  /**
   * Runs a change, together with others, as one durable write; resolves with its result once that is on disk. A throw undoes this
   * change alone, and rejects. A change may be run a second time, after everything that it wrote was undone.
   */
  run<T>(change: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const results: T[] = [];
      const one: Waiting = {
        change: () => {
          results[0] = change();
        },
        done: () => {
          for (const result of results) resolve(result);
        },
        failed: reject,
      };
      this.#waiting = [...this.#waiting, one];
      if (this.#waiting.length > 1) return;
      this.#soon(() => {
        this.#commit();
      });
    });
  }

  #commit(): void {
    const group = this.#waiting;
    this.#waiting = [];
    if (group.length > 1 && this.#written(group) === null) return;
    // One of them failed, or the write did: each by itself, so that it has its own outcome.
    for (const one of group) {
      const error = this.#written([one]);
      if (error !== null) one.failed(error.cause);
    }
  }

  /** Null where all of it is on disk. */
  #written(group: readonly Waiting[]): { readonly cause: unknown } | null {
    try {
      this.#journal.transaction(() => {
        for (const { change } of group) change();
      });
    } catch (cause) {
      return { cause };
    }
    for (const { done } of group) done();
    return null;
  }
}
