import Database from 'better-sqlite3';
import { TvmmpError } from '../errors.ts';
import { schema, schemaVersion, upgrades } from './schema.ts';

/** Opens or creates a journal's database; `:memory:` for tests. Throws `journal-failed`. */
export function openDatabase(file: string): Database.Database {
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
