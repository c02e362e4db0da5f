import type Database from 'better-sqlite3';
import { ChainStore } from './chain-store.ts';
import type { StoredChain } from './chain-store.ts';
import { openDatabase } from './journal-file.ts';
import { PermitStore } from './permit-store.ts';
import type {
  Credential,
  PermitRecord,
  RefusalRecord,
  SessionRecord,
  SessionRole,
  SessionStep,
  VmRecord,
  VmState,
  VtpmStateRecord,
} from './records.ts';
import { SessionStore } from './session-store.ts';
import type { SessionChange } from './session-store.ts';
import { Statements } from './statements.ts';
import { VtpmStore } from './vtpm-store.ts';

/**
 * What this host has decided, durable before its effect: VMs, their chains, sessions, permits, refusals. Every method is
 * synchronous and one transaction; `transaction` makes several one. Errors: `journal-failed`.
 */
export class Journal {
  readonly #db: Database.Database;
  readonly #statements: Statements;
  readonly #chains: ChainStore;
  readonly #sessions: SessionStore;
  readonly #vtpms: VtpmStore;
  readonly #permits: PermitStore;
  #changes = 0;

  /** Opens or creates the journal; `:memory:` for tests. */
  constructor(file: string) {
    this.#db = openDatabase(file);
    this.#statements = new Statements(this.#db);
    this.#chains = new ChainStore(this.#statements);
    this.#sessions = new SessionStore(this.#statements);
    this.#vtpms = new VtpmStore(this.#statements);
    this.#permits = new PermitStore(this.#statements);
  }

  close(): void {
    this.#db.close();
  }

  /** Runs several changes as one durable write; a throw undoes all of them. */
  transaction<T>(change: () => T): T {
    return this.#statements.transaction(change);
  }

  /** How often what is known of VMs, their vTPMs and permits was changed since it was opened: what has to be anchored (SPEC 8.8). */
  get changes(): number {
    return this.#changes;
  }

  // Virtual machines

  vm(uuid: string): VmRecord | null {
    const row = this.#statements.prepare<[string], VmRecord>('SELECT * FROM vm WHERE uuid = ?').get(uuid);
    return row ?? null;
  }

  vms(): readonly VmRecord[] {
    return this.#statements.prepare<[], VmRecord>('SELECT * FROM vm ORDER BY name').all();
  }

  putVm(vm: VmRecord): void {
    this.#changes += 1;
    this.#statements
      .prepare(
        `INSERT OR REPLACE INTO vm VALUES (@uuid, @name, @state, @epoch, @sequence, @head, @facts, @vtpm, @secret, @sealed,
         @context, @holder)`,
      )
      .run(vm);
  }

  setVmState(uuid: string, state: VmState): void {
    this.#changes += 1;
    this.#statements.prepare('UPDATE vm SET state = ? WHERE uuid = ?').run(state, uuid);
  }

  /** Forgets a VM with its chain and permit; its sessions stay, so that none of them can be used again. */
  removeVm(uuid: string): void {
    this.#changes += 1;
    this.transaction(() => {
      this.#chains.remove(uuid);
      this.#permits.remove(uuid);
      this.#vtpms.forget(uuid);
      this.#statements.prepare('DELETE FROM vm WHERE uuid = ?').run(uuid);
    });
  }

  // Chains

  /** Signed entries in order of their sequence, from one on. */
  entries(uuid: string, first = 0): readonly Uint8Array[] {
    return this.#chains.entries(uuid, first);
  }

  /** The signed entry with this sequence number. */
  entry(uuid: string, sequence: number): Uint8Array | null {
    return this.#chains.entry(uuid, sequence);
  }

  /** From where on this host has every entry up to the head; null without any. Reads all of them. */
  historyBegins(uuid: string): number | null {
    return this.#chains.historyBegins(uuid);
  }

  /** Summaries of checkpoints that are entries here, by sequence, the latest first (SPEC 4.1). */
  summaries(uuid: string): readonly { readonly sequence: number; readonly bytes: Uint8Array }[] {
    return this.#chains.summaries(uuid);
  }

  /** Sequence number of the first checkpoint from here on whose summary is kept; null without one. */
  firstSummaryFrom(uuid: string, sequence: number): number | null {
    return this.#chains.firstSummaryFrom(uuid, sequence);
  }

  /** The summary of the checkpoint with this sequence number. */
  summary(uuid: string, sequence: number): Uint8Array | null {
    return this.#chains.summary(uuid, sequence);
  }

  putSummary(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#chains.putSummary(uuid, sequence, bytes);
  }

  /** Adds one signed entry; a sequence number that is taken is refused: chains do not fork here. */
  appendEntry(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#chains.append(uuid, sequence, bytes);
  }

  /** Ends a VM's chain with `sequence`; what came after it in `session` is set aside, not deleted (SPEC 6.9). */
  rewindChain(uuid: string, sequence: number, session: Uint8Array): void {
    this.transaction(() => {
      this.#chains.rewind(uuid, sequence, session);
    });
  }

  /** Signed entries that `rewindChain` set aside in a session, in order: evidence of what this host had signed. */
  setAside(session: Uint8Array): readonly Uint8Array[] {
    return this.#chains.setAside(session);
  }

  /** Replaces a VM's chain by one that was received whole and verified. */
  replaceChain(uuid: string, chain: StoredChain): void {
    this.transaction(() => {
      this.#chains.replace(uuid, chain);
    });
  }

  /** Signed *departed* entries by the epoch that they end, ascending (SPEC 2). */
  departures(uuid: string): readonly Uint8Array[] {
    return this.#chains.departures(uuid);
  }

  putDeparture(uuid: string, epoch: number, bytes: Uint8Array): void {
    this.#chains.putDeparture(uuid, epoch, bytes);
  }

  credentials(uuid: string): readonly Credential[] {
    return this.#chains.credentials(uuid);
  }

  putCredentials(uuid: string, credentials: readonly Credential[]): void {
    this.#chains.putCredentials(uuid, credentials);
  }

  // Sessions

  /** Notes a session id for the first time; false when it was seen before (SPEC 6.1: an id is good once). */
  openSession(session: Omit<SessionRecord, 'problem'>): boolean {
    return this.transaction(() => this.#sessions.open(session));
  }

  changeSession(id: Uint8Array, change: SessionChange, now: number): void {
    this.transaction(() => {
      this.#sessions.change(id, change, now);
    });
  }

  /** What keeps a session from going on, or '' when nothing does any more. */
  noteProblem(id: Uint8Array, problem: string, now: number): void {
    this.transaction(() => {
      this.#sessions.noteProblem(id, problem, now);
    });
  }

  /** What was done about a session, for the operator. */
  noteStep(id: Uint8Array, note: string, now: number): void {
    this.transaction(() => {
      this.#sessions.note(id, note, now);
    });
  }

  sessionSteps(id: Uint8Array): readonly SessionStep[] {
    return this.#sessions.steps(id);
  }

  session(id: Uint8Array): SessionRecord | null {
    return this.#sessions.get(id);
  }

  /** Newest first; all of them, or those of one VM. */
  sessions(vm?: string): readonly SessionRecord[] {
    return this.#sessions.all(vm);
  }

  /** Sessions that are neither over nor refused: what has to be finished or undone. */
  unfinishedSessions(role?: SessionRole): readonly SessionRecord[] {
    return this.#sessions.unfinished(role);
  }

  // vTPM state files

  /** What this host knows of a vTPM's state file; null where it never looked (SPEC 8.4). */
  vtpmState(vm: string): VtpmStateRecord | null {
    return this.#vtpms.get(vm);
  }

  putVtpmState(record: VtpmStateRecord): void {
    this.#changes += 1;
    this.transaction(() => {
      this.#vtpms.put(record);
    });
  }

  /** Whether a vTPM's state was this once, and is another one since. */
  wasVtpmState(vm: string, digest: Uint8Array): boolean {
    return this.#vtpms.isPast(vm, digest);
  }

  /** What a vTPM's state was before, the latest last. */
  pastVtpmStates(vm: string): readonly Uint8Array[] {
    return this.#vtpms.past(vm);
  }

  /** The state file is gone; what it was stays known. */
  removeVtpmState(vm: string): void {
    this.#changes += 1;
    this.transaction(() => {
      this.#vtpms.remove(vm);
    });
  }

  // Permits

  permit(vm: string): PermitRecord | null {
    return this.#permits.get(vm);
  }

  putPermit(permit: PermitRecord): void {
    this.#changes += 1;
    this.#permits.put(permit);
  }

  /** Uses the permit up; false when there is none, it is another session's, it has expired, or it was used (SPEC 8.1). */
  consumePermit(vm: string, session: Uint8Array, now: number): boolean {
    this.#changes += 1;
    return this.#permits.consume(vm, session, now);
  }

  removePermit(vm: string): void {
    this.#changes += 1;
    this.#permits.remove(vm);
  }

  // The ledger, where it is this host's own (sqlite-ledger.ts)

  ledgerRow(vm: string): Uint8Array | null {
    const found = this.#statements
      .prepare<[string], { row: Uint8Array }>('SELECT row FROM ledger WHERE vm = ?')
      .get(vm);
    return found?.row ?? null;
  }

  /** Puts a row in the place of exactly `expected` (null: none); false where something else is there. */
  swapLedgerRow(vm: string, expected: Uint8Array | null, next: Uint8Array): boolean {
    const { changes } =
      expected === null
        ? this.#statements.prepare('INSERT OR IGNORE INTO ledger VALUES (?, ?)').run(vm, next)
        : this.#statements
            .prepare('UPDATE ledger SET row = ? WHERE vm = ? AND row = ?')
            .run(next, vm, expected);
    return changes === 1;
  }

  // What the operator reads

  addRefusal(refusal: RefusalRecord): void {
    this.#statements
      .prepare(
        `INSERT INTO refusal (time, vm, peer, operation, reason, verdict)
         VALUES (@time, @vm, @peer, @operation, @reason, @verdict)`,
      )
      .run(refusal);
  }

  /** Newest first. */
  refusals(countMax: number): readonly RefusalRecord[] {
    return this.#statements
      .prepare<[number], RefusalRecord>(
        'SELECT time, vm, peer, operation, reason, verdict FROM refusal ORDER BY id DESC LIMIT ?',
      )
      .all(countMax);
  }

  setting(key: string): string | null {
    const row = this.#statements
      .prepare<[string], { value: string }>('SELECT value FROM setting WHERE key = ?')
      .get(key);
    return row?.value ?? null;
  }

  /** Values of all settings whose names begin so, by name. */
  settings(prefix: string): readonly string[] {
    return this.#statements
      .prepare<[string, string], { value: string }>(
        'SELECT value FROM setting WHERE substr(key, 1, length(?)) = ? ORDER BY key',
      )
      .all(prefix, prefix)
      .map(({ value }) => value);
  }

  putSetting(key: string, value: string): void {
    this.#statements.prepare('INSERT OR REPLACE INTO setting VALUES (?, ?)').run(key, value);
  }
}
