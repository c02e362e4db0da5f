/** UEFI_VARIABLE_DATA (PFP 10.2.6) and the lists of keys in it: EFI_SIGNATURE_LIST (UEFI 2.10, 32.4.1). UNVERIFIED. */
import { ByteReader } from '../bytes/reader.ts';
import { sha256 } from '../encoding/hash.ts';
import { limits } from '../limits.ts';

/** EFI_GLOBAL_VARIABLE: SecureBoot, PK, KEK, Boot####. */
export const EFI_GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
/** EFI_IMAGE_SECURITY_DATABASE_GUID: db, dbx. */
export const EFI_IMAGE_SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';
const CERT_X509 = 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072';
const CERT_SHA256 = 'c1c41626-504c-4092-aca9-41f936934328';

const NAME_CHARACTERS_MAX = 1024;
const GUID_BYTES = 16;

/** A variable as it was measured. */
export interface EfiVariable {
  readonly guid: string;
  readonly name: string;
  readonly value: Uint8Array;
}

/** An entry of a list of keys: a certificate, the hash of an image, or something else by the GUID of its kind. */
export interface EfiSignature {
  readonly kind: 'x509' | 'sha256' | `guid:${string}`;
  readonly owner: string;
  /** SHA-256 of the certificate's DER; the hash of an image as it is; for other kinds SHA-256 of the entry. */
  readonly sha256: Uint8Array;
}

/** Reads UEFI_VARIABLE_DATA. Throws `event-log-invalid`. */
export function parseEfiVariable(data: Uint8Array): EfiVariable {
  const reader = new ByteReader(data, { what: 'UEFI_VARIABLE_DATA', code: 'event-log-invalid' });
  const guid = readGuid(reader);
  const [characters, bytes] = [reader.u64le(), reader.u64le()];
  if (characters > BigInt(NAME_CHARACTERS_MAX)) reader.fail(`a name of ${characters.toString()} characters`);
  if (bytes > BigInt(limits.eventDataBytesMax)) reader.fail(`a value of ${bytes.toString()} bytes`);
  const name = utf16(reader.bytes(2 * Number(characters)));
  const value = reader.bytes(Number(bytes));
  reader.end();
  return { guid, name, value };
}

/** Reads the EFI_SIGNATURE_LISTs of PK, KEK, db and dbx; an empty value has none. Throws `event-log-invalid`. */
export function parseSignatureLists(value: Uint8Array): readonly EfiSignature[] {
  const reader = new ByteReader(value, { what: 'EFI_SIGNATURE_LIST', code: 'event-log-invalid' });
  const signatures: EfiSignature[] = [];
  while (reader.remaining > 0) {
    const type = readGuid(reader);
    const [listBytes, headerBytes, entryBytes] = [reader.u32le(), reader.u32le(), reader.u32le()];
    const entriesBytes = listBytes - GUID_BYTES - 12 - headerBytes;
    if (entryBytes <= GUID_BYTES || entriesBytes < 0 || entriesBytes % entryBytes !== 0)
      reader.fail(`a list of ${listBytes} bytes with entries of ${entryBytes}`);
    reader.skip(headerBytes);
    for (let left = entriesBytes; left > 0; left -= entryBytes) {
      const owner = readGuid(reader);
      const entry = reader.bytes(entryBytes - GUID_BYTES);
      if (type === CERT_SHA256 && entry.byteLength !== 32) reader.fail('a SHA-256 hash of another size');
      const kind = type === CERT_X509 ? 'x509' : type === CERT_SHA256 ? 'sha256' : (`guid:${type}` as const);
      signatures.push({ kind, owner, sha256: kind === 'sha256' ? entry : sha256(entry) });
    }
  }
  return signatures;
}

/** An EFI_GUID: three little-endian numbers and eight bytes, in the usual text form. */
export function readGuid(reader: ByteReader): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  const head = [hex(reader.u32le(), 8), hex(reader.u16le(), 4), hex(reader.u16le(), 4)];
  const tail = Buffer.from(reader.bytes(8)).toString('hex');
  return `${head.join('-')}-${tail.slice(0, 4)}-${tail.slice(4)}`;
}

/** UTF-16LE text; a terminating NUL is left away. */
export function utf16(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf16le').replace(/\0$/, '');
}
