/**
 * Shapes: the CDDL of SPEC.md as values. A shape reads a decoded CBOR value into a typed one, with an error that names
 * the member, and writes it back; message and entry modules are written as shapes, so that they read as their grammar.
 */
import { TvmmpError } from '../errors.ts';
import { limits } from '../limits.ts';
import { decode, encode } from './cbor.ts';
import type { CborValue, DecodeOptions } from './cbor.ts';
import { uuidBytes, uuidText } from './uuid.ts';

/** How one type of the grammar is read from CBOR and written to it. `path` names the place for errors. */
export interface Shape<T> {
  read(value: CborValue, path: string): T;
  write(value: T): CborValue;
}

/** The TypeScript type that a shape reads. */
export type Of<S> = S extends Shape<infer T> ? T : never;

function invalid(path: string, expected: string): never {
  throw new TvmmpError('encoding-invalid', `${path}: expected ${expected}`);
}

/** A shape for values that are CBOR as they stand: the same check guards both directions. */
function checked<T extends CborValue>(expected: string, accepts: (value: CborValue) => value is T): Shape<T> {
  return {
    read: (value, path) => (accepts(value) ? value : invalid(path, expected)),
    write: (value) => (accepts(value) ? value : invalid('to be encoded', expected)),
  };
}

/** `bstr .size size`. */
export function bytesOf(size: number): Shape<Uint8Array> {
  return checked(
    `${size} bytes`,
    (value): value is Uint8Array => value instanceof Uint8Array && value.byteLength === size,
  );
}

/** `bstr` of at most `bytesMax` bytes. */
export function bytesUpTo(bytesMax: number): Shape<Uint8Array> {
  return checked(
    `at most ${bytesMax} bytes`,
    (value): value is Uint8Array => value instanceof Uint8Array && value.byteLength <= bytesMax,
  );
}

/** `tstr` of at least one and at most `bytesMax` bytes of UTF-8. */
export function textUpTo(bytesMax: number): Shape<string> {
  return checked(
    `text of 1 to ${bytesMax} bytes`,
    (value): value is string =>
      typeof value === 'string' && value !== '' && Buffer.byteLength(value, 'utf8') <= bytesMax,
  );
}

/** `uint`, at most `max` (2^53 - 1 unless told). */
export function uintUpTo(max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  return checked(
    `an unsigned integer of at most ${max}`,
    (value): value is number => typeof value === 'number' && value >= 0 && value <= max,
  );
}

/** One literal number or text, such as a message's tag. */
export function literal<const T extends number | string>(expected: T): Shape<T> {
  return checked(JSON.stringify(expected), (value): value is T => value === expected);
}

/** `{ * tstr => tstr }` with at most `entriesMax` entries, each text at most `bytesMax` bytes. */
export function textMap(entriesMax: number, bytesMax: number): Shape<ReadonlyMap<string, string>> {
  return checked(
    `a map of at most ${entriesMax} texts of at most ${bytesMax} bytes`,
    (value): value is ReadonlyMap<string, string> =>
      value instanceof Map &&
      value.size <= entriesMax &&
      [...value.keys(), ...value.values()].every(
        (text) => Buffer.byteLength(String(text), 'utf8') <= bytesMax,
      ),
  );
}

/** `shape / null`. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return {
    read: (value, path) => (value === null ? null : shape.read(value, path)),
    write: (value) => (value === null ? null : shape.write(value)),
  };
}

/** `[* item]`, or with `min` at least so many. */
export function listOf<T>(item: Shape<T>, bounds: { min?: number; max: number }): Shape<readonly T[]> {
  const min = bounds.min ?? 0;
  const expected = `an array of ${min} to ${bounds.max} items`;
  const fits = (length: number): boolean => length >= min && length <= bounds.max;
  return {
    read: (value, path) => {
      if (!isArray(value) || !fits(value.length)) invalid(path, expected);
      return value.map((each, index) => item.read(each, `${path}[${index}]`));
    },
    write: (value) => {
      if (!fits(value.length)) invalid('to be encoded', expected);
      return value.map((each) => item.write(each));
    },
  };
}

/** One of a few texts, encoded by number as `table` says: `{ source: 0, target: 1 }`. */
export function numbered<T extends string>(table: Readonly<Record<T, number>>): Shape<T> {
  const names = new Map(Object.entries<number>(table).map(([name, number]) => [number, name as T]));
  const expected = `one of ${[...names].map(([number, name]) => `${number} (${name})`).join(', ')}`;
  return {
    read: (value, path) =>
      (typeof value === 'number' ? names.get(value) : undefined) ?? invalid(path, expected),
    write: (value) => table[value],
  };
}

/** A CDDL array with named members, `[ a: x, b: y ]`, read as an object with these members in this order. */
export function record<T extends Record<string, unknown>>(members: {
  readonly [K in keyof T]: Shape<T[K]>;
}): Shape<T> {
  const names = Object.keys(members) as (keyof T & string)[];
  return {
    read: (value, path) => {
      if (!isArray(value) || value.length !== names.length)
        invalid(path, `an array of ${names.length} items`);
      const result: Partial<T> = {};
      names.forEach((name, index) => {
        result[name] = members[name].read(value[index] ?? null, `${path}.${name}`);
      });
      return result as T;
    },
    write: (value) => names.map((name) => members[name].write(value[name])),
  };
}

/** A record that begins with the name of its format, which the value in memory does not carry. */
export function formatted<T extends Record<string, unknown>>(
  format: string,
  members: { readonly [K in keyof T]: Shape<T[K]> },
): Shape<T> {
  const whole = record<Record<string, unknown>>({ format: literal(format), ...members });
  const names = Object.keys(members);
  return {
    read: (value, path) => {
      const found = whole.read(value, path);
      return Object.fromEntries(names.map((name) => [name, found[name]])) as T;
    },
    write: (value) => whole.write({ ...value, format }),
  };
}

/** A record whose `last` member may be missing: then its bytes are those of a record without it. */
export function recordWith<T extends Record<string, unknown>>(
  members: { readonly [K in keyof T]-?: Shape<Exclude<T[K], undefined>> },
  last: keyof T & string,
): Shape<T> {
  const { [last]: shape, ...others } = members as Record<string, Shape<unknown>>;
  const short = record(others);
  const long = record({ ...others, [last]: shape as Shape<unknown> });
  const { length } = Object.keys(others);
  return {
    read: (value, path) => (isArray(value) && value.length > length ? long : short).read(value, path) as T,
    write: (value) => (value[last] === undefined ? short : long).write(value),
  };
}

/** The same value under another type or with a further check, such as an identifier that is text in memory. */
export function mapped<T, U>(
  shape: Shape<T>,
  to: (value: T, path: string) => U,
  from: (value: U) => T,
): Shape<U> {
  return {
    read: (value, path) => to(shape.read(value, path), path),
    write: (value) => shape.write(from(value)),
  };
}

/** Decodes untrusted bytes of a shape. `what` begins every error's text. */
export function decodeAs<T>(
  shape: Shape<T>,
  what: string,
  bytes: Uint8Array,
  options: DecodeOptions = {},
): T {
  return shape.read(decode(bytes, options), what);
}

/** Encodes a value of a shape. */
export function encodeAs<T>(shape: Shape<T>, value: T): Uint8Array {
  return encode(shape.write(value));
}

function isArray(value: CborValue): value is readonly CborValue[] {
  return Array.isArray(value);
}

/** `uuid`: 16 bytes, in memory the lower-case text with hyphens that libvirt uses. */
export const uuid: Shape<string> = mapped(bytesOf(16), uuidText, uuidBytes);

/** `hash`: 32 bytes. */
export const hash = bytesOf(32);
/** `tpm-name`: nameAlg SHA-256 (0x000b) and digest, 34 bytes. */
export const tpmName = bytesOf(34);
/** `time`: milliseconds since 1970, the signer's clock. */
export const time = uintUpTo();
/** A host's name: at most 253 bytes (SPEC 1). */
export const hostName = textUpTo(limits.hostNameBytesMax);
