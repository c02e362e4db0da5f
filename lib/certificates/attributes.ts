/** Attributes of a host, such as its region, in an extension of its AK certificate (SPEC 1.1). */
import { ByteReader } from '../bytes/reader.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import { DER, contents, lengthAndBytes, tagged } from './der.ts';

/** Names to values: what the authority says of a host. */
export type HostAttributes = ReadonlyMap<string, string | number>;

export const ATTRIBUTES_MAX = 16;
const NAME = /^[a-z][a-z0-9_]{0,31}$/;
const TEXT = /^[\x20\x21\x23-\x5b\x5d-\x7e]{1,64}$/;
const NUMBER_MAX = 2 ** 31 - 1;

const { SEQUENCE, UTF8_STRING, INTEGER } = DER;

/** Throws `usage-invalid` where a name or a value has not the form of SPEC 1.1, or there are too many. */
export function checkAttributes(attributes: HostAttributes): void {
  if (attributes.size > ATTRIBUTES_MAX)
    throw new TvmmpError('usage-invalid', `a host has at most ${ATTRIBUTES_MAX} attributes`);
  for (const [name, value] of attributes) {
    if (!isAttribute(name, value))
      throw new TvmmpError(
        'usage-invalid',
        `${name}=${value} is no attribute: names are like region, values a number or up to 64 plain characters`,
      );
  }
}

/** DER of the extension's value; `attributes` must not be empty. */
export function formatAttributes(attributes: HostAttributes): Uint8Array {
  checkAttributes(attributes);
  const items = [...attributes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) =>
      tagged(SEQUENCE, [
        ...tagged(UTF8_STRING, Buffer.from(name)),
        ...(typeof value === 'string'
          ? tagged(UTF8_STRING, Buffer.from(value))
          : tagged(INTEGER, integer(value))),
      ]),
    );
  return tagged(
    SEQUENCE,
    items.flatMap((item) => [...item]),
  );
}

/** Reads the extension's value: exactly what `formatAttributes` writes. Throws `encoding-invalid`. */
export function parseAttributes(der: Uint8Array): HostAttributes {
  const reader = new ByteReader(der, { what: 'attributes of a host' });
  const list = new ByteReader(contents(reader, SEQUENCE), { what: 'attributes of a host' });
  reader.end();
  const attributes = new Map<string, string | number>();
  while (list.remaining > 0) {
    const item = new ByteReader(contents(list, SEQUENCE), { what: 'an attribute of a host' });
    const name = Buffer.from(contents(item, UTF8_STRING)).toString('latin1');
    const tag = item.u8();
    const value = lengthAndBytes(item);
    item.end();
    if (tag === UTF8_STRING) attributes.set(name, Buffer.from(value).toString('latin1'));
    else if (tag === INTEGER && value.byteLength <= 4) attributes.set(name, Number(`0x${hex(value)}`));
    else item.fail('neither a text nor a number');
  }
  const valid = [...attributes].every(([name, value]) => isAttribute(name, value));
  const counted = attributes.size > 0 && attributes.size <= ATTRIBUTES_MAX;
  if (!valid || !counted || !bytesEqual(formatAttributes(attributes), der))
    reader.fail('not as SPEC 1.1 says');
  return attributes;
}

/** `level=2 region=eu`, by name; empty for none. */
export function attributesText(attributes: HostAttributes): string {
  return [...attributes].map(([name, value]) => `${name}=${value}`).join(' ');
}

/** Whether name and value have the form of SPEC 1.1. */
export function isAttribute(name: string, value: string | number): boolean {
  const fits =
    typeof value === 'string'
      ? TEXT.test(value)
      : Number.isInteger(value) && value >= 0 && value <= NUMBER_MAX;
  return NAME.test(name) && fits;
}

/** DER INTEGER contents of a number that is not negative: shortest, with a zero byte where the first bit is set. */
function integer(value: number): Uint8Array {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return (bytes[0] ?? 0) >= 0x80 ? Uint8Array.of(0, ...bytes) : bytes;
}
