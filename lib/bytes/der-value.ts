import { ByteReader } from './reader.ts';

const DER_SEQUENCE = 0x30;

/** Cuts what follows a DER SEQUENCE: manufacturers reserve an index larger than the certificate. */
export function trimDer(contents: Uint8Array): Uint8Array {
  const reader: ByteReader = new ByteReader(contents, {
    what: 'certificate in the TPM',
    code: 'tpm-structure-invalid',
  });
  if (reader.u8() !== DER_SEQUENCE) reader.fail('not a DER SEQUENCE');
  const first = reader.u8();
  let length = first;
  if (first === 0x81) length = reader.u8();
  else if (first === 0x82) length = reader.u16be();
  else if (first > 0x7f) reader.fail('an unexpected DER length');
  reader.view(length);
  return contents.slice(0, reader.offset);
}
