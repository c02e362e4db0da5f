import type { PermitRecord } from './records.ts';
import type { Statements } from './statements.ts';

/** The journal's part about permits: each lets one VM in, once (SPEC 8.1). */
export class PermitStore {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  get(vm: string): PermitRecord | null {
    return (
      this.#statements.prepare<[string], PermitRecord>('SELECT * FROM permit WHERE vm = ?').get(vm) ?? null
    );
  }

  put(permit: PermitRecord): void {
    this.#statements
      .prepare('INSERT OR REPLACE INTO permit VALUES (@vm, @session, @facts, @verdict, @expires, @consumed)')
      .run(permit);
  }

  /** Uses it up; false when there is none, it is another session's, it has expired, or it was used. */
  consume(vm: string, session: Uint8Array, now: number): boolean {
    const { changes } = this.#statements
      .prepare(
        'UPDATE permit SET consumed = ? WHERE vm = ? AND session = ? AND consumed IS NULL AND expires > ?',
      )
      .run(now, vm, session, now);
    return changes === 1;
  }

  remove(vm: string): void {
    this.#statements.prepare('DELETE FROM permit WHERE vm = ?').run(vm);
  }
}
