/**
 * The journal without SQLite: what lib/ledger/journal.ts promises, in maps, for runs of a million hand-overs. `memory-journal.test.ts` holds it against
 * the shipped one; every eighth seed runs on that.
 */
import type { StoredChain } from '../../lib/ledger/chain-store.ts';
import type { Journal } from '../../lib/ledger/journal.ts';
import type {
  Credential,
  PermitRecord,
  RefusalRecord,
  VmRecord,
  VmState,
  VtpmStateRecord,
} from '../../lib/ledger/records.ts';
import { limits } from '../../lib/limits.ts';
import { MemorySessions } from './memory-sessions.ts';

interface Stored {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** What belongs to one VM's chain. Lists are ascending by sequence. */
interface Chain {
  readonly entries: readonly Stored[];
  readonly summaries: readonly Stored[];
  readonly departures: readonly Stored[];
  readonly credentials: ReadonlyMap<string, Credential>;
}

const empty: Chain = { entries: [], summaries: [], departures: [], credentials: new Map() };

export class MemoryJournal extends MemorySessions implements Pick<Journal, keyof Journal> {
  readonly #vms = new Map<string, VmRecord>();
  readonly #chains = new Map<string, Chain>();
  readonly #setAside = new Map<string, readonly (Stored & { readonly vm: string })[]>();
  readonly #permits = new Map<string, PermitRecord>();
  readonly #settings = new Map<string, string>();
  readonly #vtpmStates = new Map<string, VtpmStateRecord>();
  /** Digests by VM, the latest last. */
  readonly #vtpmPasts = new Map<string, readonly string[]>();
  readonly #ledger = new Map<string, Uint8Array>();
  #refusals: readonly RefusalRecord[] = [];
  /** As the shipped one counts: also what a throw undoes. */
  changes = 0;

  close(): void {
    this.#vms.clear();
    this.#chains.clear();
  }

  vm(uuid: string): VmRecord | null {
    return this.#vms.get(uuid) ?? null;
  }

  vms(): readonly VmRecord[] {
    return [...this.#vms.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }

  putVm(vm: VmRecord): void {
    this.changes += 1;
    const { uuid, name, state, epoch, sequence, head, facts, vtpm, secret, sealed, context, holder } = vm;
    const row = { uuid, name, state, epoch, sequence, head, facts, vtpm, secret, sealed, context, holder };
    this.set(this.#vms, uuid, row);
  }

  setVmState(uuid: string, state: VmState): void {
    const vm = this.#vms.get(uuid);
    if (vm === undefined) this.changes += 1;
    else this.putVm({ ...vm, state });
  }

  removeVm(uuid: string): void {
    this.changes += 1;
    this.set(this.#chains, uuid, undefined);
    this.set(this.#permits, uuid, undefined);
    this.set(this.#vtpmStates, uuid, undefined);
    this.set(this.#vtpmPasts, uuid, undefined);
    this.set(this.#vms, uuid, undefined);
  }

  entries(uuid: string, first = 0): readonly Uint8Array[] {
    return from(this.#chain(uuid).entries, first).map(({ bytes }) => bytes);
  }

  entry(uuid: string, sequence: number): Uint8Array | null {
    return find(this.#chain(uuid).entries, sequence)?.bytes ?? null;
  }

  historyBegins(uuid: string): number | null {
    const { entries } = this.#chain(uuid);
    let begins = entries.length - 1;
    while (begins > 0 && entries[begins - 1]?.sequence === (entries[begins]?.sequence ?? 0) - 1) begins -= 1;
    return entries[begins]?.sequence ?? null;
  }

  summaries(uuid: string): readonly Stored[] {
    return this.#chain(uuid).summaries.slice(-64).reverse();
  }

  firstSummaryFrom(uuid: string, sequence: number): number | null {
    return from(this.#chain(uuid).summaries, sequence)[0]?.sequence ?? null;
  }

  summary(uuid: string, sequence: number): Uint8Array | null {
    return find(this.#chain(uuid).summaries, sequence)?.bytes ?? null;
  }

  putSummary(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#change(uuid, { summaries: put(this.#chain(uuid).summaries, { sequence, bytes }) });
  }

  appendEntry(uuid: string, sequence: number, bytes: Uint8Array): void {
    const { entries } = this.#chain(uuid);
    if (find(entries, sequence) !== undefined) throw new Error('UNIQUE constraint failed: entry');
    this.#change(uuid, { entries: put(entries, { sequence, bytes }) });
  }

  rewindChain(uuid: string, sequence: number, session: Uint8Array): void {
    const { entries, summaries } = this.#chain(uuid);
    const key = keyOf(session);
    const aside = from(entries, sequence + 1).map((entry) => ({ vm: uuid, ...entry }));
    const before = this.#setAside.get(key) ?? [];
    const others = before.filter(
      (old) => !aside.some((entry) => entry.vm === old.vm && entry.sequence === old.sequence),
    );
    const all = [...others, ...aside].sort((a, b) => a.sequence - b.sequence || (a.vm < b.vm ? -1 : 1));
    this.set(this.#setAside, key, all);
    this.#change(uuid, { entries: below(entries, sequence + 1), summaries: below(summaries, sequence + 1) });
  }

  setAside(session: Uint8Array): readonly Uint8Array[] {
    return (this.#setAside.get(keyOf(session)) ?? []).map(({ bytes }) => bytes);
  }

  replaceChain(uuid: string, chain: StoredChain): void {
    const { entries, summaries, departures, credentials } = this.#chain(uuid);
    const kept = chain.continues ? chain.first : 0;
    const received = chain.entries.map((bytes, index) => ({ sequence: chain.first + index, bytes }));
    const told = [...chain.summaries].map(([sequence, bytes]) => ({ sequence, bytes }));
    const closing = [...chain.departures].map(([sequence, bytes]) => ({ sequence, bytes }));
    this.#change(uuid, {
      entries: [...below(entries, kept), ...received],
      summaries: told.reduce(put, below(summaries, kept)),
      departures: closing.reduce(put, kept === 0 ? [] : departures),
      credentials: kept === 0 ? new Map() : credentials,
    });
    this.putCredentials(uuid, chain.credentials);
  }

  departures(uuid: string): readonly Uint8Array[] {
    return this.#chain(uuid).departures.map(({ bytes }) => bytes);
  }

  putDeparture(uuid: string, epoch: number, bytes: Uint8Array): void {
    this.#change(uuid, { departures: put(this.#chain(uuid).departures, { sequence: epoch, bytes }) });
  }

  credentials(uuid: string): readonly Credential[] {
    return [...this.#chain(uuid).credentials]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, credential]) => credential);
  }

  putCredentials(uuid: string, added: readonly Credential[]): void {
    const { credentials } = this.#chain(uuid);
    const named = added.map((credential) => [nameOf(credential), credential] as const);
    if (named.every(([name]) => credentials.has(name))) return;
    this.#change(uuid, { credentials: new Map([...named.reverse(), ...credentials]) });
  }

  vtpmState(vm: string): VtpmStateRecord | null {
    return this.#vtpmStates.get(vm) ?? null;
  }

  putVtpmState({ vm, standing, digest, time }: VtpmStateRecord): void {
    this.changes += 1;
    this.#addVtpmPast(vm);
    if (digest !== null) {
      const past = this.#vtpmPasts.get(vm) ?? [];
      this.set(
        this.#vtpmPasts,
        vm,
        past.filter((one) => one !== keyOf(digest)),
      );
    }
    this.set(this.#vtpmStates, vm, { vm, standing, digest, time });
  }

  wasVtpmState(vm: string, digest: Uint8Array): boolean {
    return this.#vtpmPasts.get(vm)?.includes(keyOf(digest)) === true;
  }

  pastVtpmStates(vm: string): readonly Uint8Array[] {
    return (this.#vtpmPasts.get(vm) ?? []).map((key) => Uint8Array.from(Buffer.from(key, 'hex')));
  }

  removeVtpmState(vm: string): void {
    this.changes += 1;
    this.#addVtpmPast(vm);
    this.set(this.#vtpmStates, vm, undefined);
  }

  /** What it is so far is past. */
  #addVtpmPast(vm: string): void {
    const before = this.#vtpmStates.get(vm)?.digest ?? null;
    if (before === null) return;
    const key = keyOf(before);
    const past = (this.#vtpmPasts.get(vm) ?? []).filter((one) => one !== key);
    this.set(this.#vtpmPasts, vm, [...past, key].slice(-limits.vtpmStatesRememberedMax));
  }

  permit(vm: string): PermitRecord | null {
    return this.#permits.get(vm) ?? null;
  }

  putPermit(permit: PermitRecord): void {
    this.changes += 1;
    this.set(this.#permits, permit.vm, { ...permit });
  }

  consumePermit(vm: string, session: Uint8Array, now: number): boolean {
    this.changes += 1;
    const permit = this.#permits.get(vm);
    if (permit === undefined || keyOf(permit.session) !== keyOf(session)) return false;
    if (permit.consumed !== null || permit.expires <= now) return false;
    this.set(this.#permits, vm, { ...permit, consumed: now });
    return true;
  }

  removePermit(vm: string): void {
    this.changes += 1;
    this.set(this.#permits, vm, undefined);
  }

  ledgerRow(vm: string): Uint8Array | null {
    return this.#ledger.get(vm) ?? null;
  }

  swapLedgerRow(vm: string, expected: Uint8Array | null, next: Uint8Array): boolean {
    const found = this.#ledger.get(vm);
    const fits =
      expected === null ? found === undefined : found !== undefined && keyOf(found) === keyOf(expected);
    if (fits) this.set(this.#ledger, vm, next);
    return fits;
  }

  addRefusal(refusal: RefusalRecord): void {
    const { time, vm, peer, operation, reason, verdict } = refusal;
    const before = this.#refusals;
    this.undone(() => {
      this.#refusals = before;
    });
    this.#refusals = [{ time, vm, peer, operation, reason, verdict }, ...before].slice(0, 1_000);
  }

  refusals(countMax: number): readonly RefusalRecord[] {
    return this.#refusals.slice(0, countMax);
  }

  setting(key: string): string | null {
    return this.#settings.get(key) ?? null;
  }

  settings(prefix: string): readonly string[] {
    return [...this.#settings]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, value]) => value);
  }

  putSetting(key: string, value: string): void {
    this.set(this.#settings, key, value);
  }

  #chain(uuid: string): Chain {
    return this.#chains.get(uuid) ?? empty;
  }

  #change(uuid: string, change: Partial<Chain>): void {
    this.set(this.#chains, uuid, { ...this.#chain(uuid), ...change });
  }
}

/** A list with one more row, or another one of its sequence. Mostly it belongs at the end. */
function put(list: readonly Stored[], row: Stored): readonly Stored[] {
  const last = list.at(-1);
  if (last === undefined || last.sequence < row.sequence) return [...list, row];
  const at = list.findIndex(({ sequence }) => sequence >= row.sequence);
  const same = list[at]?.sequence === row.sequence;
  return [...list.slice(0, at), row, ...list.slice(same ? at + 1 : at)];
}

function find(list: readonly Stored[], sequence: number): Stored | undefined {
  return list.findLast((row) => row.sequence === sequence);
}

/** From a sequence on. */
function from(list: readonly Stored[], sequence: number): readonly Stored[] {
  let at = list.length;
  while (at > 0 && (list[at - 1]?.sequence ?? 0) >= sequence) at -= 1;
  return list.slice(at);
}

function below(list: readonly Stored[], sequence: number): readonly Stored[] {
  let at = list.length;
  while (at > 0 && (list[at - 1]?.sequence ?? 0) >= sequence) at -= 1;
  return list.slice(0, at);
}

function nameOf({ kind, digest }: Credential): string {
  return `${kind} ${keyOf(digest)}`;
}

function keyOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
