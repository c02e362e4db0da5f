/** NV memory: EK certificates and whatever else an index holds. */
import { trimDer } from '../../bytes/der-value.ts';
import { ByteReader } from '../../bytes/reader.ts';
import { TvmmpError } from '../../errors.ts';
import { EK_NV } from '../handles.ts';
import type { EkCertificate, EkKind } from '../port.ts';
import { NONE, PASSWORD, output, unused } from './connection.ts';
import type { Connection } from './connection.ts';
import { RH_OWNER, exists, structure, unsized } from './objects.ts';

/** TPMA_NV bits (TPM 2.0 Part 2, 13.4). */
const NV_OWNERREAD = 1 << 17;
const NV_AUTHREAD = 1 << 18;
/** Every TPM of the PC Client profile reads at least this much at once. */
const CHUNK_BYTES = 512;

/** Contents of an NV index, from its first byte to its last. */
export function nvRead(connection: Connection, index: number): Uint8Array {
  const object = connection.object(index);
  const { attributes, dataBytes } = nvPublic(connection, index);
  if ((attributes & (NV_AUTHREAD | NV_OWNERREAD)) === 0) {
    throw new TvmmpError('tpm-call-failed', `NV index 0x${index.toString(16)} takes a policy to be read`, {
      details: { command: 'NV_Read', index },
    });
  }
  const authority = (attributes & NV_AUTHREAD) !== 0 ? object : RH_OWNER;
  const chunks: Uint8Array[] = [];
  for (let offset = 0; offset < dataBytes; offset += CHUNK_BYTES) {
    const size = Math.min(CHUNK_BYTES, dataBytes - offset);
    const chunk = connection.send(
      'NV_Read',
      authority,
      object,
      PASSWORD,
      NONE,
      NONE,
      size,
      offset,
      output('TPM2B_MAX_NV_BUFFER'),
    );
    chunks.push(unsized(structure(chunk), size));
  }
  return Uint8Array.from(Buffer.concat(chunks));
}

/** Contents of an NV index, or undefined where there is none. */
export function nvReadIfPresent(connection: Connection, index: number | undefined): Uint8Array | undefined {
  return index !== undefined && exists(connection, index) ? nvRead(connection, index) : undefined;
}

/** EK certificates of the indices that hold one. An index that was reserved and left blank counts as absent. */
export function ekCertificates(connection: Connection): EkCertificate[] {
  return (Object.keys(EK_NV) as EkKind[]).flatMap((kind) => {
    const nvIndex = EK_NV[kind].certificate;
    const contents = nvReadIfPresent(connection, nvIndex);
    if (contents === undefined || contents.every((byte) => byte === 0x00 || byte === 0xff)) return [];
    return [{ kind, nvIndex, der: trimDer(contents) }];
  });
}

/** TPMA_NV and size of an NV index (TPM2_NV_ReadPublic). */
export function nvPublic(connection: Connection, index: number): { attributes: number; dataBytes: number } {
  const answers = connection.send(
    'NV_ReadPublic',
    connection.object(index),
    NONE,
    NONE,
    NONE,
    output('TPM2B_NV_PUBLIC'),
    unused,
  );
  return parseNvPublic(unsized(structure(answers)));
}

function parseNvPublic(bytes: Uint8Array): { attributes: number; dataBytes: number } {
  const reader = new ByteReader(bytes, { what: 'TPMS_NV_PUBLIC', code: 'tpm-structure-invalid' });
  reader.u32be();
  reader.u16be();
  const attributes = reader.u32be();
  reader.sized16be(64);
  const dataBytes = reader.u16be();
  reader.end();
  return { attributes, dataBytes };
}
