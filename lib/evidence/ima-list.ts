/**
 * Reads IMA measurement lists as the kernel shows them in binary_runtime_measurements (SPEC 14.5; Linux,
 * security/integrity/ima/ima_fs.c and ima_template_lib.c), little endian, one entry after another: a list may be long. What comes
 * out is UNVERIFIED until its replay leads to a quoted PCR.
 */
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { readImaDigest } from './ima-digest.ts';
import type { ImaDigest } from './ima-digest.ts';
import { faultyLog } from './log-fault.ts';
import { LogReader } from './log-reader.ts';

/** Templates that we read; `ima` is the old one of SHA-1 and MD5. */
export type ImaTemplate = (typeof templates)[number];

/** A signature that is appended to the file itself, as to a kernel module (ima-modsig). */
export interface ImaModsig {
  /** Of the file without it, as in `sha256:<hexadecimal>`. */
  readonly digest: string;
  /** PKCS #7. */
  readonly signature: Uint8Array;
}

const templates = ['ima-ng', 'ima-sig', 'ima-buf', 'ima', 'ima-ngv2', 'ima-sigv2', 'ima-modsig'] as const;

/** One entry of a list. Made for each of very many: what is seldom asked for is made when it is. */
export class UntrustedImaEntry {
  /** Place in the list, from 0. */
  readonly number: number;
  readonly pcr: number;
  readonly template: ImaTemplate;
  /** The kernel could not measure (the file was written while it was read): the entry says nothing about the file. */
  readonly violation: boolean;
  /** What was hashed into the PCR, for the banks that the kernel hashes for (a view of the input). */
  readonly hashed: Uint8Array;
  /**
   * Algorithm of the digest of the file or buffer, by the kernel's name, and the digest in hexadecimal. That of an fs-verity digest,
   * which is none of the file's contents alone, begins with `verity:`.
   */
  readonly algorithm: string;
  readonly value: string;
  /** Path of the file, or name of what was measured; `boot_aggregate` for the first entry. */
  readonly path: string;
  /** security.ima with the file's signature (ima-sig, ima-sigv2, ima-modsig), where the file has one. */
  readonly signature: Uint8Array | null;
  /** What was measured itself (ima-buf). */
  readonly buffer: Uint8Array | null;
  readonly modsig: ImaModsig | null;
  /** SHA-1 of the template data by the list's word (a view of the input); zeros for a violation. */
  readonly templateHash: Uint8Array;

  constructor(
    head: Head,
    hashed: Uint8Array,
    digest: ImaDigest,
    path: string,
    signature: Uint8Array | null,
    buffer: Uint8Array | null,
    modsig: ImaModsig | null,
  ) {
    this.number = head.number;
    this.pcr = head.pcr;
    this.template = head.template;
    this.violation = head.violation;
    this.templateHash = head.templateHash;
    this.hashed = hashed;
    this.algorithm = digest.algorithm;
    this.value = digest.value;
    this.path = path;
    this.signature = signature;
    this.buffer = buffer;
    this.modsig = modsig;
  }

  /** Algorithm and digest, as in `sha256:<hexadecimal>`. */
  get digest(): string {
    return `${this.algorithm}:${this.value}`;
  }
}

interface Head {
  readonly number: number;
  readonly pcr: number;
  readonly template: ImaTemplate;
  readonly violation: boolean;
  readonly templateHash: Uint8Array;
}

const CODE = 'ima-list-invalid';
/** PCR, template hash, length of the template's name. */
const HEADER_BYTES = 28;
const SHA1_BYTES = 20;
const PCR_MAX = 23;
const TEMPLATE_NAME_BYTES_MAX = 64;
/** Without the final NUL: IMA_EVENT_NAME_LEN_MAX. */
const OLD_NAME_BYTES_MAX = 255;
const TEMPLATES = templates.map((name) => ({ name, bytes: Uint8Array.from(Buffer.from(name)) }));
const ASCII_LIST = /^ ?\d{1,2} [0-9a-f]{40} ima/;

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
    const violation = reader.isNext(0, SHA1_BYTES);
    const templateHash = reader.view(SHA1_BYTES);
    const nameLength = reader.u32le();
    if (nameLength > TEMPLATE_NAME_BYTES_MAX)
      reader.fault('template-unknown', `entry ${number} has a template name of ${nameLength} bytes`);
    const template = templateOf(reader, nameLength);
    if (template === undefined)
      reader.fault('template-unknown', `entry ${number} is of a template that is not known`);
    const head = { number, pcr, template, templateHash, violation };
    const entry = template === 'ima' ? oldEntry(reader, head) : newEntry(reader, head);
    this.#number = number + 1;
    return entry;
  }
}

/** Template `ima`: digest, length of the name, name. Hashed is the name in a field of 256 bytes. */
function oldEntry(reader: LogReader, head: Head): UntrustedImaEntry {
  const digest = reader.view(SHA1_BYTES);
  const length = reader.u32le();
  if (length > OLD_NAME_BYTES_MAX)
    reader.fault('template-data', `entry ${head.number} has a name of ${length} bytes`);
  const name = reader.view(length);
  const hashed = new Uint8Array(SHA1_BYTES + OLD_NAME_BYTES_MAX + 1);
  hashed.set(digest);
  hashed.set(name, SHA1_BYTES);
  const value = hex(digest);
  const path = Buffer.from(name).toString('utf8');
  return new UntrustedImaEntry(head, hashed, { algorithm: 'sha1', value }, path, null, null, null);
}

/** All others: the length of the template data, and in them fields with their lengths. Hashed are the data as they are. */
function newEntry(reader: LogReader, head: Head): UntrustedImaEntry {
  const { number, template } = head;
  const length = reader.u32le();
  if (length > limits.imaEntryBytesMax)
    reader.fault('data-too-large', `entry ${number} has ${length} bytes of data`);
  if (length > reader.remaining) reader.fault('truncated', `it ends within entry ${number}`);
  const end = reader.offset + length;
  const hashed = reader.peek(length);
  const typed = template === 'ima-ngv2' || template === 'ima-sigv2';
  const digest = readImaDigest(reader, fieldBytes(reader, end, number), head, typed);
  const pathBytes = fieldBytes(reader, end, number);
  const path = pathBytes === 0 ? '\0' : reader.utf8(pathBytes - 1);
  if (path.includes('\0') || reader.u8() !== 0)
    reader.fault('template-data', `entry ${number} has a path that is not ended by its only NUL`);
  const short = template === 'ima-ng' || template === 'ima-ngv2';
  const more = short ? null : reader.view(fieldBytes(reader, end, number));
  const modsig = template === 'ima-modsig' ? readModsig(reader, end, head) : null;
  if (reader.offset !== end) reader.fault('template-data', `entry ${number} has data beyond its fields`);
  const buffer = template === 'ima-buf' ? more : null;
  const signature = buffer === null && more !== null && more.byteLength > 0 ? more : null;
  return new UntrustedImaEntry(head, hashed, digest, path, signature, buffer, modsig);
}

/** The fields d-modsig and modsig: both empty, or neither. */
function readModsig(reader: LogReader, end: number, head: Head): ImaModsig | null {
  const bytes = fieldBytes(reader, end, head.number);
  const digest = bytes === 0 ? null : readImaDigest(reader, bytes, head, false);
  const signature = reader.view(fieldBytes(reader, end, head.number));
  if ((digest === null) !== (signature.byteLength === 0))
    reader.fault('template-data', `entry ${head.number} has half of an appended signature`);
  return digest === null ? null : { digest: `${digest.algorithm}:${digest.value}`, signature };
}

/** The length of the next field, which has to lie within the template data. */
function fieldBytes(reader: LogReader, end: number, number: number): number {
  const bytes = end - reader.offset < 4 ? NaN : reader.u32le();
  if (!(bytes <= end - reader.offset))
    reader.fault('template-data', `entry ${number} has fields beyond its data`);
  return bytes;
}

function templateOf(reader: LogReader, length: number): ImaTemplate | undefined {
  for (const { name, bytes } of TEMPLATES) if (bytes.length === length && reader.accept(bytes)) return name;
  return undefined;
}
