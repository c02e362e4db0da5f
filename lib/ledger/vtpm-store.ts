import { limits } from '../limits.ts';
import type { VtpmStateRecord } from './records.ts';
import type { Statements } from './statements.ts';

/** The journal's part about vTPM state files: what each is now, and what it was before (SPEC 8.4). */
export class VtpmStore {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  get(vm: string): VtpmStateRecord | null {
    return (
      this.#statements.prepare<[string], VtpmStateRecord>('SELECT * FROM vtpm_state WHERE vm = ?').get(vm) ??
      null
    );
  }

  /** What was known before is past, unless it is the same; what is now is past no more. */
  put(record: VtpmStateRecord): void {
    const before = this.get(record.vm)?.digest ?? null;
    if (before !== null) this.#addPast(record.vm, before);
    if (record.digest !== null)
      this.#statements
        .prepare('DELETE FROM vtpm_past WHERE vm = ? AND digest = ?')
        .run(record.vm, record.digest);
    this.#statements
      .prepare('INSERT OR REPLACE INTO vtpm_state VALUES (@vm, @standing, @digest, @time)')
      .run(record);
  }

  isPast(vm: string, digest: Uint8Array): boolean {
    return (
      this.#statements.prepare('SELECT 1 FROM vtpm_past WHERE vm = ? AND digest = ?').get(vm, digest) !==
      undefined
    );
  }

  /** All of them, the latest last. */
  past(vm: string): readonly Uint8Array[] {
    return this.#statements
      .prepare<[string], { digest: Uint8Array }>('SELECT digest FROM vtpm_past WHERE vm = ? ORDER BY id')
      .all(vm)
      .map(({ digest }) => digest);
  }

  /** The file is gone from here. What it was stays known: nobody shall bring that back. */
  remove(vm: string): void {
    const before = this.get(vm)?.digest ?? null;
    if (before !== null) this.#addPast(vm, before);
    this.#statements.prepare('DELETE FROM vtpm_state WHERE vm = ?').run(vm);
  }

  /** Nothing of it stays known: its VM is forgotten. */
  forget(vm: string): void {
    for (const table of ['vtpm_state', 'vtpm_past'])
      this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ?`).run(vm);
  }

  /** The latest are kept. */
  #addPast(vm: string, digest: Uint8Array): void {
    this.#statements.prepare('DELETE FROM vtpm_past WHERE vm = ? AND digest = ?').run(vm, digest);
    this.#statements.prepare('INSERT INTO vtpm_past (vm, digest) VALUES (?, ?)').run(vm, digest);
    this.#statements
      .prepare(
        `DELETE FROM vtpm_past WHERE vm = @vm AND id <=
         (SELECT id FROM vtpm_past WHERE vm = @vm ORDER BY id DESC LIMIT 1 OFFSET @kept)`,
      )
      .run({ vm, kept: limits.vtpmStatesRememberedMax });
  }
}
