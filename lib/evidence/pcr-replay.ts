/** What a PCR holds after extensions, as a TPM computes it: SHA(old value || digest) (TPM 2.0 Part 1, 17.7). */
import { hash } from 'node:crypto';
import { hex } from '../encoding/hex.ts';
import { HASHES } from '../tpm/algorithms.ts';
import type { PcrBank } from '../tpm/port.ts';

/** Values of PCRs by bank and number. */
export type PcrValues = ReadonlyMap<PcrBank, ReadonlyMap<number, Uint8Array>>;

/** PCRs of several banks that are being replayed. A PCR that nothing was extended into is not there. */
export class PcrReplay {
  /** By bank and PCR: the value in the first half, room for a digest in the second. Hashed in place: lists are long. */
  readonly #banks: ReadonlyMap<PcrBank, Map<number, Buffer>>;

  constructor(banks: readonly PcrBank[], start?: PcrValues) {
    this.#banks = new Map(banks.map((bank) => [bank, new Map<number, Buffer>()]));
    for (const [bank, states] of this.#banks)
      for (const [pcr, value] of start?.get(bank) ?? []) states.set(pcr, stateOf(bank, value));
  }

  /** Sets what a PCR holds before it is extended: all zeros but for the last byte. */
  begin(pcr: number, lastByte: number): void {
    for (const [bank, states] of this.#banks) {
      const { bytes } = HASHES[bank];
      states.set(pcr, stateOf(bank, Uint8Array.of(...new Uint8Array(bytes - 1), lastByte)));
    }
  }

  /** Extends a PCR of a bank with a digest of the bank's size. */
  extend(bank: PcrBank, pcr: number, digest: Uint8Array): void {
    this.extendLatin1(bank, pcr, Buffer.from(digest).toString('latin1'));
  }

  /** The same for a digest as a text of one character a byte: the fastest that node:crypto gives. */
  extendLatin1(bank: PcrBank, pcr: number, digest: string): void {
    const states = this.#banks.get(bank);
    if (states === undefined) return;
    let state = states.get(pcr);
    if (state === undefined) states.set(pcr, (state = stateOf(bank)));
    const { bytes } = HASHES[bank];
    if (digest.length !== bytes) throw new RangeError(`a digest of ${digest.length} bytes for ${bank}`);
    state.write(digest, bytes, 'latin1');
    state.write(hash(bank, state, 'binary'), 0, 'latin1');
  }

  /** What a PCR holds now; undefined where nothing was extended into it. */
  value(bank: PcrBank, pcr: number): Uint8Array | undefined {
    const state = this.#banks.get(bank)?.get(pcr);
    return state === undefined ? undefined : valueOf(bank, state);
  }

  /** What the PCRs hold now. */
  values(): PcrValues {
    return new Map(
      [...this.#banks].map(([bank, states]) => [
        bank,
        new Map([...states].map(([pcr, state]) => [pcr, valueOf(bank, state)])),
      ]),
    );
  }
}

/** Values for JSON: bank to PCR number to hexadecimal, PCRs ascending (SPEC 14.3). */
export function pcrValuesJson(values: PcrValues): Record<string, Record<string, string>> {
  return Object.fromEntries(
    [...values].map(([bank, pcrs]) => [
      bank,
      Object.fromEntries(
        [...pcrs].sort(([a], [b]) => a - b).map(([pcr, value]) => [String(pcr), hex(value)]),
      ),
    ]),
  );
}

function stateOf(bank: PcrBank, value?: Uint8Array): Buffer {
  const state = Buffer.alloc(2 * HASHES[bank].bytes);
  if (value !== undefined) state.set(value);
  return state;
}

function valueOf(bank: PcrBank, state: Buffer): Uint8Array {
  return Uint8Array.from(state.subarray(0, HASHES[bank].bytes));
}
