/** Events for people: what is in their data, as far as its form is known. UNVERIFIED, and never what a decision rests on. */
import { ByteReader } from '../bytes/reader.ts';
import { startsWithText } from '../bytes/compare.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import { devicePathText } from './device-path.ts';
import { parseEfiVariable, parseSignatureLists, readGuid, utf16 } from './efi-variable.ts';
import type { UntrustedEvent } from './event-log.ts';
import { eventTypeName } from './event-types.ts';

/** Longest text of one event. */
const TEXT_MAX = 240;
const SPEC_ID = 'Spec ID Event';
const STARTUP_LOCALITY = 'StartupLocality\0';
const SHOWN_BYTES = 32;
const SIGNATURE_LISTS: readonly string[] = ['PK', 'KEK', 'db', 'dbx', 'dbt', 'dbr', 'MokList', 'MokListX'];

/** One printable line about an event's data; empty where nothing is known about them. */
export function eventText(event: UntrustedEvent): string {
  try {
    return line(render(event));
  } catch (error) {
    if (error instanceof TvmmpError) return line(`not of the form of its type: ${bytesText(event.data)}`);
    throw error;
  }
}

function render(event: UntrustedEvent): string {
  const { data } = event;
  switch (eventTypeName(event.type)) {
    case 'EV_NO_ACTION':
      return noAction(data);
    case 'EV_SEPARATOR':
      return data.every((byte) => byte === 0) ? 'separator' : `separator after an error: ${bytesText(data)}`;
    case 'EV_EFI_VARIABLE_DRIVER_CONFIG':
    case 'EV_EFI_VARIABLE_BOOT':
    case 'EV_EFI_VARIABLE_BOOT2':
      return variable(data);
    case 'EV_EFI_VARIABLE_AUTHORITY':
      return authority(data);
    case 'EV_EFI_BOOT_SERVICES_APPLICATION':
    case 'EV_EFI_BOOT_SERVICES_DRIVER':
    case 'EV_EFI_RUNTIME_SERVICES_DRIVER':
      return image(data);
    case 'EV_EFI_PLATFORM_FIRMWARE_BLOB':
      return blob(new ByteReader(data, READING));
    case 'EV_EFI_PLATFORM_FIRMWARE_BLOB2':
      return namedBlob(data);
    case 'EV_EFI_GPT_EVENT':
    case 'EV_EFI_GPT_EVENT2':
      return partitions(data);
    case 'EV_EVENT_TAG':
      return tagged(data);
    default:
      return anyText(data);
  }
}

const READING = { what: 'event data', code: 'event-log-invalid' } as const;

function noAction(data: Uint8Array): string {
  if (startsWithText(data, SPEC_ID)) return Buffer.from(data.subarray(0, 15)).toString('latin1');
  if (!startsWithText(data, STARTUP_LOCALITY)) return anyText(data);
  const reader = new ByteReader(data, READING);
  reader.skip(STARTUP_LOCALITY.length);
  return `StartupLocality ${reader.u8()}`;
}

function variable(data: Uint8Array): string {
  const { name, value } = parseEfiVariable(data);
  if (!SIGNATURE_LISTS.includes(name)) return `${name} = ${bytesText(value)}`;
  try {
    const keys = parseSignatureLists(value);
    const shown = keys.slice(0, 4).map(({ kind, sha256 }) => `${kind} ${hex(sha256).slice(0, 16)}...`);
    return `${name}: ${keys.length} entries${shown.length > 0 ? `: ${shown.join(', ')}` : ''}`;
  } catch (error) {
    if (error instanceof TvmmpError) return `${name} = ${bytesText(value)}`;
    throw error;
  }
}

/** One EFI_SIGNATURE_DATA: the key that let an image run; or the text of a variable of shim's. */
function authority(data: Uint8Array): string {
  const { name, value } = parseEfiVariable(data);
  if (name === 'SbatLevel') return `SbatLevel = ${anyText(value)}`;
  return `${name}: ${value.byteLength} bytes`;
}

/** UEFI_IMAGE_LOAD_EVENT (PFP 10.2.3). */
function image(data: Uint8Array): string {
  const reader = new ByteReader(data, READING);
  reader.skip(24);
  const bytes = reader.u64le();
  if (bytes > BigInt(reader.remaining)) reader.fail('a device path that is longer than the event');
  return devicePathText(reader.bytes(Number(bytes)));
}

function blob(reader: ByteReader): string {
  const [base, length] = [reader.u64le(), reader.u64le()];
  return `${length.toString()} bytes at 0x${base.toString(16)}`;
}

function namedBlob(data: Uint8Array): string {
  const reader = new ByteReader(data, READING);
  const name = reader.latin1(reader.u8());
  return `${name}: ${blob(reader)}`;
}

/** UEFI_GPT_DATA: header, count, entries of 128 bytes whose name is UTF-16 from byte 56 on. */
function partitions(data: Uint8Array): string {
  const reader = new ByteReader(data, READING);
  reader.skip(92);
  const count = reader.u64le();
  const names: string[] = [];
  for (let i = 0n; i < count && reader.remaining >= 128; i++) {
    reader.skip(56);
    names.push(utf16(reader.bytes(72)).replace(/\0.*$/s, ''));
  }
  return `${count.toString()} partitions: ${names.join(', ')}`;
}

/** TCG_PCClientTaggedEvent. */
function tagged(data: Uint8Array): string {
  const reader = new ByteReader(data, READING);
  const [id, length] = [reader.u32le(), reader.u32le()];
  return `tag 0x${id.toString(16)}: ${anyText(reader.bytes(Math.min(length, reader.remaining)))}`;
}

/** Text of one or two bytes a character where the data is nothing else; a GUID; or bytes. */
function anyText(data: Uint8Array): string {
  const narrow = Buffer.from(data).toString('latin1').replace(/\0$/, '');
  if (/^[\x20-\x7e\n\t]+$/.test(narrow)) return narrow;
  const wide = data.byteLength % 2 === 0 ? utf16(data) : '';
  if (/^[\x20-\x7e]{2,}$/.test(wide)) return wide;
  if (data.byteLength === 16) return readGuid(new ByteReader(data, READING));
  return bytesText(data);
}

function bytesText(data: Uint8Array): string {
  const more = data.byteLength > SHOWN_BYTES ? `... (${data.byteLength} bytes)` : '';
  return `${hex(data.subarray(0, SHOWN_BYTES))}${more}`;
}

function line(text: string): string {
  const shown = text.replaceAll(/[^\P{C}]+/gu, ' ').trim();
  return shown.length > TEXT_MAX ? `${shown.slice(0, TEXT_MAX)}...` : shown;
}
