//! The tables. A step is never changed once released; a new one is added.

/// One step for each version; the file's version is how many were taken.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE owner (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE slave (
    key INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, name TEXT NOT NULL, retired INTEGER NOT NULL DEFAULT 0,
    enrolled_at INTEGER NOT NULL, seen_at INTEGER NOT NULL DEFAULT 0, instance INTEGER NOT NULL DEFAULT 0,
    slots INTEGER NOT NULL DEFAULT 0, languages BLOB NOT NULL DEFAULT x''
);
CREATE UNIQUE INDEX slave_name ON slave (name) WHERE retired = 0;
CREATE TABLE spec (
    key INTEGER PRIMARY KEY, name TEXT NOT NULL, language TEXT, priority INTEGER NOT NULL, hash BLOB NOT NULL,
    body BLOB NOT NULL
);
-- What pages and searches read comes first; the rest only when a row is shown.
CREATE TABLE program (
    sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, spec INTEGER NOT NULL, owner INTEGER NOT NULL,
    state INTEGER NOT NULL, slave INTEGER, attempt INTEGER NOT NULL DEFAULT 0, client BLOB NOT NULL,
    idx INTEGER NOT NULL, copies INTEGER NOT NULL, submitted_at INTEGER NOT NULL, started_at INTEGER,
    ended_at INTEGER, stdout_bytes INTEGER NOT NULL DEFAULT 0, stderr_bytes INTEGER NOT NULL DEFAULT 0,
    compile_bytes INTEGER NOT NULL DEFAULT 0, truncated INTEGER NOT NULL DEFAULT 0, cancel_by TEXT,
    outcome BLOB, usage BLOB, last_line TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX program_id ON program (id);
CREATE INDEX program_state ON program (state, sequence);
CREATE INDEX program_owner ON program (owner, state, sequence);
-- Ends of outputs that came with the result; key = sequence * 8 + stream (sequence * 4 before version 5).
CREATE TABLE output (key INTEGER PRIMARY KEY, start INTEGER NOT NULL, bytes BLOB NOT NULL);
-- How many programs of each owner are in each state: totals without counting.
CREATE TABLE total (
    owner INTEGER NOT NULL, state INTEGER NOT NULL, programs INTEGER NOT NULL, PRIMARY KEY (owner, state)
) WITHOUT ROWID;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE event (key INTEGER PRIMARY KEY, at INTEGER NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE user (name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, added_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE session (token BLOB PRIMARY KEY, user TEXT NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE invitation (secret BLOB PRIMARY KEY, expires_at INTEGER NOT NULL, uses INTEGER NOT NULL) WITHOUT ROWID;
", "
-- Each step of a program rewrites every index that has its state: one of them is enough, as the owners
-- of programs in a state are few and known from the totals.
DROP INDEX program_state;
", "
-- Attempts that ended with the loss of their slave; and why a person set a slave aside.
ALTER TABLE program ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE slave ADD COLUMN aside TEXT;
", "
ALTER TABLE slave ADD COLUMN revoked INTEGER NOT NULL DEFAULT 0;
-- Privileged and denied acts; each row's hash covers the one before, so that no row can be changed unnoticed.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, hash BLOB NOT NULL
);
-- Checksums of streamed outputs of programs that ended; none until they are computed. Key as in output.
CREATE TABLE seal (key INTEGER PRIMARY KEY, length INTEGER NOT NULL, sums BLOB);
CREATE INDEX seal_open ON seal (key) WHERE sums IS NULL;
", "
-- Collected files are a fourth stream: the keys of outputs and seals make room for it.
ALTER TABLE program ADD COLUMN files_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spec ADD COLUMN live INTEGER NOT NULL DEFAULT 0;
-- Which form a body has.
ALTER TABLE spec ADD COLUMN form INTEGER NOT NULL DEFAULT 0;
ALTER TABLE output RENAME TO output_before;
CREATE TABLE output (key INTEGER PRIMARY KEY, start INTEGER NOT NULL, bytes BLOB NOT NULL);
INSERT INTO output SELECT key / 4 * 8 + key % 4, start, bytes FROM output_before;
DROP TABLE output_before;
-- The sums of rows have another form: rows of before are taken as they are.
DELETE FROM seal WHERE key % 4 = 3;
ALTER TABLE seal RENAME TO seal_before;
CREATE TABLE seal (key INTEGER PRIMARY KEY, length INTEGER NOT NULL, sums BLOB);
INSERT INTO seal SELECT key / 4 * 8 + key % 4, length, sums FROM seal_before;
DROP TABLE seal_before;
CREATE INDEX seal_open ON seal (key) WHERE sums IS NULL;
", "
-- What people change of a program that is accepted: how long it may run, in microseconds, and that it stands still.
ALTER TABLE program ADD COLUMN wall_time INTEGER;
ALTER TABLE program ADD COLUMN suspend INTEGER NOT NULL DEFAULT 0;
", "
-- Copies that nobody touched have no rows in program: one row here stands for all that follow one another. Sequence
-- (first), ID and index (idx) are those of the first; copies are those of the whole submit.
CREATE TABLE array (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, id BLOB NOT NULL, idx INTEGER NOT NULL, copies INTEGER NOT NULL,
    spec INTEGER NOT NULL, owner INTEGER NOT NULL, client BLOB NOT NULL, submitted_at INTEGER NOT NULL
);
-- What a program has for its own where the arguments of its body are a template.
ALTER TABLE program ADD COLUMN entry BLOB;
"];
