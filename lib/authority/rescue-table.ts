/** The part of an authority's register that says which VMs were given to another host, because theirs was lost (SPEC 15.4). */
import type Database from 'better-sqlite3';

/** Its table: new with version 3 of the register. One statement for each epoch of a VM: two would make two holders. */
export const RESCUE_SCHEMA = `
CREATE TABLE rescue (
  vm TEXT NOT NULL,
  birth BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  head BLOB NOT NULL,
  toAk BLOB NOT NULL,
  toName TEXT NOT NULL,
  statement TEXT NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (vm, birth, epoch)
) STRICT;
`;

/** A statement that was signed. */
export interface RescueRecord {
  readonly vm: string;
  readonly birth: Uint8Array;
  /** The epoch that the lost host held. */
  readonly epoch: number;
  readonly head: Uint8Array;
  readonly toAk: Uint8Array;
  readonly toName: string;
  /** DSSE envelope. */
  readonly statement: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export class RescueTable {
  readonly #db: Database.Database;

  constructor(db: Database.Database) {
    this.#db = db;
  }

  /** The statement about an epoch of a VM, or null. */
  of(vm: string, birth: Uint8Array, epoch: number): RescueRecord | null {
    const select = this.#db.prepare<[string, Uint8Array, number], RescueRecord>(
      'SELECT * FROM rescue WHERE vm = ? AND birth = ? AND epoch = ?',
    );
    return select.get(vm, birth, epoch) ?? null;
  }

  /** Within the transaction that has looked that there is none. */
  add(record: RescueRecord): void {
    this.#db
      .prepare('INSERT INTO rescue VALUES (@vm, @birth, @epoch, @head, @toAk, @toName, @statement, @time)')
      .run(record);
  }
}
