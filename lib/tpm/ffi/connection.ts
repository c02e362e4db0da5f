/**
 * One ESYS_CONTEXT over one TCTI: sends commands, turns response codes into typed errors, frees what ESYS allocated.
 * A connection belongs to the thread that made it, and is thrown away when its transport failed.
 */
import { TvmmpError } from '../../errors.ts';
import { Arena } from './arena.ts';
import type { EsysCommand, Structure, TssLibrary } from './library.ts';

/** ESYS_TR values for "no session" and "password session" (tss2_esys.h). */
export const NONE = 0xfff;
export const PASSWORD = 0x0ff;

/** One argument of a command: an integer or ESYS_TR by value, a structure in, or room for an answer. */
export type Argument =
  | number
  | { readonly in: Structure; readonly wire: Uint8Array }
  | { readonly out: Structure }
  /** An ESYS_TR, UINT32 or BYTE that the call sets. */
  | { readonly out: 'word' }
  /** A structure that ESYS allocates and that is freed unread. */
  | { readonly out: 'unused' };

/** Arguments by name, so that calls read like Part 3's tables. */
export const NULL = 0;
export const word = { out: 'word' } as const;
export const unused = { out: 'unused' } as const;
export const input = (structure: Structure, wire: Uint8Array): Argument => ({ in: structure, wire });
export const output = (structure: Structure): Argument => ({ out: structure });

/** The answers of a command, in the order in which its arguments asked for them. */
export interface Answers {
  readonly structures: readonly Uint8Array[];
  readonly words: readonly number[];
}

const WIRE_BYTES_MAX = 4096;
/** Larger than any structure here (TPM2B_ATTEST takes 2,306 bytes). */
const STRUCTURE_BYTES = 4096;
const LAYER_ESYS = 7;
const LAYER_TCTI = 10;
const BASE_BAD_SEQUENCE = 7;
const BASE_IO_ERROR = 10;
const TEXT_BYTES_MAX = 256;

/** Whether a response code says that the way to the TPM is broken, and not that the TPM refused. */
function isTransportFailure(rc: number): boolean {
  const layer = (rc >>> 16) & 0xff;
  const base = rc & 0xffff;
  return (
    layer === LAYER_TCTI || (layer === LAYER_ESYS && (base === BASE_IO_ERROR || base === BASE_BAD_SEQUENCE))
  );
}

/** A connection to a TPM. Construct, use, `close`; never use it after `tpm-unreachable`. */
export class Connection {
  readonly #library: TssLibrary;
  readonly #arena: Arena;
  readonly #counts: Map<string, number>;
  readonly #objects = new Map<number, number>();
  #tcti = 0;
  #context = 0;

  /** `tcti` as tctildr takes it: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`, `swtpm:path=/run/x.sock`. */
  constructor(library: TssLibrary, arena: Arena, tcti: string, counts: Map<string, number>) {
    this.#library = library;
    this.#arena = arena;
    this.#counts = counts;
    arena.reset();
    const slot = arena.reserve(8);
    let rc = library.tctiInitialize(arena.put(Buffer.from(`${tcti}\0`)), slot);
    if (rc !== 0) throw this.#error('TctiLdr_Initialize', rc, 'tpm-unreachable');
    this.#tcti = arena.pointer(slot);
    arena.reset();
    const context = arena.reserve(8);
    rc = library.esysInitialize(context, this.#tcti, 0);
    if (rc !== 0) {
      const error = this.#error('Initialize', rc, 'tpm-unreachable');
      this.close();
      throw error;
    }
    this.#context = arena.pointer(context);
  }

  /** Sends one TPM command. `tpm-call-failed` where the TPM refused, `tpm-unreachable` where the transport failed. */
  send(command: EsysCommand, ...args: Argument[]): Answers {
    this.#arena.reset();
    const values = args.map((argument) => this.#place(argument));
    this.#count(command);
    const rc = this.#library.command[command](this.#context, ...values);
    if (rc !== 0) throw this.#error(command, rc);
    return this.#collect(args, values);
  }

  /** ESYS's object for a persistent handle or NV index. It costs one command the first time and is then kept. */
  object(handle: number): number {
    const known = this.#objects.get(handle);
    if (known !== undefined) return known;
    const command = handle >>> 24 === 0x01 ? 'NV_ReadPublic' : 'ReadPublic';
    this.#arena.reset();
    this.#count(command);
    const slot = this.#arena.reserve(8);
    const rc = this.#library.trFromTpmPublic(this.#context, handle, NONE, NONE, NONE, slot);
    if (rc !== 0) throw this.#error(command, rc, undefined, { handle });
    const object = this.#arena.u32(slot);
    this.#objects.set(handle, object);
    return object;
  }

  /** Drops ESYS's object for a handle, whose public area may have changed. */
  forget(handle: number): void {
    const object = this.#objects.get(handle);
    if (object === undefined) return;
    this.#objects.delete(handle);
    this.#arena.reset();
    // It fails where EvictControl has removed the object already: then there is nothing to free.
    this.#library.trClose(this.#context, this.#arena.putPointer(object));
  }

  /** Lets a session live on after the command that it authorizes, so that flushing it is always right. */
  keepSession(session: number): void {
    const continueSession = 1;
    const rc = this.#library.sessionSetAttributes(this.#context, session, continueSession, 0xff);
    if (rc !== 0) throw this.#error('TRSess_SetAttributes', rc);
  }

  /** Frees context and transport. Safe to repeat. */
  close(): void {
    this.#arena.reset();
    if (this.#context !== 0) this.#library.esysFinalize(this.#arena.putPointer(this.#context));
    this.#context = 0;
    if (this.#tcti !== 0) this.#library.tctiFinalize(this.#arena.putPointer(this.#tcti));
    this.#tcti = 0;
  }

  #place(argument: Argument): number {
    if (typeof argument === 'number') return argument;
    if ('out' in argument) return this.#arena.reserve(8);
    const buffer = this.#arena.put(argument.wire);
    const offset = this.#arena.reserve(8);
    const structure = this.#arena.reserve(STRUCTURE_BYTES);
    const rc = this.#library.unmarshal[argument.in](buffer, argument.wire.byteLength, offset, structure);
    if (rc !== 0) throw this.#error(argument.in, rc, 'tpm-structure-invalid');
    if (this.#arena.pointer(offset) !== argument.wire.byteLength) {
      throw new TvmmpError('tpm-structure-invalid', `${argument.in}: bytes are left over`);
    }
    return structure;
  }

  #collect(args: readonly Argument[], values: readonly number[]): Answers {
    const structures: Uint8Array[] = [];
    const words: number[] = [];
    const allocated: number[] = [];
    try {
      // First note all that ESYS allocated, so that a failure below leaks nothing.
      const outputs = args.flatMap((argument, i) => {
        const slot = values[i];
        if (typeof argument === 'number' || !('out' in argument) || slot === undefined) return [];
        if (argument.out === 'word') words.push(this.#arena.u32(slot));
        else allocated.push(this.#arena.pointer(slot));
        return argument.out === 'word' || argument.out === 'unused'
          ? []
          : [{ structure: argument.out, address: this.#arena.pointer(slot) }];
      });
      for (const { structure, address } of outputs) structures.push(this.#wireOf(structure, address));
    } finally {
      for (const address of allocated) this.#library.esysFree(address);
    }
    return { structures, words };
  }

  #wireOf(structure: Structure, address: number): Uint8Array {
    const buffer = this.#arena.reserve(WIRE_BYTES_MAX);
    const offset = this.#arena.reserve(8);
    const rc = this.#library.marshal[structure](address, buffer, WIRE_BYTES_MAX, offset);
    if (rc !== 0) throw this.#error(structure, rc, 'tpm-structure-invalid');
    return this.#arena.bytes(buffer, this.#arena.pointer(offset));
  }

  #count(command: string): void {
    this.#counts.set(command, (this.#counts.get(command) ?? 0) + 1);
  }

  #error(
    command: string,
    rc: number,
    code?: 'tpm-unreachable' | 'tpm-structure-invalid',
    details: Record<string, unknown> = {},
  ): TvmmpError {
    this.#arena.reset();
    const text = this.#arena.reserve(TEXT_BYTES_MAX);
    this.#library.strncpy(text, this.#library.rcDecode(rc), TEXT_BYTES_MAX - 1);
    const words = this.#arena.text(text, TEXT_BYTES_MAX);
    const kind = code ?? (isTransportFailure(rc) ? 'tpm-unreachable' : 'tpm-call-failed');
    return new TvmmpError(kind, `${command}: ${words} (0x${rc.toString(16).padStart(8, '0')})`, {
      details: { command, rc, ...details },
    });
  }
}
