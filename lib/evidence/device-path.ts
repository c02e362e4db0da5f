import { ByteReader } from '../bytes/reader.ts';
import { readGuid, utf16 } from './efi-variable.ts';

const END = 0x7f;
const MEDIA = 4;
const FILE_PATH = 4;
const FIRMWARE_FILE = 6;
const HARDWARE = 1;
const PCI = 1;
/** EFI_DEVICE_PATH_PROTOCOL: type, subtype, length of the node with these four bytes. */
const HEADER_BYTES = 4;
const NODES_MAX = 64;

/** A UEFI device path for people (UEFI 2.10, 10.3): files and PCI devices by name, other nodes by number. */
export function devicePathText(bytes: Uint8Array): string {
  const reader = new ByteReader(bytes, { what: 'device path', code: 'event-log-invalid' });
  const nodes: string[] = [];
  while (reader.remaining > 0 && nodes.length < NODES_MAX) {
    const [type, subtype, length] = [reader.u8(), reader.u8(), reader.u16le()];
    if (length < HEADER_BYTES) reader.fail(`a node of ${length} bytes`);
    const data = reader.bytes(length - HEADER_BYTES);
    if (type !== END) nodes.push(nodeText(type, subtype, data));
  }
  return nodes.join('/');
}

function nodeText(type: number, subtype: number, data: Uint8Array): string {
  if (type === MEDIA && subtype === FILE_PATH) return utf16(data);
  const reader = new ByteReader(data, { what: 'device path node', code: 'event-log-invalid' });
  if (type === MEDIA && subtype === FIRMWARE_FILE) return `FvFile(${readGuid(reader)})`;
  if (type === HARDWARE && subtype === PCI) {
    const fn = reader.u8();
    return `Pci(${reader.u8()},${fn})`;
  }
  return `Path(${type},${subtype})`;
}
