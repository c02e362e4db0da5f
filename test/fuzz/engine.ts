/**
 * Coverage-guided fuzzing of one target: inputs that reach a block, or reach it more often, than any before are kept and changed
 * further. Feedback comes from test/fuzz/instrument.mjs. Everything follows from the seed.
 */
import { createHash } from 'node:crypto';
import { TvmmpError } from '../../lib/errors.ts';
import type { Material } from './mutate.ts';
import { comparedGuesses, wordsOf } from './guesses.ts';
import { Random } from './random.ts';
import type { Target } from './target.ts';
import { mutateAs } from './trees.ts';

/** What instrumented code reports (test/fuzz/instrument.mjs). */
interface Probe {
  readonly counts: Uint32Array;
  readonly used: number;
  readonly words: ReadonlySet<string | number>;
  comparing: boolean;
  compared: (string | number)[];
}

/** An input that breaks a property. */
export interface Finding {
  readonly target: string;
  /** First line of what was thrown. */
  readonly message: string;
  readonly stack: string;
  readonly input: Uint8Array;
}

/** Blocks that run at most so often for an input: a parser whose work grows faster than its input is found by counting, not by a clock. */
const STEPS_BASE = 400_000;
const STEPS_PER_BYTE = 1_000;

interface Kept {
  readonly input: Uint8Array;
  picked: number;
}

/**
 * Fuzzes a target. `current` is told of every input before it runs, so that a watcher knows which one hangs. With `coarse`, how often
 * a block ran does not count: fewer inputs are kept.
 */
export class Engine {
  readonly #target: Target;
  readonly #random: Random;
  readonly #probe: Probe;
  readonly #seen: Uint8Array;
  readonly #corpus: Kept[] = [];
  readonly #guesses: Uint8Array[] = [];
  readonly #findings = new Map<string, Finding>();
  readonly #material: Material;
  readonly #current: (input: Uint8Array) => void;
  readonly #coarse: boolean;
  executions = 0;
  accepted = 0;

  constructor(target: Target, seed: number, current: (input: Uint8Array) => void, coarse = false) {
    const probe = (globalThis as { tvmmpProbe?: Probe }).tvmmpProbe;
    if (probe === undefined) throw new Error('not instrumented: start it with npm run fuzz');
    this.#target = target;
    this.#random = new Random(seed);
    this.#probe = probe;
    this.#seen = new Uint8Array(probe.counts.length);
    this.#current = current;
    this.#coarse = coarse;
    this.#material = {
      random: this.#random,
      words: wordsOf(probe.words),
      other: () => this.#random.pick(this.#corpus)?.input ?? new Uint8Array(),
      bytesMax: target.bytesMax,
    };
  }

  /** Runs the inputs to begin with; all of them are kept whose coverage is new. */
  async begin(inputs: readonly Uint8Array[]): Promise<void> {
    for (const input of inputs) await this.#try(input);
    if (this.#corpus.length === 0) await this.#try(new Uint8Array());
  }

  /** One new input. */
  async step(): Promise<void> {
    const guess = this.#guesses.pop();
    if (guess !== undefined) return this.#try(guess);
    const from = this.#pick();
    await this.#try(mutateAs(this.#target.form, from, this.#material));
  }

  get findings(): readonly Finding[] {
    return [...this.#findings.values()];
  }

  get corpus(): readonly Uint8Array[] {
    return this.#corpus.map(({ input }) => input);
  }

  /** How many blocks some input has reached. */
  get blocks(): number {
    return this.#seen.reduce((sum, bits) => sum + (bits === 0 ? 0 : 1), 0);
  }

  /** Of two by chance, the one that was changed less often so far. */
  #pick(): Uint8Array {
    const [a, b] = [this.#random.pick(this.#corpus), this.#random.pick(this.#corpus)];
    const one = a !== undefined && b !== undefined && b.picked < a.picked ? b : a;
    if (one === undefined) return new Uint8Array();
    one.picked += 1;
    return one.input;
  }

  async #try(input: Uint8Array): Promise<void> {
    const thrown = await this.#execute(input);
    const isNew = this.#isNew();
    if (thrown !== null) await this.#found(input, thrown);
    if (!isNew) return;
    this.#corpus.push({ input, picked: 0 });
    this.#probe.comparing = true;
    this.#probe.compared = [];
    await this.#execute(input);
    this.#probe.comparing = false;
    this.#guesses.push(...comparedGuesses(input, this.#probe.compared));
  }

  /** What the target threw beyond its refusals; null where all is well. */
  async #execute(input: Uint8Array): Promise<unknown> {
    const { counts, used } = this.#probe;
    counts.fill(0, 0, used);
    this.executions += 1;
    this.#current(input);
    try {
      const running = this.#target.run(Uint8Array.from(input));
      if (running !== undefined) await running;
      this.accepted += 1;
    } catch (error) {
      if (!(error instanceof TvmmpError && this.#target.refusals.includes(error.code))) {
        return error ?? new Error('nothing was thrown');
      }
    }
    const steps = this.#steps();
    const most = STEPS_BASE + STEPS_PER_BYTE * input.length;
    return steps > most ? new Error(`too much work: ${steps} blocks for ${input.length} bytes`) : null;
  }

  #steps(): number {
    const { counts, used } = this.#probe;
    let sum = 0;
    for (let at = 0; at < used; at += 1) sum += counts[at] ?? 0;
    return sum;
  }

  /** Whether the last execution reached a block, or a number of times in powers of two, that is new; notes it. */
  #isNew(): boolean {
    const { counts, used } = this.#probe;
    let isNew = false;
    for (let at = 0; at < used; at += 1) {
      const count = counts[at] ?? 0;
      if (count === 0) continue;
      const bit = this.#coarse ? 1 : 1 << Math.min(7, 31 - Math.clz32(count));
      const seen = this.#seen[at] ?? 0;
      if ((seen & bit) !== 0) continue;
      this.#seen[at] = seen | bit;
      isNew = true;
    }
    return isNew;
  }

  /** Keeps the smallest input for each kind of failure. */
  async #found(input: Uint8Array, thrown: unknown): Promise<void> {
    const key = keyOf(thrown);
    if (this.#findings.has(key)) return;
    const smaller = await this.#minimise(input, key);
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.#findings.set(key, {
      target: this.#target.name,
      message: `${error.name}: ${error.message.split('\n')[0] ?? ''}`,
      stack: error.stack ?? '',
      input: smaller,
    });
  }

  /** Leaves parts out, ever smaller ones, as long as the same is thrown. */
  async #minimise(input: Uint8Array, key: string): Promise<Uint8Array> {
    let best = Buffer.from(input);
    for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = 0; at < best.length;) {
        const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
        const thrown = await this.#execute(shorter);
        if (thrown !== null && keyOf(thrown) === key) best = shorter;
        else at += size;
      }
    }
    return new Uint8Array(best);
  }
}

/** Findings are alike where kind, place and text without its numbers and quotations are. */
function keyOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const text = thrown.message.replace(/\d+|"[^"]*"|'[^']*'/g, '').slice(0, 80);
  const place = /\n\s+at [^\n]*\/(?:lib|test|node_modules)\/[^\n]*/.exec(thrown.stack ?? '')?.[0] ?? '';
  return createHash('sha256').update(`${thrown.name}\n${text}\n${place}`).digest('hex');
}
