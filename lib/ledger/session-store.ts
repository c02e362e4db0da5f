import { limits } from '../limits.ts';
import type { SessionRecord, SessionRole, SessionState, SessionStep } from './records.ts';
import type { Statements } from './statements.ts';

/** What `change` may change of a session that is there already. */
export interface SessionChange {
  readonly state?: SessionState;
  readonly peer?: string;
  readonly address?: string;
}

/** States in which nothing is left to be done: by the protocol, by a refusal, or by an administrator (SPEC 6.8, 6.9). */
const over: readonly SessionState[] = ['refused', 'departed', 'aborted', 'done', 'resolved', 'given-up'];

const unfinished = `SELECT * FROM session WHERE state NOT IN (${over.map((state) => `'${state}'`).join(', ')})
  ORDER BY started DESC, rowid DESC`;

/** The journal's part about sessions: where each stands, what kept it from going on, and the steps that it took. */
export class SessionStore {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  /**
   * Notes a session id for the first time; false when it was seen before (SPEC 6.1: an id is good once). Forgets old ones, but
   * never those that an administrator resolved: their peers may come back at any time.
   */
  open(session: Omit<SessionRecord, 'problem'>): boolean {
    const old = `SELECT id FROM session WHERE updated < ? AND state IN ('open', 'refused', 'departed', 'aborted', 'done')`;
    const before = session.started - limits.sessionIdMemoryMs;
    this.#statements.prepare(`DELETE FROM session_step WHERE session IN (${old})`).run(before);
    this.#statements.prepare(`DELETE FROM session WHERE id IN (${old})`).run(before);
    const { changes } = this.#statements
      .prepare(
        `INSERT OR IGNORE INTO session (id, vm, role, state, peer, address, started, updated)
         VALUES (@id, @vm, @role, @state, @peer, @address, @started, @updated)`,
      )
      .run(session);
    if (changes === 1) this.#step(session.id, session.started, '');
    return changes === 1;
  }

  /** A change of state is a step, and leaves the problem of the state before behind. */
  change(id: Uint8Array, change: SessionChange, now: number): void {
    this.#statements
      .prepare(
        `UPDATE session SET problem = iif(@state IS NULL, problem, ''), state = coalesce(@state, state),
         peer = coalesce(@peer, peer), address = coalesce(@address, address), updated = @now WHERE id = @id`,
      )
      .run({
        state: change.state ?? null,
        peer: change.peer ?? null,
        address: change.address ?? null,
        now,
        id,
      });
    if (change.state !== undefined) this.#step(id, now, '');
  }

  /** Why it cannot go on now, or '' when that is over; noted as a step where it is news. */
  noteProblem(id: Uint8Array, problem: string, now: number): void {
    const { changes } = this.#statements
      .prepare('UPDATE session SET problem = @problem WHERE id = @id AND problem <> @problem')
      .run({ id, problem });
    if (changes === 1 && problem !== '') this.#step(id, now, problem);
  }

  /** Something that was done about it, such as what recovery did after a restart. */
  note(id: Uint8Array, note: string, now: number): void {
    this.#step(id, now, note);
  }

  get(id: Uint8Array): SessionRecord | null {
    return (
      this.#statements.prepare<[Uint8Array], SessionRecord>('SELECT * FROM session WHERE id = ?').get(id) ??
      null
    );
  }

  /** Newest first; all of them, or those of one VM. */
  all(vm?: string): readonly SessionRecord[] {
    return vm === undefined
      ? this.#statements
          .prepare<[], SessionRecord>('SELECT * FROM session ORDER BY started DESC, rowid DESC')
          .all()
      : this.#statements
          .prepare<[string], SessionRecord>(
            'SELECT * FROM session WHERE vm = ? ORDER BY started DESC, rowid DESC',
          )
          .all(vm);
  }

  /** Sessions that are not over: what has to be finished or undone. */
  unfinished(role?: SessionRole): readonly SessionRecord[] {
    const all = this.#statements.prepare<[], SessionRecord>(unfinished).all();
    return role === undefined ? all : all.filter((row) => row.role === role);
  }

  /** What happened to a session, in order. */
  steps(id: Uint8Array): readonly SessionStep[] {
    return this.#statements
      .prepare<[Uint8Array], SessionStep>(
        'SELECT time, state, note FROM session_step WHERE session = ? ORDER BY id',
      )
      .all(id);
  }

  #step(session: Uint8Array, time: number, note: string): void {
    this.#statements
      .prepare(
        'INSERT INTO session_step (session, time, state, note) SELECT id, @time, state, @note FROM session WHERE id = @session',
      )
      .run({ session, time, note });
    this.#statements
      .prepare(
        `DELETE FROM session_step WHERE session = @session AND id <=
         (SELECT id FROM session_step WHERE session = @session ORDER BY id DESC LIMIT 1 OFFSET @kept)`,
      )
      .run({ session, kept: limits.sessionStepsMax });
  }
}
