/**
 * The one piece of native memory that the adapter lends to tpm2-tss: made once, reset for each command. Structures in
 * it are reached by address; only bytes that were checked to lie within are copied out.
 */
import ref from 'ref-napi';
import { TvmmpError } from '../../errors.ts';

/** A command has at most 14 arguments, and the largest structure (TPM2B_ATTEST) takes 2,306 bytes. */
const ARENA_BYTES = 64 * 1024;
const ALIGNMENT = 16;

/** A bump allocator over a Buffer whose address is fixed for as long as the arena lives. */
export class Arena {
  readonly #buffer = Buffer.alloc(ARENA_BYTES);
  readonly #base = ref.address(this.#buffer);
  #used = 0;

  /** Forgets what was reserved; earlier addresses must not be used any more. */
  reset(): void {
    this.#buffer.fill(0, 0, this.#used);
    this.#used = 0;
  }

  /** Zeroed memory of this size; returns its address. */
  reserve(size: number): number {
    const start = this.#used;
    const end = start + Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    if (end > ARENA_BYTES)
      throw new TvmmpError('limit-exceeded', `the TPM adapter's memory is too small for ${size} bytes`);
    this.#used = end;
    return this.#base + start;
  }

  /** Copies bytes in; returns their address. */
  put(bytes: Uint8Array): number {
    const address = this.reserve(bytes.byteLength);
    this.#buffer.set(bytes, address - this.#base);
    return address;
  }

  /** Copies bytes out. */
  bytes(address: number, length: number): Uint8Array {
    const start = this.#offset(address, length);
    return Uint8Array.from(this.#buffer.subarray(start, start + length));
  }

  /** A 32-bit integer of this machine (x86-64 and AArch64 are little-endian). */
  u32(address: number): number {
    return this.#buffer.readUInt32LE(this.#offset(address, 4));
  }

  /** A pointer or size_t. Addresses of user space fit a number. */
  pointer(address: number): number {
    return Number(this.#buffer.readBigUInt64LE(this.#offset(address, 8)));
  }

  /** Puts a handle, pointer or size_t where a function takes the address of one. */
  putPointer(value: number): number {
    const address = this.reserve(8);
    this.#buffer.writeBigUInt64LE(BigInt(value), address - this.#base);
    return address;
  }

  /** The text up to the first NUL of at most `length` bytes. */
  text(address: number, length: number): string {
    const bytes = this.bytes(address, length);
    const end = bytes.indexOf(0);
    return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
  }

  #offset(address: number, length: number): number {
    const start = address - this.#base;
    if (start < 0 || start + length > this.#used) {
      throw new TvmmpError('internal', 'an address outside the memory of the TPM adapter');
    }
    return start;
  }
}
