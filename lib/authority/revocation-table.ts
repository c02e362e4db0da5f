/** The part of an authority's register that says who is revoked (SPEC 1.3). */
import type Database from 'better-sqlite3';
import type { Revocation } from '../appraisal/revocation.ts';

/** Its tables: new with version 2 of the register. */
export const REVOCATION_SCHEMA = `
CREATE TABLE revocation (
  akName BLOB PRIMARY KEY,
  host TEXT NOT NULL,
  since INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE TABLE revocation_list (
  version INTEGER PRIMARY KEY,
  envelope TEXT NOT NULL,
  time INTEGER NOT NULL
) STRICT;
`;

/** A revocation list that was signed. */
export interface RevocationListRecord {
  readonly version: number;
  /** DSSE envelope. */
  readonly envelope: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

interface Row {
  readonly host: string;
  readonly akName: Uint8Array;
  readonly since: number;
  readonly reason: string;
}

/** Changes of it belong into one transaction with the list that tells of them: `Registry.atomically`. */
export class RevocationTable {
  readonly #db: Database.Database;

  constructor(db: Database.Database) {
    this.#db = db;
  }

  /** Who is revoked, as the next list will say. */
  all(): readonly Revocation[] {
    return this.#db
      .prepare<[], Row>('SELECT host, akName, since, reason FROM revocation ORDER BY akName')
      .all()
      .map((row) => ({ ...row, akName: Uint8Array.from(row.akName), since: new Date(row.since) }));
  }

  add({ host, akName, since, reason }: Revocation): void {
    this.#db
      .prepare('INSERT INTO revocation (akName, host, since, reason) VALUES (?, ?, ?, ?)')
      .run(akName, host, since.getTime(), reason);
  }

  /** Takes back what was revoked under a host's name. Returns how many keys. */
  remove(host: string): number {
    return this.#db.prepare('DELETE FROM revocation WHERE host = ?').run(host).changes;
  }

  /** The list signed last, or null. */
  currentList(): RevocationListRecord | null {
    const select = this.#db.prepare<[], RevocationListRecord>(
      'SELECT * FROM revocation_list ORDER BY version DESC LIMIT 1',
    );
    return select.get() ?? null;
  }

  addList(record: RevocationListRecord): void {
    this.#db
      .prepare('INSERT INTO revocation_list (version, envelope, time) VALUES (@version, @envelope, @time)')
      .run(record);
  }
}
