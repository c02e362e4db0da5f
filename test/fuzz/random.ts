/** Repeatable chance: xoshiro128** (Blackman and Vigna), seeded by splitmix32. The same seed gives the same fuzzing. */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    let from = seed >>> 0;
    this.#state = Uint32Array.from({ length: 4 }, () => {
      from = (from + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(from ^ (from >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) >>> 0;
    });
  }

  /** 32 random bits. */
  u32(): number {
    const s = this.#state;
    const [a, b, c, d] = [s[0] ?? 0, s[1] ?? 0, s[2] ?? 0, s[3] ?? 0];
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const x = c ^ a;
    const y = d ^ b;
    s[0] = a ^ y;
    s[1] = b ^ x;
    s[2] = x ^ (b << 9);
    s[3] = (y << 11) | (y >>> 21);
    return result;
  }

  /** 0 to `bound` - 1; 0 for a bound of 0. */
  below(bound: number): number {
    return bound <= 1 ? 0 : this.u32() % bound;
  }

  /** True once in `times` on average. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }
}
