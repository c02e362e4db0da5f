/** An NV counter (TPM 2.0 Part 1, 37.2.4): it goes up, and never back (SPEC 8.8). */
import { ByteReader } from '../../bytes/reader.ts';
import { ByteWriter } from '../../bytes/writer.ts';
import { TvmmpError } from '../../errors.ts';
import { HASHES } from '../algorithms.ts';
import { NONE, PASSWORD, input, word } from './connection.ts';
import type { Connection } from './connection.ts';
import { nvPublic, nvRead } from './nv.ts';
import { RH_OWNER, exists, sized } from './objects.ts';

/** TPMA_NV (TPM 2.0 Part 2, 13.4): OWNERWRITE, TPM_NT_COUNTER, OWNERREAD, AUTHREAD, NO_DA. */
const ATTRIBUTES = (1 << 1) | (1 << 4) | (1 << 17) | (1 << 18) | (1 << 25);
/** Set by the TPM with the first increment. */
const WRITTEN = 1 << 29;
const COUNTER_BYTES = 8;
const NOTHING = new ByteWriter().u16be(0).finish();

/** See the port. */
export function readCounter(connection: Connection, index: number): bigint | null {
  if (!exists(connection, index) || !isWritten(connection, index)) return null;
  const reader = new ByteReader(nvRead(connection, index), {
    what: 'NV counter',
    code: 'tpm-structure-invalid',
  });
  const value = reader.u64be();
  reader.end();
  return value;
}

/** See the port. */
export function makeCounter(connection: Connection, index: number): bigint {
  if (!exists(connection, index)) {
    connection.forget(index);
    define(connection, index);
  }
  if (!isWritten(connection, index)) incrementCounter(connection, index);
  const value = readCounter(connection, index);
  if (value === null) throw new TvmmpError('internal', 'the TPM has no counter after it was made');
  return value;
}

/** See the port. */
export function incrementCounter(connection: Connection, index: number): void {
  connection.send('NV_Increment', RH_OWNER, connection.object(index), PASSWORD, NONE, NONE);
}

function define(connection: Connection, index: number): void {
  const area = new ByteWriter()
    .u32be(index)
    .u16be(HASHES.sha256.id)
    .u32be(ATTRIBUTES)
    .sized16be(new Uint8Array())
    .u16be(COUNTER_BYTES)
    .finish();
  connection.send(
    'NV_DefineSpace',
    RH_OWNER,
    PASSWORD,
    NONE,
    NONE,
    input('TPM2B_DIGEST', NOTHING),
    input('TPM2B_NV_PUBLIC', sized(area)),
    word,
  );
}

/** Whether it was ever incremented. Throws `tpm-not-provisioned` where something else has taken its place. */
function isWritten(connection: Connection, index: number): boolean {
  const { attributes, dataBytes } = nvPublic(connection, index);
  if ((attributes & ~WRITTEN) === ATTRIBUTES && dataBytes === COUNTER_BYTES)
    return (attributes & WRITTEN) !== 0;
  throw new TvmmpError(
    'tpm-not-provisioned',
    `NV index 0x${index.toString(16)} is not the counter of this host (tpm2_nvreadpublic); whatever it is, remove it`,
    { details: { index } },
  );
}
