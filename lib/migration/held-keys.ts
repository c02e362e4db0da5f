import { hex } from '../encoding/hex.ts';
import type { VmRecord } from '../ledger/records.ts';
import { limits } from '../limits.ts';
import { envelopeOf } from './key-context.ts';
import type { Timer, Timers } from './timers.ts';

/** A VM whose sealed key this host has, as its record says. */
export type Sealed = Pick<VmRecord, 'name' | 'sealed' | 'context'>;

/** The TPM's part of it. */
export interface Opener {
  /** One use of the receive key for the envelope of a VM's key; the number to name it by, for so many milliseconds. */
  hold(vm: Sealed, lifeMs: number): Promise<number>;
  release(hold: number): void;
}

/** Before the end of its time a use is for nobody who comes: what is done with it takes time too. */
const lastMs = 1_000;

interface Use {
  /** Null where the TPM did not open it: whoever wants the key asks again, and hears why. */
  readonly hold: Promise<number | null>;
  readonly timer: Timer;
}

/**
 * Has the TPM open keys ahead of the moment and together (SPEC 5.2): one use for each envelope, as long as somebody is expected under it, and never longer
 * than `limits.keysHeldMs`. A later look at the PCRs has to stand between this and the key's way: a source's quote (6.4), `isApprovedNow` at a target.
 */
export class HeldKeys {
  readonly #opener: Opener;
  readonly #timers: Timers;
  /** Who is expected, and under which envelope. */
  readonly #expected = new Map<object, string>();
  readonly #uses = new Map<string, Use>();

  constructor(opener: Opener, timers: Timers) {
    this.#opener = opener;
    this.#timers = timers;
  }

  /** Somebody will want the key of a VM, or end before (`forget`). The TPM is asked now, where it was not yet. */
  expect(who: object, vm: Sealed): void {
    if (vm.sealed === null) return;
    const envelope = nameOf(vm.sealed);
    this.#expected.set(who, envelope);
    this.#begin(envelope, vm);
  }

  /** Whether somebody is expected. */
  expects(who: object): boolean {
    return this.#expected.has(who);
  }

  /** Nobody has to keep anything for it any more. */
  forget(who: object): void {
    const envelope = this.#expected.get(who);
    this.#expected.delete(who);
    if (envelope !== undefined && ![...this.#expected.values()].includes(envelope)) this.#end(envelope);
  }

  /** Number of the use that somebody who is expected may share; null where the TPM has to be asked for it alone. Never rejects. */
  async of(who: object, vm: Sealed): Promise<number | null> {
    const envelope = this.#expected.get(who);
    if (envelope === undefined || vm.sealed === null || nameOf(vm.sealed) !== envelope) return null;
    return this.#begin(envelope, vm).hold;
  }

  #begin(envelope: string, vm: Sealed): Use {
    const known = this.#uses.get(envelope);
    if (known !== undefined) return known;
    const use: Use = {
      hold: this.#opener.hold(vm, limits.keysHeldMs).catch(() => {
        if (this.#uses.get(envelope) === use) this.#end(envelope);
        return null;
      }),
      timer: this.#timers.after(limits.keysHeldMs - lastMs, () => {
        this.#uses.delete(envelope);
        this.#timers.after(lastMs, () => {
          this.#release(use);
        });
      }),
    };
    this.#uses.set(envelope, use);
    return use;
  }

  #end(envelope: string): void {
    const use = this.#uses.get(envelope);
    this.#uses.delete(envelope);
    use?.timer.stop();
    if (use !== undefined) this.#release(use);
  }

  #release({ hold }: Use): void {
    void hold.then((number) => {
      if (number !== null) this.#opener.release(number);
    });
  }
}

/** An envelope as a key of a map. */
function nameOf(sealed: Uint8Array): string {
  return hex(envelopeOf(sealed));
}
