/** Results of pure work by what they were made from, the oldest forgotten first: the same certificates and policies come again and again. */
export class Remembered<T> {
  readonly #countMax: number;
  readonly #values = new Map<string, T>();

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** The value of this key, made where it is not known; what `make` throws is not remembered. */
  get(key: string, make: () => T): T {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const value = make();
    this.set(key, value);
    return value;
  }

  find(key: string): T | undefined {
    return this.#values.get(key);
  }

  /** As if it had never been known. */
  forget(key: string): void {
    this.#values.delete(key);
  }

  set(key: string, value: T): void {
    this.#values.delete(key);
    if (this.#values.size >= this.#countMax) {
      const [oldest] = this.#values.keys();
      if (oldest !== undefined) this.#values.delete(oldest);
    }
    this.#values.set(key, value);
  }
}
