/**
 * What an authority has issued and signed, in SQLite: who is enrolled with which TPM, and every version of every policy.
 * Nothing is deleted: a replaced enrolment stays, with the time of its end.
 */
import Database from 'better-sqlite3';
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import { enrolmentError } from './enrolment-error.ts';

const SCHEMA_VERSION = 1;
const SCHEMA = `
CREATE TABLE enrolment (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  ekName BLOB NOT NULL,
  akName BLOB NOT NULL,
  receiveKeyName BLOB NOT NULL,
  ekCertificate BLOB NOT NULL,
  akCertificate BLOB NOT NULL,
  agentCertificate BLOB NOT NULL,
  migrationCertificate BLOB NOT NULL,
  time INTEGER NOT NULL,
  ended INTEGER
) STRICT;
CREATE UNIQUE INDEX enrolment_name ON enrolment (name) WHERE ended IS NULL;
CREATE UNIQUE INDEX enrolment_ek ON enrolment (ekName) WHERE ended IS NULL;
CREATE TABLE policy (
  serial INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  envelope TEXT NOT NULL,
  time INTEGER NOT NULL,
  UNIQUE (id, version)
) STRICT;
`;

/** One host's enrolment. Names of keys are TPM names, certificates DER, times milliseconds since 1970. */
export interface Enrolment {
  readonly name: string;
  readonly ekName: Uint8Array;
  readonly akName: Uint8Array;
  readonly receiveKeyName: Uint8Array;
  readonly ekCertificate: Uint8Array;
  readonly akCertificate: Uint8Array;
  readonly agentCertificate: Uint8Array;
  readonly migrationCertificate: Uint8Array;
  readonly time: number;
}

/** A policy that was signed. */
export interface SignedPolicyRecord {
  readonly id: string;
  readonly version: number;
  /** DSSE envelope. */
  readonly envelope: string;
  readonly time: number;
}

/** The authority's register. Errors: `authority-invalid` where the file is not one. */
export class Registry {
  readonly #db: Database.Database;

  /** Opens the register in `file`; `create` makes a new one. */
  constructor(file: string, options: { readonly create: boolean }) {
    try {
      this.#db = new Database(file, { fileMustExist: !options.create });
      this.#db.pragma('journal_mode = WAL');
      this.#db.pragma('synchronous = FULL');
      if (options.create) this.#db.exec(`${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}`);
    } catch (cause) {
      throw new TvmmpError('authority-invalid', `the register ${file} cannot be opened`, { cause });
    }
    const version = this.#db.pragma('user_version', { simple: true });
    if (version !== SCHEMA_VERSION) {
      this.#db.close();
      throw new TvmmpError('authority-invalid', `the register ${file} is not of version ${SCHEMA_VERSION}`);
    }
  }

  close(): void {
    this.#db.close();
  }

  /** Hosts that are enrolled now, by name. */
  enrolments(): readonly Enrolment[] {
    return this.#db.prepare<[], Enrolment>('SELECT * FROM enrolment WHERE ended IS NULL ORDER BY name').all();
  }

  /** Throws `enrolment-refused` (already-enrolled) where the name, or the TPM, is enrolled. */
  assertFree(name: string, ekName: Uint8Array): void {
    const [other] = this.#conflicts(name, ekName);
    if (other === undefined) return;
    const what = bytesEqual(other.ekName, ekName)
      ? `this TPM is enrolled as ${other.name}`
      : `${name} is enrolled`;
    throw enrolmentError('already-enrolled', `${what}: say --replace to end that enrolment`);
  }

  /** Records an enrolment; with `replace`, those of the same name or TPM end. */
  enrol(enrolment: Enrolment, options: { readonly replace: boolean }): void {
    const record = this.#db.transaction(() => {
      if (!options.replace) this.assertFree(enrolment.name, enrolment.ekName);
      this.#db
        .prepare(
          'UPDATE enrolment SET ended = @time WHERE ended IS NULL AND (name = @name OR ekName = @ekName)',
        )
        .run(enrolment);
      this.#db
        .prepare(
          `INSERT INTO enrolment (name, ekName, akName, receiveKeyName, ekCertificate, akCertificate, agentCertificate,
           migrationCertificate, time) VALUES (@name, @ekName, @akName, @receiveKeyName, @ekCertificate, @akCertificate,
           @agentCertificate, @migrationCertificate, @time)`,
        )
        .run(enrolment);
    });
    record.immediate();
  }

  /** The policy signed last, or null. */
  currentPolicy(): SignedPolicyRecord | null {
    const select = this.#db.prepare<[], SignedPolicyRecord>(
      'SELECT * FROM policy ORDER BY serial DESC LIMIT 1',
    );
    return select.get() ?? null;
  }

  /** The highest version that was signed for a policy id; 0 where none was. */
  highestVersion(id: string): number {
    const select = this.#db.prepare<[string], { version: number | null }>(
      'SELECT max(version) AS version FROM policy WHERE id = ?',
    );
    return select.get(id)?.version ?? 0;
  }

  /** Signs and records in one transaction, so that two signers cannot take one version. */
  recordPolicy(id: string, sign: (highestVersion: number) => SignedPolicyRecord): SignedPolicyRecord {
    const record = this.#db.transaction(() => {
      const policy = sign(this.highestVersion(id));
      this.#db
        .prepare('INSERT INTO policy (id, version, envelope, time) VALUES (@id, @version, @envelope, @time)')
        .run(policy);
      return policy;
    });
    return record.immediate();
  }

  #conflicts(name: string, ekName: Uint8Array): readonly Enrolment[] {
    return this.#db
      .prepare<[string, Uint8Array], Enrolment>(
        'SELECT * FROM enrolment WHERE ended IS NULL AND (name = ? OR ekName = ?) ORDER BY name',
      )
      .all(name, ekName);
  }
}
