/**
 * C memory by address, for the thread that calls libvirt. Addresses are numbers (a `uint64` in FFI terms), never Buffers: ref-napi
 * ties a finalizer to every returned pointer Buffer, which miscounts memory and has crashed processes. What libvirt returns is copied
 * out with libc's own functions, so that no JavaScript object ever aliases memory that C may free.
 */
import { createRequire } from 'node:module';
import { TvmmpError } from '../../errors.ts';

/** The C types our bindings use. `pointer` is only for passing our own Buffers in. */
export type CType = 'void' | 'int' | 'uint' | 'ulong' | 'size_t' | 'uint64' | 'string' | 'pointer';

/** The address of something in C memory; 0 is NULL. */
export type Address = number;

interface CTypeValues {
  void: undefined;
  int: number;
  uint: number;
  ulong: number;
  size_t: number;
  uint64: Address;
  string: string | null;
  pointer: Buffer;
}

/** Result and arguments of each C function to bind. */
export type Signatures = Readonly<Record<string, readonly [result: CType, arguments: readonly CType[]]>>;

type CValues<Types extends readonly CType[]> = {
  -readonly [Index in keyof Types]: CTypeValues[Types[Index]];
};

/** The bound functions, called synchronously. */
export type Bound<S extends Signatures> = {
  readonly [Name in keyof S]: (...args: CValues<S[Name][1]>) => CTypeValues[S[Name][0]];
};

interface FfiModule {
  Library(path: string | null, functions: Signatures): unknown;
}

/** Loads a shared library (null: this process) and binds functions of it. Throws `libvirt-call-failed` when it is not there. */
export function bind<const S extends Signatures>(library: string | null, signatures: S): Bound<S> {
  try {
    const ffi = createRequire(import.meta.url)('ffi-napi') as FfiModule;
    return ffi.Library(library, signatures) as Bound<S>;
  } catch (cause) {
    const what = library ?? 'the C library';
    throw new TvmmpError('libvirt-call-failed', `cannot load ${what}: ${(cause as Error).message}`, {
      cause,
      details: { call: 'dlopen', library: what },
    });
  }
}

const libc = bind(null, {
  dlsym: ['uint64', ['uint64', 'string']],
  free: ['void', ['uint64']],
  memcpy: ['uint64', ['pointer', 'uint64', 'size_t']],
  strnlen: ['size_t', ['uint64', 'size_t']],
});

/** A copy of `length` bytes at an address. */
export function readBytes(address: Address, length: number): Buffer {
  const copy = Buffer.alloc(length);
  if (length > 0) libc.memcpy(copy, address, length);
  return copy;
}

/** A copy of a C string of at most `bytesMax` bytes. Throws `limit-exceeded` for a longer one. */
export function readString(address: Address, bytesMax: number): string {
  const length = libc.strnlen(address, bytesMax + 1);
  if (length > bytesMax) throw new TvmmpError('limit-exceeded', `a C string of more than ${bytesMax} bytes`);
  return readBytes(address, length).toString('utf8');
}

/** Copies a C string that the caller owns, and frees it. */
export function takeString(address: Address, bytesMax: number): string {
  try {
    return readString(address, bytesMax);
  } finally {
    libc.free(address);
  }
}

/** Frees memory that C handed to us; NULL is allowed. */
export function free(address: Address): void {
  libc.free(address);
}

/** Room for one pointer that C writes, and how to read it. */
export function pointerSlot(): { readonly buffer: Buffer; read(): Address } {
  const buffer = Buffer.alloc(8);
  return { buffer, read: () => Number(buffer.readBigUInt64LE(0)) };
}

/** Room for one C `int` that C writes, and how to read it. */
export function intSlot(): { readonly buffer: Buffer; read(): number } {
  const buffer = Buffer.alloc(4);
  return { buffer, read: () => buffer.readInt32LE(0) };
}

/** Takes an array of `count` pointers out of C memory, and frees the array (not what it points to). */
export function takePointers(address: Address, count: number): Address[] {
  try {
    const bytes = readBytes(address, count * 8);
    return Array.from({ length: count }, (_, index) => Number(bytes.readBigUInt64LE(index * 8)));
  } finally {
    libc.free(address);
  }
}

/** The address of a C function of this process, to hand to another C function. */
export function functionAddress(name: string): Address {
  return libc.dlsym(0, name);
}
