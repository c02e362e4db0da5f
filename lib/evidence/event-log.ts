/**
 * Reads TCG event logs as the kernel shows them in binary_bios_measurements (SPEC 14.1; TCG PC Client Platform Firmware
 * Profile, 10; TCG EFI Protocol Specification, 5): crypto-agile (TCG_PCR_EVENT2 after a "Spec ID Event03") or of SHA-1 alone
 * (TCG_PCClientPCREvent). What comes out is UNVERIFIED: only its digests are covered by PCRs, and only after a replay.
 */
import { startsWithText } from '../bytes/compare.ts';
import { limits } from '../limits.ts';
import { HASHES, hashOfId } from '../tpm/algorithms.ts';
import type { PcrBank } from '../tpm/port.ts';
import { EVENT_TYPES } from './event-types.ts';
import { faultyLog } from './log-fault.ts';
import { LogReader } from './log-reader.ts';

/** One event. `pcr` is 0 to 23, or null for EV_NO_ACTION events that belong to no PCR. */
export interface UntrustedEvent {
  /** Place in the log, from 0; a Spec ID event counts. */
  readonly number: number;
  readonly pcr: number | null;
  /** EventType: no digest covers it. */
  readonly type: number;
  /** Digest by bank, in the order of the log; banks that we cannot compute are named by number, as in `0x0012`. */
  readonly digests: ReadonlyMap<string, Uint8Array>;
  /** Event data: covered by the digest for some types only. */
  readonly data: Uint8Array;
}

/** A log that could be read. */
export interface UntrustedEventLog {
  readonly format: 'crypto-agile' | 'sha1';
  /** Banks that every event has a digest for and that we can compute. */
  readonly banks: readonly PcrBank[];
  readonly events: readonly UntrustedEvent[];
}

/** An algorithm that a Spec ID event announces. */
interface Announced {
  readonly id: number;
  readonly name: string;
  readonly bytes: number;
}

const CODE = 'event-log-invalid';
const SPEC_ID = 'Spec ID Event';
const SPEC_ID_AGILE = 'Spec ID Event03\0';
/** "Spec ID Event00" and "02" (TPM 1.2, conventional BIOS and EFI) begin logs of the old form. */
const SPEC_ID_OLD: readonly string[] = ['Spec ID Event00\0', 'Spec ID Event02\0'];
const SPEC_ID_BYTES = 16;
const SHA1_BYTES = 20;
const PCR_MAX = 23;
/** pcrIndex of informative events that belong to no PCR. */
const NO_PCR = 0xffffffff;
/** HASH_COUNT of the TSS: no TPM has more banks. */
const ALGORITHMS_MAX = 16;
const OLD_HEADER_BYTES = 32;
const AGILE_HEADER_BYTES = 12;

/** Parses a whole log. Throws `event-log-invalid`, with the name of what is wrong in `details.fault` (LogFault). */
export function parseEventLog(bytes: Uint8Array): UntrustedEventLog {
  if (bytes.byteLength > limits.eventLogBytesMax) {
    throw faultyLog(CODE, 'too-large', `it has ${bytes.byteLength} bytes`);
  }
  const reader = new LogReader(bytes, { code: CODE });
  if (reader.remaining === 0) throw faultyLog(CODE, 'empty', 'it holds no event');
  if (looksAgile(bytes)) reader.fault('spec-id-missing', 'it holds crypto-agile events and no Spec ID event');
  leftovers(reader, OLD_HEADER_BYTES, reader.equalAtEnd);
  const first = readOldEvent(reader, 0);
  return startsWithText(first.data, SPEC_ID_AGILE) ? parseAgile(reader, first) : parseOld(reader, first);
}

/** Whether an event is of a kind that the firmware extended into its PCR: all but EV_NO_ACTION. */
export function isMeasured(event: UntrustedEvent): event is UntrustedEvent & { readonly pcr: number } {
  return event.type !== EVENT_TYPES.EV_NO_ACTION && event.pcr !== null;
}

function parseOld(reader: LogReader, first: UntrustedEvent): UntrustedEventLog {
  const events = [first];
  const named = startsWithText(first.data, SPEC_ID) && first.type === EVENT_TYPES.EV_NO_ACTION;
  if (named && !SPEC_ID_OLD.some((text) => startsWithText(first.data, text))) {
    reader.fault('spec-id-invalid', 'a Spec ID event of a version that is not known');
  }
  const padding = reader.equalAtEnd;
  while (reader.remaining > 0) {
    leftovers(reader, OLD_HEADER_BYTES, padding);
    const event = readOldEvent(reader, events.length);
    noSpecId(reader, event, named);
    events.push(event);
    tooMany(reader, events);
  }
  return { format: 'sha1', banks: ['sha1'], events };
}

function parseAgile(reader: LogReader, first: UntrustedEvent): UntrustedEventLog {
  const zero = first.digests.get('sha1')?.every((byte) => byte === 0) ?? false;
  if (first.pcr !== 0 || first.type !== EVENT_TYPES.EV_NO_ACTION || !zero) {
    reader.fault(
      'spec-id-invalid',
      'the Spec ID event is not an EV_NO_ACTION of PCR 0 with a digest of zeros',
    );
  }
  const announced = readSpecId(first.data);
  const events = [first];
  const padding = reader.equalAtEnd;
  while (reader.remaining > 0) {
    leftovers(reader, AGILE_HEADER_BYTES, padding);
    const event = readAgileEvent(reader, events.length, announced);
    noSpecId(reader, event, true);
    events.push(event);
    tooMany(reader, events);
  }
  const banks = announced.flatMap(({ id }) => hashOfId(id) ?? []);
  return { format: 'crypto-agile', banks, events };
}

/** TCG_EfiSpecIDEvent (PFP 10.4.5.1). */
function readSpecId(data: Uint8Array): readonly Announced[] {
  const reader = new LogReader(data, { code: CODE, short: 'spec-id-invalid', left: 'spec-id-invalid' });
  reader.skip(SPEC_ID_BYTES + 4);
  const [minor, major] = [reader.u8(), reader.u8()];
  if (major !== 2 || minor !== 0) reader.fault('spec-id-invalid', `version ${major}.${minor}, not 2.0`);
  reader.skip(1);
  const width = reader.u8();
  if (width !== 1 && width !== 2) reader.fault('spec-id-invalid', `a UINTN of ${width} words`);
  const count = reader.u32le();
  if (count < 1 || count > ALGORITHMS_MAX) reader.fault('digest-count', `it announces ${count} algorithms`);
  const announced: Announced[] = [];
  for (let i = 0; i < count; i++) {
    const [id, bytes] = [reader.u16le(), reader.u16le()];
    const bank = hashOfId(id);
    const name = bank ?? `0x${id.toString(16).padStart(4, '0')}`;
    if (announced.some((other) => other.id === id))
      reader.fault('algorithm-twice', `it announces ${name} twice`);
    if (bank !== undefined && HASHES[bank].bytes !== bytes)
      reader.fault('digest-size', `it announces digests of ${bytes} bytes for ${name}`);
    if (bytes < 1 || bytes > 64) reader.fault('digest-size', `it announces digests of ${bytes} bytes`);
    announced.push({ id, name, bytes });
  }
  reader.skip(reader.u8());
  reader.end();
  return announced;
}

/** TCG_PCClientPCREvent. */
function readOldEvent(reader: LogReader, number: number): UntrustedEvent {
  const [index, type] = [reader.u32le(), reader.u32le()];
  const digests = new Map([['sha1', reader.bytes(SHA1_BYTES)]]);
  const data = readData(reader);
  return { number, pcr: pcrOf(reader, index, type), type, digests, data };
}

/** TCG_PCR_EVENT2: exactly the digests that the Spec ID event announces, as the kernel demands it too. */
function readAgileEvent(reader: LogReader, number: number, announced: readonly Announced[]): UntrustedEvent {
  const [index, type] = [reader.u32le(), reader.u32le()];
  const count = reader.u32le();
  if (count !== announced.length)
    reader.fault(
      'digest-count',
      `event ${number} has ${count} digests, the Spec ID event announces ${announced.length}`,
    );
  const digests = new Map<string, Uint8Array>();
  for (let i = 0; i < count; i++) {
    const id = reader.u16le();
    const algorithm = announced.find((one) => one.id === id);
    if (algorithm === undefined)
      reader.fault('algorithm-unknown', `event ${number} has a digest of algorithm 0x${id.toString(16)}`);
    if (digests.has(algorithm.name))
      reader.fault('algorithm-twice', `event ${number} has two digests of ${algorithm.name}`);
    digests.set(algorithm.name, reader.bytes(algorithm.bytes));
  }
  const data = readData(reader);
  return { number, pcr: pcrOf(reader, index, type), type, digests, data };
}

function readData(reader: LogReader): Uint8Array {
  const length = reader.u32le();
  if (length > limits.eventDataBytesMax) reader.fault('data-too-large', `an event of ${length} bytes`);
  return reader.bytes(length);
}

function pcrOf(reader: LogReader, index: number, type: number): number | null {
  if (index === NO_PCR && type === EVENT_TYPES.EV_NO_ACTION) return null;
  if (index > PCR_MAX) reader.fault('pcr-out-of-range', `an event of PCR ${index}`);
  return index;
}

function noSpecId(reader: LogReader, event: UntrustedEvent, hadOne: boolean): void {
  if (event.type !== EVENT_TYPES.EV_NO_ACTION || !startsWithText(event.data, SPEC_ID)) return;
  if (hadOne) reader.fault('spec-id-duplicate', `event ${event.number} is a second Spec ID event`);
  reader.fault('spec-id-missing', `the Spec ID event is event ${event.number}, not the first`);
}

function leftovers(reader: LogReader, headerBytes: number, padding: number): void {
  if (reader.remaining <= padding || reader.remaining < headerBytes)
    reader.fault('trailing-bytes', `${reader.remaining} bytes are left over that are no event`);
}

function tooMany(reader: LogReader, events: readonly unknown[]): void {
  if (events.length > limits.eventsMax) reader.fault('too-many', `more than ${limits.eventsMax} events`);
}

/**
 * Whether the first record has the form of TCG_PCR_EVENT2: a small count and a known algorithm where the old form has the
 * first six bytes of a SHA-1 digest.
 */
function looksAgile(bytes: Uint8Array): boolean {
  if (bytes.byteLength < AGILE_HEADER_BYTES + 2) return false;
  const reader = new LogReader(bytes, { code: CODE });
  reader.skip(8);
  const count = reader.u32le();
  return count >= 1 && count <= ALGORITHMS_MAX && hashOfId(reader.u16le()) !== undefined;
}
