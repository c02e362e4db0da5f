/** How many of a step's last durations are kept. */
const keptMax = 256;

/** How long the steps of sessions took, for the bench and the operator; milliseconds, the last ones of each. */
export class StepTimings {
  readonly #times = new Map<string, number[]>();

  async measure<T>(step: string, work: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await work();
    } finally {
      const times = this.#times.get(step) ?? [];
      times.push(performance.now() - began);
      if (times.length > keptMax) times.shift();
      this.#times.set(step, times);
    }
  }

  all(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#times);
  }
}
