/** The journal's sessions without SQLite, and its transactions: every change knows how it is undone. */
import type { SessionRecord, SessionRole, SessionStep } from '../../lib/ledger/records.ts';
import type { SessionChange } from '../../lib/ledger/session-store.ts';
import { limits } from '../../lib/limits.ts';

const over: ReadonlySet<string> = new Set(['refused', 'departed', 'aborted', 'done', 'resolved', 'given-up']);
const forgotten: ReadonlySet<string> = new Set(['open', 'refused', 'departed', 'aborted', 'done']);

interface Row {
  readonly order: number;
  readonly record: SessionRecord;
}

export class MemorySessions {
  readonly #rows = new Map<string, Row>();
  readonly #steps = new Map<string, readonly SessionStep[]>();
  /** Keys of those that are not over. */
  readonly #unfinished = new Set<string>();
  #undo: (() => void)[] | null = null;
  #order = 0;

  transaction<T>(change: () => T): T {
    if (this.#undo !== null) return change();
    const undo: (() => void)[] = [];
    this.#undo = undo;
    try {
      return change();
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    } finally {
      this.#undo = null;
    }
  }

  openSession(session: Omit<SessionRecord, 'problem'>): boolean {
    const key = hex(session.id);
    const before = session.started - limits.sessionIdMemoryMs;
    for (const [old, { record }] of this.#rows) {
      if (record.updated >= before || !forgotten.has(record.state)) continue;
      this.#put(old, undefined);
      this.set(this.#steps, old, undefined);
    }
    if (this.#rows.has(key)) return false;
    const { id, vm, role, state, peer, address, started, updated } = session;
    const record = { id, vm, role, state, peer, address, started, updated, problem: '' };
    this.#put(key, { order: (this.#order += 1), record });
    this.noteStep(id, '', started);
    return true;
  }

  changeSession(id: Uint8Array, change: SessionChange, now: number): void {
    const row = this.#rows.get(hex(id));
    if (row === undefined) return;
    const problem = change.state === undefined ? row.record.problem : '';
    this.#put(hex(id), { ...row, record: { ...row.record, ...change, problem, updated: now } });
    if (change.state !== undefined) this.noteStep(id, '', now);
  }

  noteProblem(id: Uint8Array, problem: string, now: number): void {
    const row = this.#rows.get(hex(id));
    if (row === undefined || row.record.problem === problem) return;
    this.#put(hex(id), { ...row, record: { ...row.record, problem } });
    if (problem !== '') this.noteStep(id, problem, now);
  }

  noteStep(id: Uint8Array, note: string, time: number): void {
    const row = this.#rows.get(hex(id));
    if (row === undefined) return;
    const steps = this.#steps.get(hex(id)) ?? [];
    const all = [...steps, { time, state: row.record.state, note }];
    this.set(this.#steps, hex(id), all.slice(-limits.sessionStepsMax));
  }

  sessionSteps(id: Uint8Array): readonly SessionStep[] {
    return this.#steps.get(hex(id)) ?? [];
  }

  session(id: Uint8Array): SessionRecord | null {
    return this.#rows.get(hex(id))?.record ?? null;
  }

  sessions(vm?: string): readonly SessionRecord[] {
    const rows = [...this.#rows.values()];
    return newestFirst(vm === undefined ? rows : rows.filter(({ record }) => record.vm === vm));
  }

  unfinishedSessions(role?: SessionRole): readonly SessionRecord[] {
    const rows = [...this.#unfinished].flatMap((key) => this.#rows.get(key) ?? []);
    return newestFirst(role === undefined ? rows : rows.filter(({ record }) => record.role === role));
  }

  #put(key: string, row: Row | undefined): void {
    this.set(this.#rows, key, row);
    this.#file(key);
    this.undone(() => {
      this.#file(key);
    }, true);
  }

  #file(key: string): void {
    const row = this.#rows.get(key);
    if (row === undefined || over.has(row.record.state)) this.#unfinished.delete(key);
    else this.#unfinished.add(key);
  }

  /** Changes a table, undone with the transaction; undefined removes the row. */
  protected set<T>(table: Map<string, T>, key: string, value: T | undefined): void {
    const before = table.get(key);
    const write = (row: T | undefined): void => {
      if (row === undefined) table.delete(key);
      else table.set(key, row);
    };
    this.undone(() => {
      write(before);
    });
    write(value);
  }

  /** What a transaction that fails has to do; `first`: before the one that was noted last, so that it runs after it. */
  protected undone(step: () => void, first = false): void {
    if (this.#undo === null) return;
    if (first) this.#undo.splice(-1, 0, step);
    else this.#undo.push(step);
  }
}

function newestFirst(rows: readonly Row[]): readonly SessionRecord[] {
  return [...rows]
    .sort((a, b) => b.record.started - a.record.started || b.order - a.order)
    .map(({ record }) => record);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
