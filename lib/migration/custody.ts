import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import type { HostId } from '../evidence/identity.ts';
import type { LedgerWatch } from '../ledger/ledger.ts';
import { sameLedgerHost, sameRow } from '../ledger/ledger-row.ts';
import type { LedgerRow, Place } from '../ledger/ledger-row.ts';
import { isHeldBy } from '../ledger/records.ts';
import type { VmRecord } from '../ledger/records.ts';
import type { ChainState } from '../proof/chain.ts';
import { decodeSignedEntry, entryHash } from '../proof/entry.ts';
import type { Chains } from './chains.ts';
import type { Host } from './host.ts';
import { continues, ledgerHostOf, lineageOf, rowOf } from './lineage.ts';
import type { Lineage } from './lineage.ts';
import { KeyedMutex } from './mutex.ts';
import { Refused } from './refused.ts';
import type { Timer } from './timers.ts';

/** Between two looks whether the ledger knows everything that it should. */
const sweepMs = 10_000;
/** Others may write the same row meanwhile; more often than so in a row they do not. */
const attemptsMax = 8;

/** How the ledger is, for the operator. */
export interface CustodyStatus {
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
 * What this host and the ledger tell each other about who holds a VM (SPEC 8.6). What happens here is told to the ledger: in the same
 * durable write where it is local, as soon as it answers where it is not. What needs its word (a start, a move, a birth) asks it first,
 * and is refused where it says no, or nothing.
 */
export class Custody {
  readonly #host: Host;
  readonly #chains: Chains;
  readonly #mutex = new KeyedMutex();
  /** Rows as they were last seen: what a compare-and-swap expects. */
  readonly #rows = new Map<string, LedgerRow>();
  readonly #behind = new Set<string>();
  readonly #conflicts = new Map<string, string>();
  #problem = '';
  #sweeping = false;
  #watch: LedgerWatch | null = null;
  #timer: Timer | null = null;

  constructor(host: Host, chains: Chains) {
    this.#host = host;
    this.#chains = chains;
  }

  /** Tells the ledger what it missed while this agent was down, and begins to follow it. */
  begin(): void {
    const { journal, ledger, timers } = this.#host;
    if (ledger.local !== null) {
      for (const { uuid } of journal.vms()) this.#recordOf(uuid);
      return;
    }
    for (const { uuid } of journal.vms()) this.#behind.add(uuid);
    this.#timer = timers.every(sweepMs, () => void this.#sweep());
    void this.#sweep();
  }

  async end(): Promise<void> {
    this.#timer?.stop();
    await this.#watch?.close();
  }

  /** A chain has grown. To be called within the durable write that says so. */
  noted(state: ChainState): void {
    const { ledger, journal, timers } = this.#host;
    this.#conflicts.delete(state.vm);
    if (ledger.local !== null) {
      this.#putNow(lineageOf(journal, state), rowOf(state));
      return;
    }
    this.#behind.add(state.vm);
    timers.soon(() => void this.#tell(state.vm));
  }

  /** This host gave a VM up: its chain ends at `place` again (SPEC 6.9). To be called within the durable write that says so. */
  gaveUp(vm: string, place: Place): void {
    const { ledger, timers } = this.#host;
    if (ledger.local === null) {
      this.#behind.add(vm);
      timers.soon(() => void this.#tell(vm));
      return;
    }
    const row = ledger.local.readNow(vm);
    if (row !== null && row.sequence > place.sequence)
      ledger.local.swapNow(row, { ...row, withdrawn: place });
  }

  /** Asks whether this host is still the holder before it starts, keeps or ends a VM. Throws `Refused`, `ledger-unavailable`. */
  async requireHolder(record: VmRecord): Promise<void> {
    const state = this.#chains.require(record.uuid, record.name);
    const row = await this.#ask(() => this.#host.ledger.read(record.uuid));
    this.#require(record.name, lineageOf(this.#host.journal, state), row);
    // A ledger that has no row yet has to be able to take one: the next host will ask it too.
    if (row === null) await this.#put(record, state, rowOf(state));
  }

  /** Says in the ledger that this host is about to hand a VM over; refused where the ledger does not know it as the holder. */
  async announce(record: VmRecord, session: Uint8Array, to: HostId): Promise<void> {
    if (this.#host.ledger.local !== null) return this.requireHolder(record);
    const state = this.#chains.require(record.uuid, record.name);
    // Where nothing comes of it, the next sweep takes it back.
    this.#behind.add(record.uuid);
    await this.#put(record, state, { ...rowOf(state), leaving: { to: ledgerHostOf(to), session } });
  }

  /** The ledger has to answer before this host takes part in a hand-over. Throws `ledger-unavailable`. */
  async requireAnswer(): Promise<void> {
    await this.#ask(() => this.#host.ledger.probe());
  }

  /** What is offered must not be older than what the ledger knows of the VM: a source that was put back to an earlier day. */
  async requireCurrent(name: string, offered: Lineage): Promise<void> {
    const row = await this.#ask(() => this.#host.ledger.read(offered.state.vm));
    this.#require(name, offered, row);
  }

  /** A VM is born once: nobody holds another one of its UUID. */
  async requireUnheld(vm: string, name: string): Promise<void> {
    const row = await this.#ask(() => this.#host.ledger.read(vm));
    if (row === null || row.life === 'ended') return;
    throw new Refused(
      `ledger-conflict: the ledger says that ${row.holder.name} holds ${name} since epoch ${row.epoch}; use it there, or end its ` +
        'protection there (tvmmp vm unprotect)',
    );
  }

  status(): CustodyStatus {
    const { kind, place } = this.#host.ledger;
    return {
      kind,
      place,
      problem: this.#problem,
      behind: [...this.#behind].filter((vm) => this.#isOurs(vm)),
      conflicts: [...this.#conflicts]
        .filter(([vm]) => this.#isOurs(vm))
        .map(([vm, problem]) => ({ vm, problem })),
    };
  }

  #require(name: string, lineage: Lineage, row: LedgerRow | null): void {
    if (row !== null && !continues(lineage, row)) throw new Refused(this.#contradiction(name, lineage, row));
  }

  #contradiction(name: string, { state }: Pick<Lineage, 'state'>, row: LedgerRow): string {
    const self = this.#host.identity.id.name;
    const says = `ledger-conflict: the ledger says that ${row.holder.name} holds ${name} in epoch ${row.epoch}, entry ${row.sequence}`;
    const has = `and the proof here ends with epoch ${state.epoch}, entry ${state.sequence}`;
    return row.holder.name === self && state.holder.name === self
      ? `${says}, ${has}: this host's journal is older than the ledger; was its disk put back to an earlier state?`
      : `${says}, ${has}: what is here is an old copy`;
  }

  /** Puts a row in place of the one that is there, if this chain continues it. Throws `Refused`, `ledger-unavailable`. */
  #put(record: VmRecord, state: ChainState, next: LedgerRow): Promise<void> {
    return this.#mutex.run(record.uuid, async () => {
      const { ledger, journal } = this.#host;
      const lineage = lineageOf(journal, state);
      let before = await this.#ask(() => ledger.read(record.uuid));
      for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
        this.#require(record.name, lineage, before);
        const expected = before;
        const swapped = await this.#ask(() => ledger.compareAndSwap(expected, next));
        if (swapped.written) {
          this.#rows.set(record.uuid, next);
          return;
        }
        before = swapped.found;
        this.#rows.delete(record.uuid);
      }
      throw new TvmmpError('ledger-conflict', `others write the ledger's row of ${record.name} all the time`);
    });
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
    const { ledger, log } = this.#host;
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      this.#watch ??= await ledger.watch(null, ({ vm, row }) => {
        this.#seen(vm, row);
      });
      await this.requireAnswer();
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
      await this.#mutex.run(vm, () => this.#tellNow(vm));
    } catch (error) {
      log.warn({ vm, error: String(error) }, 'the ledger could not be told yet');
    }
  }

  async #tellNow(vm: string): Promise<void> {
    const { ledger, journal } = this.#host;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const state = this.#chains.state(vm);
      if (state === null) break;
      const lineage = lineageOf(journal, state);
      const before = await this.#before(lineage);
      const next = this.#nextRow(lineage, before);
      if (next === null) return;
      if (before === null || !sameRow(before, next)) {
        const swapped = await this.#ask(() => ledger.compareAndSwap(before, next));
        if (!swapped.written) {
          this.#remember(vm, swapped.found);
          continue;
        }
      }
      this.#rows.set(vm, next);
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
    const seen = this.#rows.get(vm);
    if (seen !== undefined && continues(lineage, seen)) return seen;
    return this.#ask(() => this.#host.ledger.read(vm));
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
      this.#remember(vm, row);
      if (row === null || !this.#isOurs(vm)) return;
      const state = this.#chains.state(vm);
      if (state === null) return;
      const lineage = lineageOf(journal, state);
      if (continues(lineage, row)) this.#conflicts.delete(vm);
      else this.#contradicted(vm, lineage, row);
    } catch (error) {
      log.warn({ vm, error: String(error) }, 'a change of the ledger could not be looked at');
    }
  }

  #remember(vm: string, row: LedgerRow | null): void {
    if (row === null) this.#rows.delete(vm);
    else this.#rows.set(vm, row);
  }

  /** While a VM departs the ledger may hear of its arrival before this host does. */
  #contradicted(vm: string, { state }: Lineage, row: LedgerRow): void {
    if (state.departure !== null) return;
    const problem = this.#contradiction(vm, { state }, row);
    if (this.#conflicts.get(vm) !== problem) this.#host.log.error({ vm, problem }, 'the ledger contradicts');
    this.#conflicts.set(vm, problem);
  }

  /** Whether this host holds the VM by its own journal. */
  #isOurs(vm: string): boolean {
    const { journal, identity } = this.#host;
    const record = journal.vm(vm);
    return record !== null && isHeldBy(record, identity.id.name);
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      const answer = await question();
      this.#problem = '';
      return answer;
    } catch (error) {
      if (error instanceof TvmmpError && error.code === 'ledger-unavailable') this.#problem = error.message;
      throw error;
    }
  }
}
