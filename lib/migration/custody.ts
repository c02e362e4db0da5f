import { TvmmpError } from '../errors.ts';
import type { HostId } from '../evidence/identity.ts';
import type { LedgerRow } from '../ledger/ledger-row.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { ChainState } from '../proof/chain.ts';
import type { Chains } from './chains.ts';
import type { Host } from './host.ts';
import type { LedgerNews } from './ledger-news.ts';
import { attemptsMax } from './ledger-view.ts';
import type { LedgerView } from './ledger-view.ts';
import { continues, contradiction, ledgerHostOf, lineageOf, rowOf } from './lineage.ts';
import type { Lineage } from './lineage.ts';
import { Refused } from './refused.ts';

/**
 * What the ledger has to say before this host acts on a VM (SPEC 8.6): a start, a move, a birth asks it first, and is refused where it says no,
 * or nothing.
 */
export class Custody {
  readonly #host: Host;
  readonly #chains: Chains;
  readonly #view: LedgerView;
  readonly #news: LedgerNews;

  constructor(host: Host, chains: Chains, view: LedgerView, news: LedgerNews) {
    this.#host = host;
    this.#chains = chains;
    this.#view = view;
    this.#news = news;
  }

  /** Asks whether this host is still the holder before it starts, keeps or ends a VM. Throws `Refused`, `ledger-unavailable`. */
  async requireHolder(record: VmRecord): Promise<void> {
    const state = this.#chains.require(record.uuid, record.name);
    const row = await this.#view.read(record.uuid);
    this.#require(record.name, lineageOf(this.#host.journal, state), row);
    // A ledger that has no row yet has to be able to take one: the next host will ask it too.
    if (row === null) await this.#put(record, state, rowOf(state));
  }

  /** Says in the ledger that this host is about to hand a VM over; refused where the ledger does not know it as the holder. */
  async announce(record: VmRecord, session: Uint8Array, to: HostId): Promise<void> {
    if (this.#host.ledger.local !== null) return this.requireHolder(record);
    const state = this.#chains.require(record.uuid, record.name);
    // Where nothing comes of it, the next sweep takes it back.
    this.#news.owe(record.uuid);
    await this.#put(record, state, { ...rowOf(state), leaving: { to: ledgerHostOf(to), session } });
  }

  /** The ledger has to answer before this host takes part in a hand-over. Throws `ledger-unavailable`. */
  async requireAnswer(): Promise<void> {
    await this.#view.probe();
  }

  /** What is offered must not be older than what the ledger knows of the VM: a source that was put back to an earlier day. */
  async requireCurrent(name: string, offered: Lineage): Promise<void> {
    this.#require(name, offered, await this.#view.read(offered.state.vm));
  }

  /** A VM is born once: nobody holds another one of its UUID. */
  async requireUnheld(vm: string, name: string): Promise<void> {
    const row = await this.#view.read(vm);
    if (row === null || row.life === 'ended') return;
    throw new Refused(
      `ledger-conflict: the ledger says that ${row.holder.name} holds ${name} since epoch ${row.epoch}; use it there, or end its ` +
        'protection there (tvmmp vm unprotect)',
    );
  }

  #require(name: string, lineage: Lineage, row: LedgerRow | null): void {
    if (row === null || continues(lineage, row)) return;
    throw new Refused(contradiction(this.#host.identity.id.name, name, lineage.state, row));
  }

  /** Puts a row in place of the one that is there, if this chain continues it. Throws `Refused`, `ledger-unavailable`. */
  #put({ uuid, name }: VmRecord, state: ChainState, next: LedgerRow): Promise<void> {
    return this.#view.turns.run(uuid, async () => {
      const lineage = lineageOf(this.#host.journal, state);
      let before = await this.#view.read(uuid);
      for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
        this.#require(name, lineage, before);
        const swapped = await this.#view.swap(before, next);
        if (swapped.written) return;
        before = swapped.found;
        this.#view.remember(uuid, null);
      }
      throw new TvmmpError('ledger-conflict', `others write the ledger's row of ${name} all the time`);
    });
  }
}
