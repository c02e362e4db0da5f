/**
 * TPML_PCR_SELECTION (TPM 2.0 Part 2, 10.9.7) to and from bytes. One canonical form is accepted: three octets a bank
 * (24 PCRs, what the PC Client profile requires), no bank twice.
 */
import { ByteReader } from '../bytes/reader.ts';
import { ByteWriter } from '../bytes/writer.ts';
import { TvmmpError } from '../errors.ts';
import { HASHES, hashOfId } from './algorithms.ts';
import type { PcrBank, PcrBankSelection, PcrSelection } from './port.ts';

const SELECT_BYTES = 3;
const PCRS = 8 * SELECT_BYTES;
/** Part 2: HASH_COUNT of the TSS is 16; no TPM has more banks. */
const BANKS_MAX = 16;

/** Wire bytes of a selection. Refuses PCRs out of range or named twice. */
export function formatPcrSelection(selection: PcrSelection): Uint8Array {
  if (selection.length > BANKS_MAX) throw invalid(`${selection.length} banks, at most ${BANKS_MAX}`);
  const writer = new ByteWriter().u32be(selection.length);
  const seen = new Set<PcrBank>();
  for (const { bank, pcrs } of selection) {
    if (seen.has(bank)) throw invalid(`the bank ${bank} twice`);
    seen.add(bank);
    writer.u16be(HASHES[bank].id).u8(SELECT_BYTES).bytes(bitmap(pcrs));
  }
  return writer.finish();
}

/** Reads a selection where it lies within a larger structure. PCRs come out in ascending order. */
export function readPcrSelection(reader: ByteReader): PcrSelection {
  const count = reader.u32be();
  if (count > BANKS_MAX) reader.fail(`${count} PCR banks, at most ${BANKS_MAX}`);
  const selection: PcrBankSelection[] = [];
  for (let i = 0; i < count; i++) {
    const id = reader.u16be();
    const bank = hashOfId(id) ?? reader.fail(`unknown PCR bank 0x${id.toString(16)}`);
    if (selection.some((other) => other.bank === bank)) reader.fail(`the PCR bank ${bank} twice`);
    const size = reader.u8();
    if (size !== SELECT_BYTES) reader.fail(`a PCR bitmap of ${size} bytes, not ${SELECT_BYTES}`);
    selection.push({ bank, pcrs: pcrsOf(reader.bytes(size)) });
  }
  return selection;
}

/** Parses a selection that stands alone. */
export function parsePcrSelection(bytes: Uint8Array): PcrSelection {
  const reader = new ByteReader(bytes, { what: 'PCR selection', code: 'tpm-structure-invalid' });
  const selection = readPcrSelection(reader);
  reader.end();
  return selection;
}

function bitmap(pcrs: readonly number[]): Uint8Array {
  const bits = new Uint8Array(SELECT_BYTES);
  for (const pcr of pcrs) {
    if (!Number.isInteger(pcr) || pcr < 0 || pcr >= PCRS) throw invalid(`PCR ${pcr}, not 0-${PCRS - 1}`);
    const mask = 1 << (pcr & 7);
    const octet = bits[pcr >> 3] ?? 0;
    if ((octet & mask) !== 0) throw invalid(`PCR ${pcr} twice`);
    bits[pcr >> 3] = octet | mask;
  }
  return bits;
}

function pcrsOf(bits: Uint8Array): number[] {
  return Array.from({ length: PCRS }, (_, pcr) => pcr).filter(
    (pcr) => ((bits[pcr >> 3] ?? 0) & (1 << (pcr & 7))) !== 0,
  );
}

function invalid(what: string): TvmmpError {
  return new TvmmpError('tpm-structure-invalid', `PCR selection: ${what}`);
}
