/** Changes of byte strings, whatever they mean: flips, arithmetic, blocks moved about, words of a dictionary, parts of another input. */
import type { Random } from './random.ts';

/** What a mutation may draw on. */
export interface Material {
  readonly random: Random;
  /** Words that the code under test names, as bytes. */
  readonly words: readonly Uint8Array[];
  /** Another input of the corpus. */
  readonly other: () => Uint8Array;
  readonly bytesMax: number;
}

const edges = [0, 1, 2, 3, 4, 8, 15, 16, 17, 32, 33, 64, 127, 128, 254, 255];
const edges32 = [
  0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
];

type Change = (bytes: Buffer, material: Material) => Buffer;

const changes: readonly Change[] = [
  (bytes, { random }) => poke(bytes, random, (old) => old ^ (1 << random.below(8))),
  (bytes, { random }) => poke(bytes, random, () => random.below(256)),
  (bytes, { random }) => poke(bytes, random, () => random.pick(edges) ?? 0),
  (bytes, { random }) => poke(bytes, random, (old) => old + random.below(17) - 8),
  integer,
  (bytes, { random }) => bytes.subarray(0, random.below(bytes.length + 1)),
  remove,
  repeat,
  (bytes, { random }) =>
    insert(bytes, random.below(bytes.length + 1), Buffer.alloc(1 + random.below(16), random.below(256))),
  word,
  overwrite,
  splice,
];

/** A changed copy of `bytes`: one to eight changes, one upon the other. */
export function mutateBytes(bytes: Uint8Array, material: Material): Uint8Array {
  let result = Buffer.from(bytes);
  for (let times = 1 + material.random.below(material.random.once(3) ? 8 : 2); times > 0; times -= 1) {
    const change = material.random.pick(changes);
    if (change !== undefined) result = Buffer.from(change(result, material));
  }
  return new Uint8Array(result.subarray(0, material.bytesMax));
}

function poke(bytes: Buffer, random: Random, to: (old: number) => number): Buffer {
  if (bytes.length > 0) {
    const at = random.below(bytes.length);
    bytes[at] = to(bytes[at] ?? 0) & 0xff;
  }
  return bytes;
}

/** A 16- or 32-bit integer, either byte order: an edge value, or the old one a little more or less. */
function integer(bytes: Buffer, { random }: Material): Buffer {
  const width = random.once(2) ? 2 : 4;
  if (bytes.length < width) return bytes;
  const at = random.below(bytes.length - width + 1);
  const little = random.once(2);
  const old = little ? bytes.readUIntLE(at, width) : bytes.readUIntBE(at, width);
  const value = random.once(2) ? (random.pick(edges32) ?? 0) : old + random.below(9) - 4;
  const masked = width === 2 ? value & 0xffff : value >>> 0;
  if (little) bytes.writeUIntLE(masked, at, width);
  else bytes.writeUIntBE(masked, at, width);
  return bytes;
}

function insert(bytes: Buffer, at: number, what: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)]);
}

function block(bytes: Buffer, random: Random): Buffer {
  const start = random.below(bytes.length);
  return bytes.subarray(start, start + 1 + random.below(Math.min(64, bytes.length - start)));
}

function remove(bytes: Buffer, { random }: Material): Buffer {
  if (bytes.length === 0) return bytes;
  const start = random.below(bytes.length);
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(start + 1 + random.below(32))]);
}

function repeat(bytes: Buffer, { random }: Material): Buffer {
  const part = block(bytes, random);
  const times = random.once(8) ? 1 + random.below(64) : 1;
  return insert(
    bytes,
    random.below(bytes.length + 1),
    Buffer.concat(Array.from({ length: times }, () => part)),
  );
}

function word(bytes: Buffer, { random, words }: Material): Buffer {
  const what = random.pick(words) ?? new Uint8Array();
  const at = random.below(bytes.length + 1);
  if (random.once(2)) return insert(bytes, at, what);
  return Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at + what.length)]);
}

function overwrite(bytes: Buffer, { random, other }: Material): Buffer {
  const part = block(Buffer.from(other()), random);
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at + part.length)]);
}

function splice(bytes: Buffer, { random, other }: Material): Buffer {
  const tail = Buffer.from(other());
  return Buffer.concat([
    bytes.subarray(0, random.below(bytes.length + 1)),
    tail.subarray(random.below(tail.length + 1)),
  ]);
}
