/** Objects in the TPM: making, loading, persisting, and always flushing what is transient. */
import { ByteReader } from '../../bytes/reader.ts';
import { ByteWriter } from '../../bytes/writer.ts';
import { TvmmpError } from '../../errors.ts';
import { formatPublicArea } from '../public-area.ts';
import type { PublicArea } from '../public-area.ts';
import type { TpmPublic } from '../port.ts';
import { NONE, PASSWORD, input, output, unused, word } from './connection.ts';
import type { Answers, Connection } from './connection.ts';

/** ESYS_TR values of the hierarchies (tss2_esys.h). */
export const RH_OWNER = 0x101;
export const RH_ENDORSEMENT = 0x10b;

const CAP_HANDLES = 1;
const EMPTY_SENSITIVE = new ByteWriter().sized16be(new ByteWriter().u16be(0).u16be(0).finish()).finish();
const EMPTY_2B = new ByteWriter().u16be(0).finish();
const NO_PCRS = new ByteWriter().u32be(0).finish();
/** TPMT_PUBLIC of an RSA-4096 key with a policy takes less than 700 bytes. */
const PUBLIC_BYTES_MAX = 1024;

/** A transient object: its ESYS_TR, and the public area that the TPM gave it. */
export interface Transient {
  readonly object: number;
  /** TPMT_PUBLIC wire bytes. */
  readonly publicArea: Uint8Array;
}

/** The nth structure of a command's answers; what is missing is a mistake in this adapter. */
export function structure(answers: Answers, index = 0): Uint8Array {
  const bytes = answers.structures[index];
  if (bytes === undefined) throw new TvmmpError('internal', 'a TPM command lacks an answer');
  return bytes;
}

/** The nth word of a command's answers. */
export function wordOf(answers: Answers, index = 0): number {
  const value = answers.words[index];
  if (value === undefined) throw new TvmmpError('internal', 'a TPM command lacks an answer');
  return value;
}

/** The contents of a TPM2B structure. */
export function unsized(bytes: Uint8Array, bytesMax = 4096): Uint8Array {
  const reader = new ByteReader(bytes, { what: 'TPM2B structure', code: 'tpm-structure-invalid' });
  const contents = reader.sized16be(bytesMax);
  reader.end();
  return contents;
}

/** TPM2B wire bytes. */
export function sized(bytes: Uint8Array): Uint8Array {
  return new ByteWriter().sized16be(bytes).finish();
}

/**
 * Runs `use` with a transient object or session, and flushes it in any case: swtpm and a raw TPM device have three slots
 * and no resource manager. A failure of `use` wins over one of the flush.
 */
export function withTransient<T>(connection: Connection, object: number, use: () => T): T {
  let result: T;
  try {
    result = use();
  } catch (error) {
    try {
      connection.send('FlushContext', object);
    } catch {
      // The first failure says why; where the TPM is gone, so is the object.
    }
    throw error;
  }
  connection.send('FlushContext', object);
  return result;
}

/** TPM2_CreatePrimary with an empty authorization value. The caller flushes it. */
export function createPrimary(connection: Connection, hierarchy: number, template: Uint8Array): Transient {
  const answers = connection.send(
    'CreatePrimary',
    hierarchy,
    PASSWORD,
    NONE,
    NONE,
    input('TPM2B_SENSITIVE_CREATE', EMPTY_SENSITIVE),
    input('TPM2B_PUBLIC', sized(template)),
    input('TPM2B_DATA', EMPTY_2B),
    input('TPML_PCR_SELECTION', NO_PCRS),
    word,
    output('TPM2B_PUBLIC'),
    unused,
    unused,
    unused,
  );
  return { object: wordOf(answers), publicArea: unsized(structure(answers), PUBLIC_BYTES_MAX) };
}

/** TPM2_Create and TPM2_Load under a persistent parent. The caller flushes it. */
export function createChild(connection: Connection, parentHandle: number, template: PublicArea): Transient {
  const parent = connection.object(parentHandle);
  const created = connection.send(
    'Create',
    parent,
    PASSWORD,
    NONE,
    NONE,
    input('TPM2B_SENSITIVE_CREATE', EMPTY_SENSITIVE),
    input('TPM2B_PUBLIC', sized(formatPublicArea(template))),
    input('TPM2B_DATA', EMPTY_2B),
    input('TPML_PCR_SELECTION', NO_PCRS),
    output('TPM2B_PRIVATE'),
    output('TPM2B_PUBLIC'),
    unused,
    unused,
    unused,
  );
  const publicArea = structure(created, 1);
  const loaded = connection.send(
    'Load',
    parent,
    PASSWORD,
    NONE,
    NONE,
    input('TPM2B_PRIVATE', structure(created, 0)),
    input('TPM2B_PUBLIC', publicArea),
    word,
  );
  return { object: wordOf(loaded), publicArea: unsized(publicArea, PUBLIC_BYTES_MAX) };
}

/** Makes a transient object persistent under a handle that must be free. */
export function persist(connection: Connection, object: number, handle: number): void {
  connection.send('EvictControl', RH_OWNER, object, PASSWORD, NONE, NONE, handle, word);
}

/** Removes a persistent object. */
export function evict(connection: Connection, handle: number): void {
  const object = connection.object(handle);
  connection.send('EvictControl', RH_OWNER, object, PASSWORD, NONE, NONE, handle, word);
  connection.forget(handle);
}

/** Whether a persistent object or NV index of this handle exists. */
export function exists(connection: Connection, handle: number): boolean {
  const answers = connection.send(
    'GetCapability',
    NONE,
    NONE,
    NONE,
    CAP_HANDLES,
    handle,
    1,
    word,
    output('TPMS_CAPABILITY_DATA'),
  );
  const reader: ByteReader = new ByteReader(structure(answers), {
    what: 'TPMS_CAPABILITY_DATA',
    code: 'tpm-structure-invalid',
  });
  if (reader.u32be() !== CAP_HANDLES) reader.fail('not a list of handles');
  const first = reader.u32be() === 0 ? undefined : reader.u32be();
  return first === handle;
}

/** TPM2_ReadPublic of a persistent object. */
export function readPublic(connection: Connection, handle: number): TpmPublic {
  const answers = connection.send(
    'ReadPublic',
    connection.object(handle),
    NONE,
    NONE,
    NONE,
    output('TPM2B_PUBLIC'),
    output('TPM2B_NAME'),
    unused,
  );
  return {
    publicArea: unsized(structure(answers, 0), PUBLIC_BYTES_MAX),
    name: unsized(structure(answers, 1), 66),
  };
}
