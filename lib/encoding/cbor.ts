/**
 * The one CBOR of the project (SPEC 3): the core deterministic encoding of RFC 8949 4.2.1, and of its values only those
 * that the formats use. Whatever is accepted encodes to itself again, so a hash over bytes is a hash over a value.
 *
 * `cborg` decodes and encodes; before it sees outside bytes, `inspect` has bounded their nesting and counts and refused
 * every major type that no format has.
 */
import { decode as cborgDecode, encode as cborgEncode } from 'cborg';
import { bytesEqual } from '../bytes/compare.ts';
import { ByteReader } from '../bytes/reader.ts';
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';

/** What our formats are made of: unsigned integers to 2^53 - 1, byte and text strings, null, arrays, text-to-text maps. */
export type CborValue =
  number | string | Uint8Array | null | readonly CborValue[] | ReadonlyMap<string, string>;

/** Bounds of one decoding. `bytesMax` defaults to `limits.frameBytesMax`. */
export interface DecodeOptions {
  readonly bytesMax?: number;
}

const decodeOptions = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  useMaps: true,
  rejectDuplicateMapKeys: true,
} as const;

/** Encodes a value deterministically. Throws `encoding-invalid` for what the formats cannot hold. */
export function encode(value: CborValue): Uint8Array {
  assertEncodable(value, limits.cborDepthMax);
  const bytes = cborgEncode(value);
  // Longer results come as a Buffer, whose slice() shares memory where a Uint8Array's copies.
  return Buffer.isBuffer(bytes) ? Uint8Array.from(bytes) : bytes;
}

/**
 * Decodes untrusted bytes. Throws `limit-exceeded` (too long, too deep, too many items) or `encoding-invalid`. Byte
 * strings of the result are copies: the caller may reuse its buffer.
 */
export function decode(bytes: Uint8Array, options: DecodeOptions = {}): CborValue {
  const bytesMax = options.bytesMax ?? limits.frameBytesMax;
  if (bytes.byteLength > bytesMax) {
    throw new TvmmpError(
      'limit-exceeded',
      `CBOR of ${bytes.byteLength} bytes where at most ${bytesMax} are allowed`,
    );
  }
  const snapshot = Uint8Array.from(bytes);
  const reader = new ByteReader(snapshot, { what: 'CBOR' });
  inspect(reader, limits.cborDepthMax);
  reader.end();
  let value: CborValue;
  try {
    value = cborgDecode(snapshot, decodeOptions) as CborValue;
  } catch (cause) {
    throw new TvmmpError('encoding-invalid', `CBOR: ${(cause as Error).message}`, { cause });
  }
  if (!bytesEqual(cborgEncode(value), snapshot)) {
    throw new TvmmpError(
      'encoding-invalid',
      'CBOR: not the deterministic encoding of its value (RFC 8949 4.2.1)',
    );
  }
  return value;
}

/** Walks one data item: types of the formats alone, definite lengths, depth and counts in bounds. */
function inspect(reader: ByteReader, depth: number): void {
  const initial = reader.u8();
  const major = initial >> 5;
  if (initial === 0xf6) return;
  const argument = readArgument(reader, initial & 0x1f);
  switch (major) {
    case 0:
      return;
    case 2:
    case 3:
      reader.view(argument);
      return;
    case 4:
      descend(reader, argument, depth, inspect);
      return;
    case 5:
      descend(reader, argument, depth, inspectPair);
      return;
    default:
      reader.fail(`major type ${major} is not used here`);
  }
}

function inspectPair(reader: ByteReader, depth: number): void {
  inspectText(reader, depth);
  inspectText(reader, depth);
}

function inspectText(reader: ByteReader, depth: number): void {
  if (depth === 0) throw new TvmmpError('limit-exceeded', 'CBOR: nested too deeply');
  const initial = reader.u8();
  if (initial >> 5 !== 3) reader.fail('a map holds something that is not text');
  reader.view(readArgument(reader, initial & 0x1f));
}

function descend(
  reader: ByteReader,
  count: number,
  depth: number,
  item: (reader: ByteReader, depth: number) => void,
): void {
  if (depth === 0) throw new TvmmpError('limit-exceeded', 'CBOR: nested too deeply');
  if (count > limits.cborItemsMax)
    throw new TvmmpError('limit-exceeded', `CBOR: ${count} items in one array or map`);
  if (count > reader.remaining) reader.fail('it ends within an array or map');
  for (let done = 0; done < count; done += 1) item(reader, depth - 1);
}

/** The head's argument (RFC 8949 3). Shortest form is left to the comparison in `decode`. */
function readArgument(reader: ByteReader, info: number): number {
  if (info < 24) return info;
  if (info === 24) return reader.u8();
  if (info === 25) return reader.u16be();
  if (info === 26) return reader.u32be();
  if (info !== 27) reader.fail('an indefinite length or a reserved head');
  const wide = reader.u64be();
  if (wide > BigInt(Number.MAX_SAFE_INTEGER)) reader.fail('an integer above 2^53 - 1');
  return Number(wide);
}

function assertEncodable(value: unknown, depth: number): void {
  if (value === null || value instanceof Uint8Array) return;
  if (typeof value === 'string') {
    assertText(value);
  } else if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value < 0 || Object.is(value, -0)) {
      throw new TvmmpError('encoding-invalid', `CBOR: ${value} is not an unsigned integer below 2^53`);
    }
  } else if (Array.isArray(value)) {
    assertContainer(value.length, depth);
    for (const item of value) assertEncodable(item, depth - 1);
  } else if (value instanceof Map) {
    assertContainer(value.size, depth);
    for (const part of [...value.keys(), ...value.values()]) assertText(part);
  } else {
    throw new TvmmpError('encoding-invalid', `CBOR: a ${typeof value} has no encoding here`);
  }
}

function assertContainer(count: number, depth: number): void {
  if (depth === 0) throw new TvmmpError('limit-exceeded', 'CBOR: nested too deeply');
  if (count > limits.cborItemsMax)
    throw new TvmmpError('limit-exceeded', `CBOR: ${count} items in one array or map`);
}

/** A lone surrogate has no UTF-8 and would be replaced silently. */
function assertText(text: unknown): void {
  if (typeof text !== 'string' || /\p{Surrogate}/u.test(text)) {
    throw new TvmmpError('encoding-invalid', 'CBOR: text that has no UTF-8 encoding');
  }
}
