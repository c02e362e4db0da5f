/**
 * Reads IMA measurement lists as the kernel shows them in binary_runtime_measurements (SPEC 14.5; Linux,
 * security/integrity/ima/ima_fs.c and ima_template_lib.c), little endian, one entry after another: a list may be long. What comes
 * out is UNVERIFIED until its replay leads to a quoted PCR.
 */
import { limits } from '../limits.ts';
import { faultyLog } from './log-fault.ts';
import { LogReader } from './log-reader.ts';

/** Templates that we read; `ima` is the old one of SHA-1 and MD5. */
export type ImaTemplate = 'ima' | 'ima-ng' | 'ima-sig' | 'ima-buf';

/** One entry of a list. */
export interface UntrustedImaEntry {
  /** Place in the list, from 0. */
  readonly number: number;
  readonly pcr: number;
  readonly template: ImaTemplate;
  /** SHA-1 of the template data by the list's word, hexadecimal; zeros for a violation. */
  readonly templateHash: string;
  /** The kernel could not measure (the file was written while it was read): the entry says nothing about the file. */
  readonly violation: boolean;
  /** What was hashed into the PCR, for the banks that the kernel hashes for (a view of the input). */
  readonly hashed: Uint8Array;
  /** Digest of the file or buffer, as in `sha256:<hexadecimal>`. */
  readonly digest: string;
  /** Path of the file, or name of what was measured; `boot_aggregate` for the first entry. */
  readonly path: string;
  /** security.ima with the file's signature (ima-sig), where the file has one. */
  readonly signature: Uint8Array | null;
  /** What was measured itself (ima-buf). */
  readonly buffer: Uint8Array | null;
}

const CODE = 'ima-list-invalid';
/** PCR, template hash, length of the template's name. */
const HEADER_BYTES = 28;
const SHA1_HEX = 40;
const NO_HASH = '0'.repeat(SHA1_HEX);
const PCR_MAX = 23;
const TEMPLATE_NAME_BYTES_MAX = 64;
/** Without the final NUL: IMA_EVENT_NAME_LEN_MAX. */
const OLD_NAME_BYTES_MAX = 255;
const TEMPLATES: ReadonlySet<string> = new Set<ImaTemplate>(['ima', 'ima-ng', 'ima-sig', 'ima-buf']);
const ASCII_LIST = /^ ?\d{1,2} [0-9a-f]{40} ima/;

/** Algorithms of file digests by the kernel's names, with the bytes of a digest and what a field of theirs begins with. */
const ALGORITHMS = (
  [
    ['sha256', 32],
    ['sha1', 20],
    ['sha384', 48],
    ['sha512', 64],
    ['sha224', 28],
    ['md5', 16],
    ['sm3-256', 32],
  ] as const
).map(([name, bytes]) => ({ name, digits: 2 * bytes, prefix: Buffer.from(`${name}:\0`).toString('hex') }));

/** Reads the entries of a list one by one. */
export class ImaListReader {
  readonly #reader: LogReader;
  #number: number;

  /**
   * Reads `bytes`: a list from its beginning, or what follows the `after` entries that were read earlier.
   * Throws `ima-list-invalid`, with the name of what is wrong in `details.fault`.
   */
  constructor(bytes: Uint8Array, after = 0) {
    if (bytes.byteLength > limits.imaListBytesMax)
      throw faultyLog(CODE, 'too-large', `it has ${bytes.byteLength} bytes`);
    if (bytes.byteLength === 0 && after === 0) throw faultyLog(CODE, 'empty', 'it holds no entry');
    this.#reader = new LogReader(bytes, { code: CODE });
    this.#number = after;
    const head = new LogReader(bytes, { code: CODE }).latin1(Math.min(bytes.byteLength, 64));
    if (ASCII_LIST.test(head))
      throw faultyLog(
        CODE,
        'text-not-binary',
        'this is ascii_runtime_measurements; give binary_runtime_measurements',
      );
  }

  /** Entries read so far, those before the beginning of the input included. */
  get entries(): number {
    return this.#number;
  }

  /** Bytes of the input read so far. */
  get offset(): number {
    return this.#reader.offset;
  }

  /** The next entry; undefined at the end. Throws `ima-list-invalid`. */
  next(): UntrustedImaEntry | undefined {
    const reader: LogReader = this.#reader;
    if (reader.remaining === 0) return undefined;
    if (reader.remaining < HEADER_BYTES)
      reader.fault('trailing-bytes', `${reader.remaining} bytes are left over that are no entry`);
    const number = this.#number;
    if (number >= limits.imaEntriesMax) reader.fault('too-many', `more than ${limits.imaEntriesMax} entries`);
    const pcr = reader.u32le();
    if (pcr > PCR_MAX) reader.fault('pcr-out-of-range', `entry ${number} is of PCR ${pcr}`);
    const templateHash = reader.hex(SHA1_HEX / 2);
    const nameLength = reader.u32le();
    if (nameLength > TEMPLATE_NAME_BYTES_MAX)
      reader.fault('template-unknown', `entry ${number} has a template name of ${nameLength} bytes`);
    const template = reader.latin1(nameLength);
    if (!isTemplate(template))
      reader.fault('template-unknown', `entry ${number} is of a template that is not known`);
    const head = { number, pcr, template, templateHash, violation: templateHash === NO_HASH };
    const entry = template === 'ima' ? oldEntry(reader, head) : newEntry(reader, head);
    this.#number = number + 1;
    return entry;
  }
}

type Head = Pick<UntrustedImaEntry, 'number' | 'pcr' | 'template' | 'templateHash' | 'violation'>;

/** Template `ima`: digest, length of the name, name. Hashed is the name in a field of 256 bytes. */
function oldEntry(reader: LogReader, head: Head): UntrustedImaEntry {
  const digest = reader.view(20);
  const length = reader.u32le();
  if (length > OLD_NAME_BYTES_MAX)
    reader.fault('template-data', `entry ${head.number} has a name of ${length} bytes`);
  const name = reader.view(length);
  const hashed = new Uint8Array(20 + OLD_NAME_BYTES_MAX + 1);
  hashed.set(digest);
  hashed.set(name, 20);
  return entryOf(head, hashed, `sha1:${hexOf(digest)}`, Buffer.from(name).toString('utf8'), null, null);
}

/** All others: the length of the template data, and in them fields with their lengths. Hashed are the data as they are. */
function newEntry(reader: LogReader, head: Head): UntrustedImaEntry {
  const { number, template, violation } = head;
  const length = reader.u32le();
  if (length > limits.imaEntryBytesMax)
    reader.fault('data-too-large', `entry ${number} has ${length} bytes of data`);
  if (length > reader.remaining) reader.fault('truncated', `it ends within entry ${number}`);
  const end = reader.offset + length;
  const hashed = reader.peek(length);
  const within = (): number => {
    const bytes = end - reader.offset < 4 ? NaN : reader.u32le();
    if (!(bytes <= end - reader.offset))
      reader.fault('template-data', `entry ${number} has fields beyond its data`);
    return bytes;
  };
  const digest = readDigest(reader, reader.hex(within()), number, violation);
  const pathBytes = within();
  const path = pathBytes === 0 ? '' : reader.utf8(pathBytes);
  if (!path.endsWith('\0') || path.indexOf('\0') !== path.length - 1)
    reader.fault('template-data', `entry ${number} has a path that is not ended by a NUL`);
  const more = template === 'ima-ng' ? null : reader.view(within());
  if (reader.offset !== end) reader.fault('template-data', `entry ${number} has data beyond its fields`);
  const signature = template === 'ima-sig' && more !== null && more.byteLength > 0 ? more : null;
  return entryOf(head, hashed, digest, path.slice(0, -1), signature, template === 'ima-buf' ? more : null);
}

/** The field d-ng: algorithm, colon, NUL, digest. A violation may have a digest of zeros without an algorithm. */
function readDigest(reader: LogReader, field: string, number: number, violation: boolean): string {
  for (const { name, digits, prefix } of ALGORITHMS) {
    if (!field.startsWith(prefix)) continue;
    const found = field.length - prefix.length;
    // A violation of an older kernel has 20 zeros, whatever the algorithm is.
    if (found !== digits && !(violation && found === SHA1_HEX))
      reader.fault('digest-size', `entry ${number} has a ${name} digest of ${found / 2} bytes`);
    return `${name}:${field.slice(prefix.length)}`;
  }
  if (violation && field === NO_HASH) return `sha1:${field}`;
  return reader.fault('algorithm-unknown', `entry ${number} has a digest of an algorithm that is not known`);
}

function entryOf(
  head: Head,
  hashed: Uint8Array,
  digest: string,
  path: string,
  signature: Uint8Array | null,
  buffer: Uint8Array | null,
): UntrustedImaEntry {
  const { number, pcr, template, templateHash, violation } = head;
  return { number, pcr, template, templateHash, violation, hashed, digest, path, signature, buffer };
}

function isTemplate(name: string): name is ImaTemplate {
  return TEMPLATES.has(name);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
