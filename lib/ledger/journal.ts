import Database from 'better-sqlite3';
import { TvmmpError } from '../errors.ts';
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
import { schema, schemaVersion, upgrades } from './schema.ts';
import { SessionStore } from './session-store.ts';
import type { SessionChange } from './session-store.ts';
import { Statements } from './statements.ts';
import { VtpmStore } from './vtpm-store.ts';

/** A whole chain as it is stored: signed entries by sequence, *departed* entries by epoch, and what verifies them. */
export interface StoredChain {
  /** Sequence number of its first entry: 0, or that of a checkpoint. */
  readonly first: number;
  /** Summaries of the checkpoints among its entries, by sequence; with that of the first entry where `first` is not 0. */
  readonly summaries: ReadonlyMap<number, Uint8Array>;
  /** Whether it continues what is there: entries before `first` are then kept as history. */
  readonly continues: boolean;
  readonly entries: readonly Uint8Array[];
  readonly departures: ReadonlyMap<number, Uint8Array>;
  readonly credentials: readonly Credential[];
}

/**
 * What this host has decided, durable before its effect: VMs, their chains, sessions, permits, refusals. Every method is
 * synchronous and one transaction; `transaction` makes several one. Errors: `journal-failed`.
 */
export class Journal {
  readonly #db: Database.Database;
  readonly #statements: Statements;
  readonly #sessions: SessionStore;
  readonly #vtpms: VtpmStore;
  #changes = 0;

  /** Opens or creates the journal; `:memory:` for tests. */
  constructor(file: string) {
    this.#db = open(file);
    this.#statements = new Statements(this.#db);
    this.#sessions = new SessionStore(this.#statements);
    this.#vtpms = new VtpmStore(this.#statements);
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
      for (const table of [
        'entry',
        'summary',
        'departure',
        'credential',
        'permit',
        'vtpm_state',
        'vtpm_past',
      ]) {
        this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ?`).run(uuid);
      }
      this.#statements.prepare('DELETE FROM vm WHERE uuid = ?').run(uuid);
    });
  }

  // Chains

  /** Signed entries in order of their sequence, from one on. */
  entries(uuid: string, first = 0): readonly Uint8Array[] {
    return this.#statements
      .prepare<[string, number], { bytes: Uint8Array }>(
        'SELECT bytes FROM entry WHERE vm = ? AND sequence >= ? ORDER BY sequence',
      )
      .all(uuid, first)
      .map((row) => row.bytes);
  }

  /** The signed entry with this sequence number. */
  entry(uuid: string, sequence: number): Uint8Array | null {
    const row = this.#statements
      .prepare<[string, number], { bytes: Uint8Array }>(
        'SELECT bytes FROM entry WHERE vm = ? AND sequence = ?',
      )
      .get(uuid, sequence);
    return row?.bytes ?? null;
  }

  /** From where on this host has every entry up to the head; null without any. Reads all of them. */
  historyBegins(uuid: string): number | null {
    const row = this.#statements
      .prepare<[string], { first: number | null }>(
        `SELECT max(sequence) AS first FROM entry AS e WHERE vm = ? AND NOT EXISTS
         (SELECT 1 FROM entry WHERE vm = e.vm AND sequence = e.sequence - 1)`,
      )
      .get(uuid);
    return row?.first ?? null;
  }

  /** Summaries of checkpoints that are entries here, by sequence, the latest first (SPEC 4.1). */
  summaries(uuid: string): readonly { readonly sequence: number; readonly bytes: Uint8Array }[] {
    return this.#statements
      .prepare<[string], { sequence: number; bytes: Uint8Array }>(
        'SELECT sequence, bytes FROM summary WHERE vm = ? ORDER BY sequence DESC LIMIT 64',
      )
      .all(uuid);
  }

  /** Sequence number of the first checkpoint from here on whose summary is kept; null without one. */
  firstSummaryFrom(uuid: string, sequence: number): number | null {
    const row = this.#statements
      .prepare<[string, number], { first: number | null }>(
        'SELECT min(sequence) AS first FROM summary WHERE vm = ? AND sequence >= ?',
      )
      .get(uuid, sequence);
    return row?.first ?? null;
  }

  /** The summary of the checkpoint with this sequence number. */
  summary(uuid: string, sequence: number): Uint8Array | null {
    const row = this.#statements
      .prepare<[string, number], { bytes: Uint8Array }>(
        'SELECT bytes FROM summary WHERE vm = ? AND sequence = ?',
      )
      .get(uuid, sequence);
    return row?.bytes ?? null;
  }

  putSummary(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#statements.prepare('INSERT OR REPLACE INTO summary VALUES (?, ?, ?)').run(uuid, sequence, bytes);
  }

  /** Adds one signed entry; a sequence number that is taken is refused: chains do not fork here. */
  appendEntry(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#statements.prepare('INSERT INTO entry VALUES (?, ?, ?)').run(uuid, sequence, bytes);
  }

  /** Ends a VM's chain with `sequence`; what came after it in `session` is set aside, not deleted (SPEC 6.9). */
  rewindChain(uuid: string, sequence: number, session: Uint8Array): void {
    this.transaction(() => {
      this.#statements
        .prepare(
          `INSERT OR REPLACE INTO set_aside SELECT vm, @session, sequence, bytes FROM entry
           WHERE vm = @uuid AND sequence > @sequence`,
        )
        .run({ uuid, sequence, session });
      for (const table of ['entry', 'summary'])
        this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ? AND sequence > ?`).run(uuid, sequence);
    });
  }

  /** Signed entries that `rewindChain` set aside in a session, in order: evidence of what this host had signed. */
  setAside(session: Uint8Array): readonly Uint8Array[] {
    return this.#statements
      .prepare<[Uint8Array], { bytes: Uint8Array }>(
        'SELECT bytes FROM set_aside WHERE session = ? ORDER BY sequence',
      )
      .all(session)
      .map((row) => row.bytes);
  }

  /** Replaces a VM's chain by one that was received whole and verified. */
  replaceChain(uuid: string, chain: StoredChain): void {
    this.transaction(() => {
      const kept = chain.continues ? chain.first : 0;
      for (const table of ['entry', 'summary'])
        this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ? AND sequence >= ?`).run(uuid, kept);
      if (kept === 0)
        for (const table of ['departure', 'credential'])
          this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ?`).run(uuid);
      chain.entries.forEach((bytes, index) => {
        this.appendEntry(uuid, chain.first + index, bytes);
      });
      for (const [sequence, bytes] of chain.summaries) this.putSummary(uuid, sequence, bytes);
      for (const [epoch, bytes] of chain.departures) this.putDeparture(uuid, epoch, bytes);
      this.putCredentials(uuid, chain.credentials);
    });
  }

  /** Signed *departed* entries by the epoch that they end, ascending (SPEC 2). */
  departures(uuid: string): readonly Uint8Array[] {
    return this.#statements
      .prepare<[string], { bytes: Uint8Array }>('SELECT bytes FROM departure WHERE vm = ? ORDER BY epoch')
      .all(uuid)
      .map((row) => row.bytes);
  }

  putDeparture(uuid: string, epoch: number, bytes: Uint8Array): void {
    this.#statements.prepare('INSERT OR REPLACE INTO departure VALUES (?, ?, ?)').run(uuid, epoch, bytes);
  }

  credentials(uuid: string): readonly Credential[] {
    return this.#statements
      .prepare<[string], Credential>(
        'SELECT kind, digest, bytes FROM credential WHERE vm = ? ORDER BY kind, digest',
      )
      .all(uuid);
  }

  putCredentials(uuid: string, credentials: readonly Credential[]): void {
    const insert = this.#statements.prepare(
      'INSERT OR IGNORE INTO credential (vm, digest, kind, bytes) VALUES (?, ?, ?, ?)',
    );
    for (const { digest, kind, bytes } of credentials) insert.run(uuid, digest, kind, bytes);
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

  /** The state file is gone; what it was stays known. */
  removeVtpmState(vm: string): void {
    this.#changes += 1;
    this.transaction(() => {
      this.#vtpms.remove(vm);
    });
  }

  // Permits

  permit(vm: string): PermitRecord | null {
    return (
      this.#statements.prepare<[string], PermitRecord>('SELECT * FROM permit WHERE vm = ?').get(vm) ?? null
    );
  }

  putPermit(permit: PermitRecord): void {
    this.#changes += 1;
    this.#statements
      .prepare('INSERT OR REPLACE INTO permit VALUES (@vm, @session, @facts, @verdict, @expires, @consumed)')
      .run(permit);
  }

  /** Uses the permit up; false when there is none, it is another session's, it has expired, or it was used (SPEC 8.1). */
  consumePermit(vm: string, session: Uint8Array, now: number): boolean {
    this.#changes += 1;
    const { changes } = this.#statements
      .prepare(
        'UPDATE permit SET consumed = ? WHERE vm = ? AND session = ? AND consumed IS NULL AND expires > ?',
      )
      .run(now, vm, session, now);
    return changes === 1;
  }

  removePermit(vm: string): void {
    this.#changes += 1;
    this.#statements.prepare('DELETE FROM permit WHERE vm = ?').run(vm);
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

  putSetting(key: string, value: string): void {
    this.#statements.prepare('INSERT OR REPLACE INTO setting VALUES (?, ?)').run(key, value);
  }
}

function open(file: string): Database.Database {
  try {
    const db = new Database(file);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    bringUpToDate(db, file);
    return db;
  } catch (error) {
    if (error instanceof TvmmpError) throw error;
    throw new TvmmpError('journal-failed', `cannot open the journal ${file}: ${String(error)}`, {
      cause: error,
    });
  }
}

/** Makes the tables, or brings those of an earlier version up to date; a later version's are not touched. */
function bringUpToDate(db: Database.Database, file: string): void {
  const found = db.pragma('user_version', { simple: true }) as number;
  if (found > schemaVersion) {
    throw new TvmmpError(
      'journal-failed',
      `${file} has schema version ${found}, this tvmmpd knows ${schemaVersion}`,
    );
  }
  for (let version = found; version < schemaVersion;) {
    const [statements, next] = version === 0 ? [schema, schemaVersion] : [upgrades[version], version + 1];
    if (statements === undefined) throw new TvmmpError('journal-failed', `${file} has no known version`);
    db.exec(`BEGIN IMMEDIATE; ${statements} PRAGMA user_version = ${next}; COMMIT;`);
    version = next;
  }
}
