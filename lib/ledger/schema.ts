/**
 * Tables of the host's journal. One file per host, `PRAGMA synchronous = FULL`: a decision is on disk before its
 * effect (DESIGN 5). Hashes and wire bytes are BLOBs, UUIDs text, times milliseconds since 1970.
 */
export const schemaVersion = 6;

/** Since version 2: what happened to sessions, and entries that were set aside when this host gave its copy up (SPEC 6.9). */
const steps = `
CREATE TABLE session_step (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session BLOB NOT NULL,
  time INTEGER NOT NULL,
  state TEXT NOT NULL,
  note TEXT NOT NULL
) STRICT;
CREATE INDEX session_step_session ON session_step (session, id);
CREATE TABLE set_aside (
  vm TEXT NOT NULL,
  session BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (vm, session, sequence)
) STRICT, WITHOUT ROWID;
`;

/** Since version 3: summaries by the sequence number of their checkpoint (SPEC 4.1): where a chain can be read from. */
const summaries = `
CREATE TABLE summary (
  vm TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (vm, sequence)
) STRICT, WITHOUT ROWID;
`;

/** Since version 4: what a vTPM's state was when it was last looked at, and what it was before (SPEC 8.4). */
const vtpmStates = `
CREATE TABLE vtpm_state (
  vm TEXT PRIMARY KEY,
  standing TEXT NOT NULL,
  digest BLOB,
  time INTEGER NOT NULL
) STRICT;
CREATE TABLE vtpm_past (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  vm TEXT NOT NULL,
  digest BLOB NOT NULL,
  UNIQUE (vm, digest)
) STRICT;
`;

/** Since version 5: rows of the ledger, where it is this host's own (SPEC 8.6). */
const ledger = `
CREATE TABLE ledger (
  vm TEXT PRIMARY KEY,
  row BLOB NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** Since version 6: each new session looks for old ones to forget, and must not read all of them for that. */
const sessionAge = `
CREATE INDEX session_updated ON session (updated);
`;

/** What leads from each earlier version to the next. */
export const upgrades: Readonly<Record<number, string>> = {
  1: `ALTER TABLE session ADD COLUMN problem TEXT NOT NULL DEFAULT '';${steps}`,
  2: summaries,
  3: vtpmStates,
  4: ledger,
  5: sessionAge,
};

export const schema = `
CREATE TABLE vm (
  uuid TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  head BLOB NOT NULL,
  facts BLOB NOT NULL,
  vtpm BLOB,
  secret TEXT NOT NULL,
  sealed BLOB,
  context BLOB,
  holder TEXT NOT NULL
) STRICT;
CREATE TABLE entry (
  vm TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (vm, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE departure (
  vm TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (vm, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE credential (
  vm TEXT NOT NULL,
  digest BLOB NOT NULL,
  kind TEXT NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (vm, kind, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE session (
  id BLOB PRIMARY KEY,
  vm TEXT NOT NULL,
  role TEXT NOT NULL,
  state TEXT NOT NULL,
  peer TEXT NOT NULL,
  address TEXT NOT NULL,
  started INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX session_vm ON session (vm, role, state);${sessionAge}${steps}${summaries}${vtpmStates}${ledger}CREATE TABLE permit (
  vm TEXT PRIMARY KEY,
  session BLOB NOT NULL,
  facts BLOB NOT NULL,
  verdict BLOB NOT NULL,
  expires INTEGER NOT NULL,
  consumed INTEGER
) STRICT;
CREATE TABLE refusal (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL,
  vm TEXT,
  peer TEXT,
  operation TEXT NOT NULL,
  reason TEXT NOT NULL,
  verdict TEXT
) STRICT;
CREATE TABLE setting (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`;
