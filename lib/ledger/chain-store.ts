import type { Credential } from './records.ts';
import type { Statements } from './statements.ts';

/** A whole chain as it is stored: signed entries by sequence, *departed* entries by epoch, and what verifies them. */
export interface StoredChain {
  /** Sequence number of its first entry: 0, or that of a checkpoint. */
  readonly first: number;
  /** Summaries of the checkpoints among its entries, by sequence; with that of the first entry where `first` is not 0. */
  readonly summaries: ReadonlyMap<number, Uint8Array>;
  /** Whether it continues what is there: entries before `first` are then kept as history. */
  readonly continues: boolean;
  readonly entries: readonly Uint8Array[];
  readonly departures: ReadonlyMap<number, Uint8Array>;
  readonly credentials: readonly Credential[];
}

/**
 * The journal's part about chains: signed entries, summaries of checkpoints, *departed* entries, and what verifies them. Its caller makes
 * each change one transaction.
 */
export class ChainStore {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  /** Signed entries in order of their sequence, from one on. */
  entries(uuid: string, first = 0): readonly Uint8Array[] {
    return this.#statements
      .prepare<[string, number], { bytes: Uint8Array }>(
        'SELECT bytes FROM entry WHERE vm = ? AND sequence >= ? ORDER BY sequence',
      )
      .all(uuid, first)
      .map((row) => row.bytes);
  }

  /** The signed entry with this sequence number. */
  entry(uuid: string, sequence: number): Uint8Array | null {
    const row = this.#statements
      .prepare<[string, number], { bytes: Uint8Array }>(
        'SELECT bytes FROM entry WHERE vm = ? AND sequence = ?',
      )
      .get(uuid, sequence);
    return row?.bytes ?? null;
  }

  /** From where on this host has every entry up to the head; null without any. Reads all of them. */
  historyBegins(uuid: string): number | null {
    const row = this.#statements
      .prepare<[string], { first: number | null }>(
        `SELECT max(sequence) AS first FROM entry AS e WHERE vm = ? AND NOT EXISTS
         (SELECT 1 FROM entry WHERE vm = e.vm AND sequence = e.sequence - 1)`,
      )
      .get(uuid);
    return row?.first ?? null;
  }

  /** Summaries of checkpoints that are entries here, by sequence, the latest first (SPEC 4.1). */
  summaries(uuid: string): readonly { readonly sequence: number; readonly bytes: Uint8Array }[] {
    return this.#statements
      .prepare<[string], { sequence: number; bytes: Uint8Array }>(
        'SELECT sequence, bytes FROM summary WHERE vm = ? ORDER BY sequence DESC LIMIT 64',
      )
      .all(uuid);
  }

  /** Sequence number of the first checkpoint from here on whose summary is kept; null without one. */
  firstSummaryFrom(uuid: string, sequence: number): number | null {
    const row = this.#statements
      .prepare<[string, number], { first: number | null }>(
        'SELECT min(sequence) AS first FROM summary WHERE vm = ? AND sequence >= ?',
      )
      .get(uuid, sequence);
    return row?.first ?? null;
  }

  /** The summary of the checkpoint with this sequence number. */
  summary(uuid: string, sequence: number): Uint8Array | null {
    const row = this.#statements
      .prepare<[string, number], { bytes: Uint8Array }>(
        'SELECT bytes FROM summary WHERE vm = ? AND sequence = ?',
      )
      .get(uuid, sequence);
    return row?.bytes ?? null;
  }

  putSummary(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#statements.prepare('INSERT OR REPLACE INTO summary VALUES (?, ?, ?)').run(uuid, sequence, bytes);
  }

  /** Adds one signed entry; a sequence number that is taken is refused: chains do not fork here. */
  append(uuid: string, sequence: number, bytes: Uint8Array): void {
    this.#statements.prepare('INSERT INTO entry VALUES (?, ?, ?)').run(uuid, sequence, bytes);
  }

  /** Ends a VM's chain with `sequence`; what came after it in `session` is set aside, not deleted (SPEC 6.9). */
  rewind(uuid: string, sequence: number, session: Uint8Array): void {
    this.#statements
      .prepare(
        `INSERT OR REPLACE INTO set_aside SELECT vm, @session, sequence, bytes FROM entry
         WHERE vm = @uuid AND sequence > @sequence`,
      )
      .run({ uuid, sequence, session });
    for (const table of ['entry', 'summary'])
      this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ? AND sequence > ?`).run(uuid, sequence);
  }

  /** Signed entries that `rewind` set aside in a session, in order: evidence of what this host had signed. */
  setAside(session: Uint8Array): readonly Uint8Array[] {
    return this.#statements
      .prepare<[Uint8Array], { bytes: Uint8Array }>(
        'SELECT bytes FROM set_aside WHERE session = ? ORDER BY sequence',
      )
      .all(session)
      .map((row) => row.bytes);
  }

  /** Replaces a VM's chain by one that was received whole and verified. */
  replace(uuid: string, chain: StoredChain): void {
    const kept = chain.continues ? chain.first : 0;
    for (const table of ['entry', 'summary'])
      this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ? AND sequence >= ?`).run(uuid, kept);
    if (kept === 0)
      for (const table of ['departure', 'credential'])
        this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ?`).run(uuid);
    chain.entries.forEach((bytes, index) => {
      this.append(uuid, chain.first + index, bytes);
    });
    for (const [sequence, bytes] of chain.summaries) this.putSummary(uuid, sequence, bytes);
    for (const [epoch, bytes] of chain.departures) this.putDeparture(uuid, epoch, bytes);
    this.putCredentials(uuid, chain.credentials);
  }

  /** Signed *departed* entries by the epoch that they end, ascending (SPEC 2). */
  departures(uuid: string): readonly Uint8Array[] {
    return this.#statements
      .prepare<[string], { bytes: Uint8Array }>('SELECT bytes FROM departure WHERE vm = ? ORDER BY epoch')
      .all(uuid)
      .map((row) => row.bytes);
  }

  putDeparture(uuid: string, epoch: number, bytes: Uint8Array): void {
    this.#statements.prepare('INSERT OR REPLACE INTO departure VALUES (?, ?, ?)').run(uuid, epoch, bytes);
  }

  credentials(uuid: string): readonly Credential[] {
    return this.#statements
      .prepare<[string], Credential>(
        'SELECT kind, digest, bytes FROM credential WHERE vm = ? ORDER BY kind, digest',
      )
      .all(uuid);
  }

  putCredentials(uuid: string, credentials: readonly Credential[]): void {
    const insert = this.#statements.prepare(
      'INSERT OR IGNORE INTO credential (vm, digest, kind, bytes) VALUES (?, ?, ?, ?)',
    );
    for (const { digest, kind, bytes } of credentials) insert.run(uuid, digest, kind, bytes);
  }

  /** Removes a VM's chain; what was set aside stays. */
  remove(uuid: string): void {
    for (const table of ['entry', 'summary', 'departure', 'credential'])
      this.#statements.prepare(`DELETE FROM ${table} WHERE vm = ?`).run(uuid);
  }
}
