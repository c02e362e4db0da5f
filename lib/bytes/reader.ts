/**
 * A bounds-checked cursor over untrusted bytes: with writer.ts the only code that indexes them. Every read either
 * returns what it promises or throws a TvmmpError; nothing is ever read beyond the end.
 */
import { TvmmpError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';

/** How a reader names what it reads in its errors, and with which code it throws (default `encoding-invalid`). */
export interface ReaderOptions {
  readonly what: string;
  readonly code?: ErrorCode;
}

/** Reads integers and byte strings one after another. Big-endian (TPM wire, Be) and little-endian (event logs, Le). */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  readonly #code: ErrorCode;
  /** The same bytes, made when text is first read. */
  #buffer: Buffer | undefined;
  #offset = 0;

  constructor(bytes: Uint8Array, options: ReaderOptions) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = options.what;
    this.#code = options.code ?? 'encoding-invalid';
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes left. */
  get remaining(): number {
    return this.#bytes.byteLength - this.#offset;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16be(): number {
    return this.#view.getUint16(this.#advance(2), false);
  }

  u32be(): number {
    return this.#view.getUint32(this.#advance(4), false);
  }

  u64be(): bigint {
    return this.#view.getBigUint64(this.#advance(8), false);
  }

  u16le(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  u32le(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  u64le(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  /** The next `length` bytes, as a copy that the caller owns. */
  bytes(length: number): Uint8Array {
    const start = this.#advance(length);
    return Uint8Array.prototype.slice.call(this.#bytes, start, start + length);
  }

  /** The next `length` bytes without copying: valid as long as the input is left alone. */
  view(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Leaves out the next `length` bytes. */
  skip(length: number): void {
    this.#advance(length);
  }

  /** The next `length` bytes without copying and without reading on. */
  peek(length: number): Uint8Array {
    const view = this.view(length);
    this.#offset -= length;
    return view;
  }

  /** Whether the next `length` bytes are all `byte`; reads nothing. */
  isNext(byte: number, length: number): boolean {
    if (length > this.remaining) return false;
    for (let at = this.#offset; at < this.#offset + length; at++) if (this.#bytes[at] !== byte) return false;
    return true;
  }

  /** Reads on over these bytes, if they are the next ones. */
  accept(bytes: Uint8Array): boolean {
    const { length } = bytes;
    if (length > this.remaining) return false;
    for (let at = 0; at < length; at++) if (this.#bytes[this.#offset + at] !== bytes[at]) return false;
    this.#offset += length;
    return true;
  }

  /** The next `length` bytes as hexadecimal. */
  hex(length: number): string {
    return this.#text(length, 'hex');
  }

  /** The next `length` bytes as text, one character a byte. */
  latin1(length: number): string {
    return this.#text(length, 'latin1');
  }

  /** The next `length` bytes as UTF-8; what is none becomes U+FFFD. */
  utf8(length: number): string {
    return this.#text(length, 'utf8');
  }

  /** How many bytes at the end of the input are one and the same byte: padding, where it is more than chance. */
  get equalAtEnd(): number {
    let length = 0;
    const last = this.#bytes.at(-1);
    while (length < this.#bytes.byteLength && this.#bytes.at(-1 - length) === last) length += 1;
    return length;
  }

  /** A 16-bit big-endian length and that many bytes, at most `bytesMax` (TPM2B structures). */
  sized16be(bytesMax: number): Uint8Array {
    return this.bytes(this.#bounded(this.u16be(), bytesMax));
  }

  /** A 32-bit little-endian length and that many bytes, at most `bytesMax` (event logs, IMA lists). */
  sized32le(bytesMax: number): Uint8Array {
    return this.bytes(this.#bounded(this.u32le(), bytesMax));
  }

  /** Everything that is left, as a copy. */
  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** Throws where bytes are left: leftovers are never ignored. */
  end(): void {
    if (this.remaining !== 0) this.fail(`${this.remaining} bytes are left over`);
  }

  /** Throws this reader's error at its present offset: for what its caller finds wrong. */
  fail(reason: string): never {
    throw new TvmmpError(this.#code, `${this.#what}: ${reason}`, { details: { offset: this.#offset } });
  }

  #text(length: number, encoding: 'hex' | 'latin1' | 'utf8'): string {
    const start = this.#advance(length);
    this.#buffer ??= Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#buffer.toString(encoding, start, start + length);
  }

  #bounded(length: number, bytesMax: number): number {
    if (length > bytesMax) this.fail(`a length of ${length} where at most ${bytesMax} are allowed`);
    return length;
  }

  #advance(length: number): number {
    if (!Number.isSafeInteger(length) || length < 0 || length > this.remaining) {
      this.fail(`it ends ${this.remaining} bytes on, where ${length} are needed`);
    }
    const start = this.#offset;
    this.#offset += length;
    return start;
  }
}
