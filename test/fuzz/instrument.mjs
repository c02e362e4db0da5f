// Preloaded (`node --import`) by the fuzzer: every block of lib/ and of the parsers it stands on counts how often it runs, and every comparison
// tells what it compared. That is the feedback which test/fuzz/engine.ts steers by. Also strips the types of our TypeScript, so that tsx is not needed.
import Module, { register } from 'node:module';
import { compiled, isInstrumented } from './instrument-cache.mjs';

const CAPACITY = 1 << 17;

const probe = {
  /** How often each block ran; cleared by the engine before each execution. */
  counts: new Uint32Array(CAPACITY),
  /** Blocks up to here exist. */
  used: 0,
  /** Strings and large numbers that the code names: words to try. */
  words: new Set(),
  /** While true, operands of comparisons that failed are noted in `compared`, pair after pair. */
  comparing: false,
  compared: [],
  /** A module's own counters; called by each module as it starts. */
  enter(count, words) {
    for (const word of words) probe.words.add(word);
    probe.used += count;
    if (probe.used > CAPACITY) throw new Error('more blocks than counters');
    return probe.counts.subarray(probe.used - count, probe.used);
  },
  same(a, b) {
    if (a === b) return true;
    if (probe.comparing && probe.compared.length < 256 && typeof a === typeof b) {
      if (typeof a === 'number' || typeof a === 'string') probe.compared.push(a, b);
    }
    return false;
  },
};
globalThis.tvmmpProbe = probe;

register('./instrument-hooks.mjs', import.meta.url);

// CommonJS packages do not pass through the hooks.
const compile = Module.prototype._compile;
Module.prototype._compile = function (source, filename, ...rest) {
  const code = isInstrumented(filename) ? compiled(source, filename) : source;
  return compile.call(this, code, filename, ...rest);
};
