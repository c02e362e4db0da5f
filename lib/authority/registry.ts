/**
 * What an authority has issued and signed, in SQLite: who is enrolled with which TPM, every version of every policy, who is
 * revoked, and every revocation list. Nothing that was signed is deleted: a replaced enrolment stays, with the time of its end.
 */
import Database from 'better-sqlite3';
import { bytesEqual } from '../bytes/compare.ts';
import { TvmmpError } from '../errors.ts';
import { enrolmentError } from './enrolment-error.ts';
import { RESCUE_SCHEMA, RescueTable } from './rescue-table.ts';
import { REVOCATION_SCHEMA, RevocationTable } from './revocation-table.ts';

const SCHEMA_VERSION = 5;
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
  ended INTEGER,
  vtpmCa BLOB,
  platformCertificate BLOB
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
${REVOCATION_SCHEMA}${RESCUE_SCHEMA}`;

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
  /** Null where the host had no such key. */
  readonly vtpmCa: Uint8Array | null;
  /** As it was verified at the enrolment; null where the authority did not ask for one. */
  readonly platformCertificate: Uint8Array | null;
  readonly time: number;
}

/** What makes an enrolment another one's second. */
type EnrolmentNames = Pick<Enrolment, 'name' | 'ekName' | 'akName'>;

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
  /** Who is revoked, and every list of them that was signed. */
  readonly revocations: RevocationTable;
  /** Which VMs were given to another host, because theirs was lost. */
  readonly rescues: RescueTable;

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
    if (this.#db.pragma('user_version', { simple: true }) === 1)
      this.#db.transaction(() => this.#db.exec(`${REVOCATION_SCHEMA} PRAGMA user_version = 2`)).immediate();
    if (this.#db.pragma('user_version', { simple: true }) === 2)
      this.#db
        .transaction(() =>
          this.#db.exec('ALTER TABLE enrolment ADD COLUMN vtpmCa BLOB; PRAGMA user_version = 3'),
        )
        .immediate();
    if (this.#db.pragma('user_version', { simple: true }) === 3)
      this.#db.transaction(() => this.#db.exec(`${RESCUE_SCHEMA} PRAGMA user_version = 4`)).immediate();
    if (this.#db.pragma('user_version', { simple: true }) === 4)
      this.#db
        .transaction(() =>
          this.#db.exec('ALTER TABLE enrolment ADD COLUMN platformCertificate BLOB; PRAGMA user_version = 5'),
        )
        .immediate();
    const version = this.#db.pragma('user_version', { simple: true });
    if (version !== SCHEMA_VERSION) {
      this.#db.close();
      throw new TvmmpError('authority-invalid', `the register ${file} is not of version ${SCHEMA_VERSION}`);
    }
    this.revocations = new RevocationTable(this.#db);
    this.rescues = new RescueTable(this.#db);
  }

  close(): void {
    this.#db.close();
  }

  /** Hosts that are enrolled now, by name. */
  enrolments(): readonly Enrolment[] {
    return this.#db.prepare<[], Enrolment>('SELECT * FROM enrolment WHERE ended IS NULL ORDER BY name').all();
  }

  /** Throws `enrolment-refused` (already-enrolled) where the name, the TPM or the attestation key is enrolled. */
  assertFree({ name, ekName, akName }: EnrolmentNames): void {
    const [other] = this.#conflicts({ name, ekName, akName });
    if (other === undefined) return;
    const same = bytesEqual(other.ekName, ekName) || bytesEqual(other.akName, akName);
    const what = same ? `this TPM is enrolled as ${other.name}` : `${name} is enrolled`;
    throw enrolmentError(
      'already-enrolled',
      `${what}: say --renew for new certificates, or --replace to end that enrolment`,
    );
  }

  /** Throws `enrolment-refused` (not-a-renewal) unless exactly this name with exactly these keys is enrolled. */
  assertRenewal(names: EnrolmentNames & Pick<Enrolment, 'receiveKeyName'>): void {
    const { name, ekName, akName, receiveKeyName } = names;
    const [current, other] = this.#conflicts(names);
    const same =
      current?.name === name &&
      other === undefined &&
      bytesEqual(current.ekName, ekName) &&
      bytesEqual(current.akName, akName) &&
      bytesEqual(current.receiveKeyName, receiveKeyName);
    if (same) return;
    const what = current === undefined ? `${name} is not enrolled` : `${current.name} is enrolled otherwise`;
    throw enrolmentError('not-a-renewal', `${what}: a renewal keeps name and keys`);
  }

  /** Throws `enrolment-refused` (revoked) where this attestation key is revoked. */
  assertNotRevoked(akName: Uint8Array): void {
    const found = this.revocations.all().find((one) => bytesEqual(one.akName, akName));
    if (found === undefined) return;
    throw enrolmentError(
      'revoked',
      `this TPM's attestation key is revoked, as that of ${found.host}: ${found.reason}; if that is over, say tvmmp authority reinstate`,
    );
  }

  /** Records an enrolment; with `replace`, those of the same name or TPM end. Returns those. */
  enrol(enrolment: Enrolment, options: { readonly replace: boolean }): readonly Enrolment[] {
    return this.atomically(() => {
      this.assertNotRevoked(enrolment.akName);
      if (!options.replace) this.assertFree(enrolment);
      const ended = this.#conflicts(enrolment);
      const end = this.#db.prepare('UPDATE enrolment SET ended = ? WHERE ended IS NULL AND akName = ?');
      for (const { akName } of ended) end.run(enrolment.time, akName);
      this.#db
        .prepare(
          `INSERT INTO enrolment (name, ekName, akName, receiveKeyName, ekCertificate, akCertificate, agentCertificate,
           migrationCertificate, time, vtpmCa, platformCertificate) VALUES (@name, @ekName, @akName, @receiveKeyName, @ekCertificate, @akCertificate,
           @agentCertificate, @migrationCertificate, @time, @vtpmCa, @platformCertificate)`,
        )
        .run(enrolment);
      return ended;
    });
  }

  /** Every enrolment that a name ever had. */
  historyOf(name: string): readonly Enrolment[] {
    return this.#db
      .prepare<[string], Enrolment>('SELECT * FROM enrolment WHERE name = ? ORDER BY id')
      .all(name);
  }

  /** Runs one transaction; within another one, as a part of it. */
  atomically<T>(work: () => T): T {
    return this.#db.transaction(work).immediate();
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
    return this.atomically(() => {
      const policy = sign(this.highestVersion(id));
      this.#db
        .prepare('INSERT INTO policy (id, version, envelope, time) VALUES (@id, @version, @envelope, @time)')
        .run(policy);
      return policy;
    });
  }

  #conflicts({ name, ekName, akName }: EnrolmentNames): readonly Enrolment[] {
    return this.#db
      .prepare<[string, Uint8Array, Uint8Array], Enrolment>(
        'SELECT * FROM enrolment WHERE ended IS NULL AND (name = ? OR ekName = ? OR akName = ?) ORDER BY name',
      )
      .all(name, ekName, akName);
  }
}
