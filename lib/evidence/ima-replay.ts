/**
 * Replays an IMA list (SPEC 14.5) in steps: a long list must not keep the agent's event loop from other work, and a list that has
 * grown is continued from where the last replay ended.
 */
import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { limits } from '../limits.ts';
import { HASHES } from '../tpm/algorithms.ts';
import type { PcrBank } from '../tpm/port.ts';
import { ImaListReader } from './ima-list.ts';
import type { UntrustedImaEntry } from './ima-list.ts';
import { faultyLog } from './log-fault.ts';
import { PcrReplay } from './pcr-replay.ts';
import type { PcrValues } from './pcr-replay.ts';

/** Where a replay stands: with the rest of the list it can be continued, at a cost that does not depend on what was read. */
export interface ImaPosition {
  readonly entries: number;
  /** Bytes of the list that were read. */
  readonly bytes: number;
  readonly pcrs: PcrValues;
}

/** Looks at entries in their order; true stops the replay after this entry. */
export type ImaVisitor = (entry: UntrustedImaEntry, replay: ImaReplay) => boolean | undefined;

/** The replay of a list in some banks. With SHA-1 among them, the template hashes of the list are compared too. */
export class ImaReplay {
  readonly #reader: ImaListReader;
  readonly #replay: PcrReplay;
  readonly #banks: readonly PcrBank[];
  readonly #violations: ReadonlyMap<PcrBank, string>;
  readonly #before: number;

  /** `bytes`: the list, or what follows `from` in it. `start`: what PCRs hold before the list's first entry. */
  constructor(bytes: Uint8Array, banks: readonly PcrBank[], from?: ImaPosition, start?: PcrValues) {
    this.#reader = new ImaListReader(bytes, from?.entries ?? 0);
    this.#replay = new PcrReplay(banks, from?.pcrs ?? start);
    this.#banks = banks;
    this.#violations = new Map(banks.map((bank) => [bank, '\xff'.repeat(HASHES[bank].bytes)]));
    this.#before = from?.bytes ?? 0;
  }

  /** Reads and replays at most `max` entries. False when the list is at its end, or a visitor has stopped. */
  step(max: number, visit?: ImaVisitor): boolean {
    for (let i = 0; i < max; i++) {
      const entry = this.#reader.next();
      if (entry === undefined) return false;
      this.#extend(entry);
      if (visit?.(entry, this) === true) return false;
    }
    return true;
  }

  /** Replays to the end at once. */
  finish(visit?: ImaVisitor): void {
    while (this.step(limits.imaStepEntries, visit));
  }

  /** Replays to the end, giving way to other work after every `limits.imaStepEntries` entries: a few milliseconds. */
  async finishInSteps(visit?: ImaVisitor): Promise<void> {
    while (this.step(limits.imaStepEntries, visit)) await setImmediate();
  }

  /** Where it stands now. */
  position(): ImaPosition {
    return {
      entries: this.#reader.entries,
      bytes: this.#before + this.#reader.offset,
      pcrs: this.#replay.values(),
    };
  }

  /** Bytes read of what this replay was given. */
  get offset(): number {
    return this.#reader.offset;
  }

  /** What one PCR holds now; undefined where nothing was extended into it. */
  value(bank: PcrBank, pcr: number): Uint8Array | undefined {
    return this.#replay.value(bank, pcr);
  }

  /** As the kernel does it since Linux 5.8: each bank with the hash of its own algorithm; a violation with ones. */
  #extend(entry: UntrustedImaEntry): void {
    for (const bank of this.#banks) {
      const digest = entry.violation ? this.#violations.get(bank) : hash(bank, entry.hashed, 'binary');
      if (
        bank === 'sha1' &&
        !entry.violation &&
        digest !== Buffer.from(entry.templateHash).toString('latin1')
      ) {
        throw faultyLog(
          'ima-list-invalid',
          'template-hash',
          `entry ${entry.number} has the hash of other data`,
        );
      }
      this.#replay.extendLatin1(bank, entry.pcr, digest ?? '');
    }
  }
}
