import type Database from 'better-sqlite3';

/** The journal's SQL, compiled once: SQLite takes longer to compile a short statement than to run it. */
export class Statements {
  readonly #db: Database.Database;
  readonly #prepared = new Map<string, Database.Statement>();
  readonly #transact: Database.Transaction<(change: () => unknown) => unknown>;

  constructor(db: Database.Database) {
    this.#db = db;
    this.#transact = db.transaction((change: () => unknown) => change());
  }

  /** A statement of ours: its text is one of few, with every value a parameter. */
  prepare<Parameters extends unknown[] | object = unknown[], Row = unknown>(
    sql: string,
  ): Database.Statement<Parameters extends unknown[] ? Parameters : [Parameters], Row> {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement as Database.Statement<Parameters extends unknown[] ? Parameters : [Parameters], Row>;
  }

  /** Runs changes as one durable write; a throw undoes all of them. Within another one it is part of that. */
  transaction<T>(change: () => T): T {
    return this.#transact.immediate(change) as T;
  }
}
