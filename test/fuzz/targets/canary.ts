/** Parsers that are broken on purpose: what shows that the fuzzer finds things (test/fuzz/fuzz.test.ts). Not among the targets. */
import { ByteReader } from '../../../lib/bytes/reader.ts';
import type { Target } from '../target.ts';

const canary = (name: string, executions: number, run: Target['run']): Target => ({
  name,
  about: 'broken on purpose',
  seeds: () => [new Uint8Array(16)],
  form: 'bytes',
  refusals: ['encoding-invalid'],
  bytesMax: 64,
  executions,
  run,
});

/** Behind a magic number, a length and a word that nobody guesses by chance. */
function throws(input: Uint8Array): void {
  const reader = new ByteReader(input, { what: 'canary' });
  if (reader.u32be() !== 0x7476_6d70) return;
  if (reader.u16be() !== reader.remaining) return;
  if (Buffer.from(reader.bytes(4)).toString() === 'bird') throw new RangeError('the canary sings');
}

function works(input: Uint8Array): void {
  let sum = 0;
  if (input[0] === 0x42) for (let at = 0; at < 2_000_000; at += 1) sum += at;
  if (sum < 0) throw new RangeError('never');
}

function hangs(input: Uint8Array): void {
  for (let at = 0; input[0] === 0x42; at = 1 - at);
}

function eats(input: Uint8Array): void {
  const eaten: unknown[] = [];
  while (input[0] === 0x42) eaten.push(new Array(1000).fill(eaten.length));
}

export const canaries: readonly Target[] = [
  canary('canary-throws', 30_000, throws),
  canary('canary-works', 1000, works),
  canary('canary-hangs', 1000, hangs),
  canary('canary-eats', 1000, eats),
];
