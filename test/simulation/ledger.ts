/** A ledger that all hosts of a world share, as a host sees it over the network: away, slow, or with its answer lost on the way. */
import { TvmmpError } from '../../lib/errors.ts';
import type { Ledger, LedgerChange, LedgerWatch, Swapped } from '../../lib/ledger/ledger.ts';
import { decodeRow, encodeRow, requireFollows, sameRow } from '../../lib/ledger/ledger-row.ts';
import type { LedgerRow } from '../../lib/ledger/ledger-row.ts';
import type { Life } from './kernel.ts';
import type { Network } from './network.ts';

/** The cluster itself: it is there as long as the world is, and loses nothing. */
export class SharedRows {
  readonly #rows = new Map<string, Uint8Array>();
  readonly seers = new Set<(change: LedgerChange) => void>();

  row(vm: string): LedgerRow | null {
    const bytes = this.#rows.get(vm);
    return bytes === undefined ? null : decodeRow(vm, bytes);
  }

  swap(expected: LedgerRow | null, next: LedgerRow): Swapped {
    const found = this.row(next.vm);
    if (sameRow(found, next)) return { written: true };
    if (!sameRow(found, expected)) return { written: false, found };
    this.#rows.set(next.vm, encodeRow(next));
    for (const seen of this.seers) seen({ vm: next.vm, row: next });
    return { written: true };
  }
}

/** Where the cluster lies in the network. */
export const ledgerPlace = 'ledger';

export class SharedLedger implements Ledger {
  readonly kind = 'etcd';
  readonly local = null;
  readonly place = 'the ledger of this world';
  readonly #rows: SharedRows;
  readonly #network: Network;
  readonly #host: string;
  readonly #life: Life;

  constructor(rows: SharedRows, network: Network, host: string, life: Life) {
    this.#rows = rows;
    this.#network = network;
    this.#host = host;
    this.#life = life;
  }

  read(vm: string): Promise<LedgerRow | null> {
    return this.#ask(() => this.#rows.row(vm));
  }

  compareAndSwap(expected: LedgerRow | null, next: LedgerRow): Promise<Swapped> {
    return this.#ask(() => {
      requireFollows(expected, next);
      return this.#rows.swap(expected, next);
    });
  }

  watch(vm: string | null, seen: (change: LedgerChange) => void): Promise<LedgerWatch> {
    return this.#ask(() => {
      const own = (change: LedgerChange): void => {
        this.#network.kernel.at(this.#delay(), () => {
          if (this.#life.alive && (vm === null || change.vm === vm)) seen(change);
        });
      };
      this.#rows.seers.add(own);
      const stop = (): void => void this.#rows.seers.delete(own);
      this.#life.onEnd(stop);
      return {
        close: () => {
          stop();
          return Promise.resolve();
        },
      };
    });
  }

  probe(): Promise<void> {
    return this.#ask(() => undefined);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #ask<T>(work: () => T): Promise<T> {
    await this.#travels();
    const answer = work();
    await this.#travels();
    return answer;
  }

  async #travels(): Promise<void> {
    const { kernel } = this.#network;
    await this.#life.guard(kernel.sleep(this.#delay()));
    const lost = kernel.chance(this.#network.breakage);
    if (!lost && this.#network.reaches(this.#host, ledgerPlace)) return;
    throw new TvmmpError('ledger-unavailable', 'the ledger does not answer');
  }

  #delay(): number {
    return this.#network.kernel.between(0.2, this.#network.delayMs);
  }
}
