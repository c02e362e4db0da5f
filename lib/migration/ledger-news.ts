import { bytesEqual } from '../bytes/compare.ts';
import type { LedgerWatch } from '../ledger/ledger.ts';
import { sameLedgerHost, sameRow } from '../ledger/ledger-row.ts';
import type { LedgerRow, Place } from '../ledger/ledger-row.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { ChainState } from '../proof/chain.ts';
import { decodeSignedEntry, entryHash } from '../proof/entry.ts';
import type { Chains } from './chains.ts';
import type { Host } from './host.ts';
import { attemptsMax } from './ledger-view.ts';
import type { LedgerView } from './ledger-view.ts';
import { continues, contradiction, ledgerHostOf, lineageOf, rowOf } from './lineage.ts';
import type { Lineage } from './lineage.ts';
import type { Timer } from './timers.ts';

/** Between two looks whether the ledger knows everything that it should. */
const sweepMs = 10_000;

/** How the ledger is, for the operator. */
export interface LedgerStatus {
  readonly kind: 'sqlite' | 'etcd';
  readonly place: string;
  /** Why the ledger does not answer; '' where it does. */
  readonly problem: string;
  /** VMs of which the ledger has not heard the latest yet. */
  readonly behind: readonly string[];
  /** VMs of which the ledger says something else than this host's proof: they run on, and neither start nor move. */
  readonly conflicts: readonly { readonly vm: string; readonly problem: string }[];
}

/**
 * What this host tells the ledger of its VMs, and hears from it (SPEC 8.6): what happens here is told in the same durable write where the
 * ledger is local, as soon as it answers where it is not.
 */
export class LedgerNews {
  readonly #host: Host;
  readonly #chains: Chains;
  readonly #view: LedgerView;
  readonly #behind = new Set<string>();
  readonly #conflicts = new Map<string, string>();
  #sweeping = false;
  #watch: LedgerWatch | null = null;
  #timer: Timer | null = null;

  constructor(host: Host, chains: Chains, view: LedgerView) {
    this.#host = host;
    this.#chains = chains;
    this.#view = view;
  }

  /** Tells the ledger what it missed while this agent was down, and begins to follow it. */
  begin(): void {
    const { journal, ledger, timers } = this.#host;
    if (ledger.local !== null) {
      for (const { uuid } of journal.vms()) this.#recordOf(uuid);
      return;
    }
    for (const { uuid } of journal.vms()) this.owe(uuid);
    this.#timer = timers.every(sweepMs, () => void this.#sweep());
    void this.#sweep();
  }

  async end(): Promise<void> {
    this.#timer?.stop();
    await this.#watch?.close();
  }

  /** A chain has grown. To be called within the durable write that says so. */
  noted(state: ChainState): void {
    const { ledger, journal } = this.#host;
    this.#conflicts.delete(state.vm);
    if (ledger.local === null) this.#soon(state.vm);
    else this.#putNow(lineageOf(journal, state), rowOf(state));
  }

  /** This host gave a VM up: its chain ends at `place` again (SPEC 6.9). To be called within the durable write that says so. */
  gaveUp(vm: string, place: Place): void {
    const { local } = this.#host.ledger;
    if (local === null) {
      this.#soon(vm);
      return;
    }
    const row = local.readNow(vm);
    if (row !== null && row.sequence > place.sequence) local.swapNow(row, { ...row, withdrawn: place });
  }

  /** The next sweep has to bring the row of a VM up to its chain. */
  owe(vm: string): void {
    this.#behind.add(vm);
  }

  status(): LedgerStatus {
    const { kind, place } = this.#host.ledger;
    return {
      kind,
      place,
      problem: this.#view.problem,
      behind: [...this.#behind].filter((vm) => this.#isOurs(vm)),
      conflicts: [...this.#conflicts]
        .filter(([vm]) => this.#isOurs(vm))
        .map(([vm, problem]) => ({ vm, problem })),
    };
  }

  #soon(vm: string): void {
    this.owe(vm);
    this.#host.timers.soon(() => void this.#tell(vm));
  }

  #putNow(lineage: Lineage, next: LedgerRow): void {
    const { ledger } = this.#host;
    const before = ledger.local?.readNow(next.vm) ?? null;
    if (sameRow(before, next)) return;
    if (before === null || continues(lineage, before)) ledger.local?.swapNow(before, next);
    else this.#contradicted(next.vm, lineage, before);
  }

  /** What a journal of before the ledger has, or of a time with another ledger. */
  #recordOf(vm: string): void {
    const { journal, log } = this.#host;
    try {
      const state = this.#chains.state(vm);
      if (state === null) return;
      journal.transaction(() => {
        this.#putNow(lineageOf(journal, state), rowOf(state));
      });
    } catch (error) {
      log.warn({ vm, error: String(error) }, 'the ledger in the journal could not be brought up to date');
    }
  }

  async #sweep(): Promise<void> {
    const { log } = this.#host;
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      this.#watch ??= await this.#view.watch(({ vm, row }) => {
        this.#seen(vm, row);
      });
      await this.#view.probe();
      for (const vm of [...this.#behind]) await this.#tell(vm);
    } catch (error) {
      log.warn({ error: String(error) }, 'the ledger does not answer; what it has to hear is kept');
    } finally {
      this.#sweeping = false;
    }
  }

  /** Brings the ledger up to the chain that this host has; what fails is met again by the next sweep. */
  async #tell(vm: string): Promise<void> {
    const { log } = this.#host;
    try {
      await this.#view.turns.run(vm, () => this.#tellNow(vm));
    } catch (error) {
      log.warn({ vm, error: String(error) }, 'the ledger could not be told yet');
    }
  }

  async #tellNow(vm: string): Promise<void> {
    const { journal } = this.#host;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const state = this.#chains.state(vm);
      if (state === null) break;
      const lineage = lineageOf(journal, state);
      const before = await this.#before(lineage);
      const next = this.#nextRow(lineage, before);
      if (next === null) return;
      if (before === null || !sameRow(before, next)) {
        const swapped = await this.#view.swap(before, next);
        if (!swapped.written) {
          this.#view.remember(vm, swapped.found);
          continue;
        }
      }
      this.#view.remember(vm, next);
      this.#conflicts.delete(vm);
      // The chain may have grown meanwhile.
      if (!bytesEqual(this.#chains.state(vm)?.head ?? next.head, state.head)) continue;
      break;
    }
    this.#behind.delete(vm);
  }

  /** The row as it was last seen, if that is one to go on from; otherwise as it is now. */
  async #before(lineage: Lineage): Promise<LedgerRow | null> {
    const { vm } = lineage.state;
    const seen = this.#view.lastSeen(vm);
    return seen !== undefined && continues(lineage, seen) ? seen : this.#view.read(vm);
  }

  /** What the ledger has to say next; null where it knows more than this host. */
  #nextRow(lineage: Lineage, before: LedgerRow | null): LedgerRow | null {
    const { state } = lineage;
    if (before === null || continues(lineage, before)) return rowOf(state);
    if (this.#setAside(before)) {
      const { epoch, sequence, head } = state;
      return { ...before, withdrawn: { epoch, sequence, head } };
    }
    this.#behind.delete(state.vm);
    if (this.#isOurs(state.vm)) this.#contradicted(state.vm, lineage, before);
    return null;
  }

  /** Whether the row stands for entries of this host that its administrator has set aside (SPEC 6.9). */
  #setAside(row: LedgerRow): boolean {
    const { journal, identity } = this.#host;
    if (row.withdrawn !== null || !sameLedgerHost(row.holder, ledgerHostOf(identity.id))) return false;
    return journal
      .sessions(row.vm)
      .filter(({ state }) => state === 'giving-up' || state === 'given-up')
      .flatMap(({ id }) => journal.setAside(id))
      .some((bytes) => bytesEqual(entryHash(decodeSignedEntry(bytes).entry), row.head));
  }

  /** Somebody wrote a row. Where it is of a VM that this host holds, it has to be what this host knows. */
  #seen(vm: string, row: LedgerRow | null): void {
    const { journal, log } = this.#host;
    try {
      this.#view.remember(vm, row);
      if (row === null || !this.#isOurs(vm)) return;
      const state = this.#chains.state(vm);
      if (state === null) return;
      const lineage = lineageOf(journal, state);
      if (continues(lineage, row)) {
        // Where another host has taken back what stood against us, it has still to hear of us.
        if (this.#conflicts.delete(vm)) this.#soon(vm);
      } else this.#contradicted(vm, lineage, row);
    } catch (error) {
      log.warn({ vm, error: String(error) }, 'a change of the ledger could not be looked at');
    }
  }

  /** While a VM departs the ledger may hear of its arrival before this host does. */
  #contradicted(vm: string, { state }: Lineage, row: LedgerRow): void {
    if (state.departure !== null) return;
    const { identity, log } = this.#host;
    const problem = contradiction(identity.id.name, vm, state, row);
    if (this.#conflicts.get(vm) !== problem) log.error({ vm, problem }, 'the ledger contradicts');
    this.#conflicts.set(vm, problem);
  }

  /** Whether this host holds the VM by its own journal. */
  #isOurs(vm: string): boolean {
    const { journal, identity } = this.#host;
    const record = journal.vm(vm);
    return record !== null && isHeldBy(record, identity.id.name);
  }
}
