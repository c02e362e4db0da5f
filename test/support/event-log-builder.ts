/** Writes TCG event logs as firmware would, right and wrong, for tests and vectors. */
import { hash } from 'node:crypto';
import { ByteWriter } from '../../lib/bytes/writer.ts';
import { EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE } from '../../lib/evidence/efi-variable.ts';
import { EVENT_TYPES } from '../../lib/evidence/event-types.ts';
import type { EventTypeName } from '../../lib/evidence/event-types.ts';
import { HASHES } from '../../lib/tpm/algorithms.ts';
import type { PcrBank } from '../../lib/tpm/port.ts';

/** An event to be written. Its digests are those of `measured`, by default of its data. */
export interface BuiltEvent {
  readonly pcr: number;
  readonly type: EventTypeName | number;
  readonly data: Uint8Array;
  readonly measured?: Uint8Array;
}

/** What is measured to end the firmware's part of a PCR. */
export const separatorData = new Uint8Array(4);

export const text = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value, 'latin1'));
export const wide = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value, 'utf16le'));

/** A TCG_PCR_EVENT2 log with a Spec ID event. */
export function agileLog(
  events: readonly BuiltEvent[],
  banks: readonly PcrBank[] = ['sha1', 'sha256'],
): Uint8Array {
  const writer = new ByteWriter().bytes(specIdRecord(banks));
  for (const event of events) writer.bytes(agileRecord(event, banks));
  return writer.finish();
}

/** A log of SHA-1 alone. */
export function oldLog(events: readonly BuiltEvent[]): Uint8Array {
  const writer = new ByteWriter();
  for (const event of events) writer.bytes(oldRecord(event));
  return writer.finish();
}

/** TCG_PCClientPCREvent. */
export function oldRecord(event: BuiltEvent): Uint8Array {
  return new ByteWriter()
    .u32le(event.pcr)
    .u32le(typeOf(event))
    .bytes(digestOf(event, 'sha1'))
    .sized32le(event.data)
    .finish();
}

/** TCG_PCR_EVENT2. */
export function agileRecord(event: BuiltEvent, banks: readonly PcrBank[] = ['sha1', 'sha256']): Uint8Array {
  const writer = new ByteWriter().u32le(event.pcr).u32le(typeOf(event)).u32le(banks.length);
  for (const bank of banks) writer.u16le(HASHES[bank].id).bytes(digestOf(event, bank));
  return writer.sized32le(event.data).finish();
}

/** TCG_EfiSpecIDEvent in its record. */
export function specIdRecord(banks: readonly PcrBank[], vendor = new Uint8Array()): Uint8Array {
  return oldRecord({ pcr: 0, type: 'EV_NO_ACTION', data: specIdData(banks, vendor) });
}

/** The data of a Spec ID event. */
export function specIdData(banks: readonly PcrBank[], vendor = new Uint8Array()): Uint8Array {
  const writer = new ByteWriter().bytes(text('Spec ID Event03\0')).u32le(0).u8(0).u8(2).u8(105).u8(2);
  writer.u32le(banks.length);
  for (const bank of banks) writer.u16le(HASHES[bank].id).u16le(HASHES[bank].bytes);
  return writer.u8(vendor.byteLength).bytes(vendor).finish();
}

/** UEFI_VARIABLE_DATA. */
export function variableData(guid: string, name: string, value: Uint8Array): Uint8Array {
  return new ByteWriter()
    .bytes(guidBytes(guid))
    .u64le(BigInt(name.length))
    .u64le(BigInt(value.byteLength))
    .bytes(wide(name))
    .bytes(value)
    .finish();
}

/** An EFI_SIGNATURE_LIST with one certificate. */
export function certificateList(certificate: Uint8Array): Uint8Array {
  const entry = 16 + certificate.byteLength;
  return new ByteWriter()
    .bytes(guidBytes('a5c059a1-94e4-4aa7-87b5-ab155c2bf072'))
    .u32le(28 + entry)
    .u32le(0)
    .u32le(entry)
    .bytes(guidBytes('77fa9abd-0359-4d32-bd60-28f4e78f784b'))
    .bytes(certificate)
    .finish();
}

/** The event that measures a variable into PCR 7. */
export function variable(name: string, value: Uint8Array): BuiltEvent {
  const database = name === 'db' || name === 'dbx';
  const guid = database ? EFI_IMAGE_SECURITY_DATABASE : EFI_GLOBAL_VARIABLE;
  return { pcr: 7, type: 'EV_EFI_VARIABLE_DRIVER_CONFIG', data: variableData(guid, name, value) };
}

export const separator = (pcr: number): BuiltEvent => ({ pcr, type: 'EV_SEPARATOR', data: separatorData });

/** An image that ran: measured by a digest of its own, described by a device path of one file. */
export function image(path: string, contents: string): BuiltEvent {
  const name = wide(`${path}\0`);
  const node = new ByteWriter()
    .u8(4)
    .u8(4)
    .u16le(4 + name.byteLength)
    .bytes(name);
  const devicePath = node.u8(0x7f).u8(0xff).u16le(4).finish();
  const data = new ByteWriter().u64le(0x1000n).u64le(4096n).u64le(0n);
  return {
    pcr: 4,
    type: 'EV_EFI_BOOT_SERVICES_APPLICATION',
    data: data.u64le(BigInt(devicePath.byteLength)).bytes(devicePath).finish(),
    measured: text(contents),
  };
}

/** What GRUB measures into PCR 8: the text without its label. */
export function grub(label: 'grub_cmd' | 'kernel_cmdline', what: string): BuiltEvent {
  return { pcr: 8, type: 'EV_IPL', data: text(`${label}: ${what}\0`), measured: text(what) };
}

/** The events of a boot with Secure Boot on. */
export function bootEvents(secureBoot = 1): readonly BuiltEvent[] {
  const key = certificateList(text('a certificate'));
  return [
    { pcr: 0, type: 'EV_S_CRTM_VERSION', data: wide('firmware 1.0\0') },
    { pcr: 0, type: 'EV_POST_CODE', data: text('POST CODE'), measured: text('firmware') },
    variable('SecureBoot', Uint8Array.of(secureBoot)),
    variable('PK', key),
    variable('KEK', key),
    variable('db', key),
    variable('dbx', new Uint8Array()),
    separator(7),
    ...[0, 1, 2, 3, 4, 5, 6].map(separator),
    {
      pcr: 7,
      type: 'EV_EFI_VARIABLE_AUTHORITY',
      data: variableData(EFI_IMAGE_SECURITY_DATABASE, 'db', text('0123456789abcdefa certificate')),
    },
    image('\\EFI\\BOOT\\BOOTX64.EFI', 'boot loader'),
    image('\\vmlinuz', 'kernel'),
    grub('grub_cmd', 'linux /vmlinuz root=/dev/vda1'),
    grub('kernel_cmdline', '/vmlinuz root=/dev/vda1'),
    { pcr: 5, type: 'EV_EFI_ACTION', data: text('Exit Boot Services Invocation') },
    { pcr: 5, type: 'EV_EFI_ACTION', data: text('Exit Boot Services Returned with Success') },
  ];
}

function typeOf({ type }: BuiltEvent): number {
  return typeof type === 'number' ? type : EVENT_TYPES[type];
}

function digestOf(event: BuiltEvent, bank: PcrBank): Uint8Array {
  if (typeOf(event) === EVENT_TYPES.EV_NO_ACTION) return new Uint8Array(HASHES[bank].bytes);
  return Buffer.from(hash(bank, event.measured ?? event.data, 'hex'), 'hex');
}

function guidBytes(guid: string): Uint8Array {
  const [a = '', b = '', c = '', d = '', e = ''] = guid.split('-');
  return new ByteWriter()
    .u32le(parseInt(a, 16))
    .u16le(parseInt(b, 16))
    .u16le(parseInt(c, 16))
    .bytes(Buffer.from(d + e, 'hex'))
    .finish();
}
