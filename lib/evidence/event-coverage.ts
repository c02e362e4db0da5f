/**
 * Which of an event's data its digest covers, found out by hashing it again (SPEC 14.1). For some types the firmware hashes
 * the data themselves; an event of such a type whose digest is that of something else was changed, in its data or its type.
 */
import { hash } from 'node:crypto';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { PcrBank } from '../tpm/port.ts';
import { HASHES } from '../tpm/algorithms.ts';
import { parseEfiVariable } from './efi-variable.ts';
import type { UntrustedEvent } from './event-log.ts';
import { eventTypeName } from './event-types.ts';
import type { EventTypeName } from './event-types.ts';

/** What a digest turned out to be the hash of; null where it is of something that is not in the event. */
export type Coverage = 'data' | 'variable' | 'text' | null;

/** Types whose digest must be the hash of the event's data (PFP 10.4.1; what EDK II does). */
const MUST_COVER: ReadonlySet<EventTypeName> = new Set([
  'EV_SEPARATOR',
  'EV_ACTION',
  'EV_EFI_ACTION',
  'EV_EFI_VARIABLE_DRIVER_CONFIG',
  'EV_EFI_VARIABLE_BOOT',
  'EV_EFI_VARIABLE_BOOT2',
  'EV_EFI_VARIABLE_AUTHORITY',
  'EV_EFI_GPT_EVENT',
  'EV_EFI_GPT_EVENT2',
  'EV_S_CRTM_VERSION',
  'EV_NONHOST_INFO',
  'EV_OMIT_BOOT_DEVICE_EVENTS',
]);

/** What GRUB puts before the text that it measures; the label is not in the digest. */
const GRUB_LABELS = ['grub_cmd: ', 'kernel_cmdline: ', 'module_cmdline: '] as const;

/** Whether the type of an event says that its digest is the hash of its data. */
export function mustCover(event: UntrustedEvent): boolean {
  const name = eventTypeName(event.type);
  return name !== undefined && MUST_COVER.has(name);
}

/** What the digests of an event cover, in all banks that we can compute. */
export function coverageOf(event: UntrustedEvent): Coverage {
  const known = [...event.digests].filter((one): one is [PcrBank, Uint8Array] => one[0] in HASHES);
  if (known.length === 0) return null;
  const covers = (data: Uint8Array): boolean =>
    known.every(([bank, digest]) => hash(bank, data, 'hex') === hex(digest));
  if (covers(event.data)) return 'data';
  switch (eventTypeName(event.type)) {
    case 'EV_EFI_VARIABLE_BOOT': {
      // EDK II measures the value alone with this type, and names the variable beside it.
      const value = variableValue(event.data);
      return value !== undefined && covers(value) ? 'variable' : null;
    }
    case 'EV_EFI_VARIABLE_AUTHORITY':
      // Old versions of shim log one byte more than they measure.
      return event.data.byteLength > 0 && covers(event.data.subarray(0, -1)) ? 'data' : null;
    case 'EV_IPL': {
      const text = labelledText(event.data);
      return text !== undefined && covers(text.covered) ? 'text' : null;
    }
    default:
      return null;
  }
}

/** GRUB's text in an EV_IPL event, with the label that no digest covers; undefined where it is of another form. */
export function labelledText(data: Uint8Array): { label: string; covered: Uint8Array } | undefined {
  const text = Buffer.from(data).toString('latin1').replace(/\0$/, '');
  const label = GRUB_LABELS.find((one) => text.startsWith(one)) ?? '';
  if (text.includes('\0')) return undefined;
  return { label: label.trim(), covered: Buffer.from(text.slice(label.length), 'latin1') };
}

function variableValue(data: Uint8Array): Uint8Array | undefined {
  try {
    return parseEfiVariable(data).value;
  } catch (error) {
    if (error instanceof TvmmpError) return undefined;
    throw error;
  }
}
