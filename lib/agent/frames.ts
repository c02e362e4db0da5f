import { TvmmpError } from '../errors.ts';

/**
 * Cuts a byte stream into frames: 4-byte big-endian length, then so many bytes. Feed it what arrives; it never holds more
 * than one frame of at most `bytesMax`. Errors: `limit-exceeded` for a longer or an empty one.
 */
export class FrameReader {
  readonly #bytesMax: number;
  #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Adds what has arrived, and returns the frames that are now whole. */
  push(chunk: Uint8Array): readonly Uint8Array[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const frames: Uint8Array[] = [];
    for (let size = this.#nextSize(); size !== null && this.#length >= 4 + size; size = this.#nextSize()) {
      const all = this.#join();
      frames.push(Uint8Array.from(all.subarray(4, 4 + size)));
      this.#chunks = [all.subarray(4 + size)];
      this.#length -= 4 + size;
    }
    return frames;
  }

  /** Whether the stream may end here: nothing of a further frame has come. */
  get empty(): boolean {
    return this.#length === 0;
  }

  #nextSize(): number | null {
    if (this.#length < 4) return null;
    if ((this.#chunks[0]?.length ?? 0) < 4) this.#join();
    const size = Buffer.from(this.#chunks[0] ?? []).readUInt32BE(0);
    if (size === 0 || size > this.#bytesMax) {
      throw new TvmmpError('limit-exceeded', `frame of ${size} bytes, at most ${this.#bytesMax}`);
    }
    return size;
  }

  #join(): Uint8Array {
    const all = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    const joined = all ?? new Uint8Array();
    this.#chunks = [joined];
    return joined;
  }
}

/** Puts a frame's length before it. */
export function frame(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  return Buffer.concat([head, bytes]);
}
