/** Builds wire bytes; the mirror of reader.ts. Every integer is checked against its width before it is written. */
import { TvmmpError } from '../errors.ts';

/** Appends integers and byte strings one after another; calls chain. */
export class ByteWriter {
  #bytes = new Uint8Array(128);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): this {
    const start = this.#grow(1);
    this.#view.setUint8(start, checked(value, 0xff));
    return this;
  }

  u16be(value: number): this {
    const start = this.#grow(2);
    this.#view.setUint16(start, checked(value, 0xffff), false);
    return this;
  }

  u32be(value: number): this {
    const start = this.#grow(4);
    this.#view.setUint32(start, checked(value, 0xffffffff), false);
    return this;
  }

  u64be(value: bigint): this {
    const start = this.#grow(8);
    this.#view.setBigUint64(start, checked64(value), false);
    return this;
  }

  u16le(value: number): this {
    const start = this.#grow(2);
    this.#view.setUint16(start, checked(value, 0xffff), true);
    return this;
  }

  u32le(value: number): this {
    const start = this.#grow(4);
    this.#view.setUint32(start, checked(value, 0xffffffff), true);
    return this;
  }

  u64le(value: bigint): this {
    const start = this.#grow(8);
    this.#view.setBigUint64(start, checked64(value), true);
    return this;
  }

  bytes(value: Uint8Array): this {
    const start = this.#grow(value.byteLength);
    this.#bytes.set(value, start);
    return this;
  }

  /** A 16-bit big-endian length and the bytes (TPM2B structures). */
  sized16be(value: Uint8Array): this {
    return this.u16be(value.byteLength).bytes(value);
  }

  /** A 32-bit little-endian length and the bytes (event logs, IMA lists). */
  sized32le(value: Uint8Array): this {
    return this.u32le(value.byteLength).bytes(value);
  }

  /** What was written so far, as a copy of its own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #grow(length: number): number {
    const start = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.byteLength));
      larger.set(this.#bytes.subarray(0, start));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }
}

function checked(value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new TvmmpError('encoding-invalid', `${value} does not fit where 0 to ${max} do`);
  }
  return value;
}

function checked64(value: bigint): bigint {
  if (value < 0n || value > 0xffffffffffffffffn) {
    throw new TvmmpError('encoding-invalid', `${value.toString()} does not fit in 64 bits`);
  }
  return value;
}
