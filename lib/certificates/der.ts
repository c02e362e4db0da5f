/** The little DER (ITU-T X.690) that extensions of ours need; everything else of a certificate is the X.509 library's. */
import type { ByteReader } from '../bytes/reader.ts';

/** Tags of the types in use; the last two are those of GeneralName (RFC 5280 4.2.1.6). */
export const DER = {
  INTEGER: 0x02,
  OCTET_STRING: 0x04,
  OBJECT_IDENTIFIER: 0x06,
  UTF8_STRING: 0x0c,
  SEQUENCE: 0x30,
  SET: 0x31,
  directoryName: 0xa4,
  uniformResourceIdentifier: 0x86,
} as const;

/** One value: tag, length, and its parts in order. Lengths up to 64 KiB: no extension comes near. */
export function tagged(tag: number, ...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const body = parts.flatMap((part) => [...part]);
  const { length } = body;
  const header =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Uint8Array.from([tag, ...header, ...body]);
}

/** The contents of the next value, which has this tag. */
export function contents(reader: ByteReader, tag: number): Uint8Array {
  if (reader.u8() !== tag) reader.fail('another kind of value');
  return lengthAndBytes(reader);
}

/** A length and as many bytes. Longer spellings of a length are accepted: who reads compares with what it would have written. */
export function lengthAndBytes(reader: ByteReader): Uint8Array {
  const first = reader.u8();
  if (first < 0x80) return reader.bytes(first);
  if (first === 0x81) return reader.bytes(reader.u8());
  if (first === 0x82) return reader.bytes(reader.u16be());
  return reader.fail('a length that is too long');
}
