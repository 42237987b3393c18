//! Who did or was denied what: rows that are only added, each with a hash that covers the one before.

use super::{Accounts, StoreError, accounts::storage, commit::signed};
use common::{Timestamp, UserError, escape::shorten};
use rusqlite::{Connection, OptionalExtension, params};

/// Bytes kept of who acted, and of what was done.
const WHO_BYTES_MAX: usize = 256;
const WHAT_BYTES_MAX: usize = 1_024;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditRow {
    pub(crate) sequence: u64,
    pub(crate) at: Timestamp,
    pub(crate) who: String,
    pub(crate) what: String,
}

/// The hash of a row: of its content, the lengths of its texts, and the hash of the row before.
fn hash_of(previous: &[u8; 32], row: &AuditRow) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(&row.sequence.to_le_bytes()).update(&row.at.0.to_le_bytes());
    for text in [&row.who, &row.what] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Adds a row in the transaction that is open, or in one of its own.
pub(super) fn add(connection: &Connection, at: Timestamp, who: &str, what: &str) -> Result<(), rusqlite::Error> {
    let last = connection
        .prepare_cached("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))
        .optional()?;
    let (sequence, previous) = last.unwrap_or((0, [0; 32]));
    let (who, what) = (shorten(who, WHO_BYTES_MAX), shorten(what, WHAT_BYTES_MAX));
    let row = AuditRow { sequence: sequence + 1, at, who: who.to_string(), what: what.to_string() };
    let sql = "INSERT INTO audit (sequence, at, who, what, hash) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![signed(row.sequence), signed(at.0), row.who, row.what, hash_of(&previous, &row)];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// All rows, oldest first.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn rows(connection: &Connection) -> Result<Vec<(AuditRow, [u8; 32])>, StoreError> {
    let mut statement = connection.prepare("SELECT sequence, at, who, what, hash FROM audit ORDER BY sequence")?;
    let rows = statement.query_map([], |row| {
        let read = AuditRow {
            sequence: row.get::<_, i64>(0)?.cast_unsigned(),
            at: Timestamp(row.get::<_, i64>(1)?.cast_unsigned()),
            who: row.get(2)?,
            what: row.get(3)?,
        };
        Ok((read, row.get(4)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What is wrong with the chain; none when it is whole.
pub(crate) fn broken(rows: &[(AuditRow, [u8; 32])]) -> Option<String> {
    let mut previous = [0; 32];
    for ((row, hash), expected) in rows.iter().zip(1..) {
        if row.sequence != expected {
            return Some(format!("entry {expected} of the audit is missing"));
        }
        if hash_of(&previous, row) != *hash {
            return Some(format!("entry {expected} of the audit, or its hash, was changed"));
        }
        previous = *hash;
    }
    None
}

impl Accounts<'_> {
    /// Does something and records that it was done, in one transaction: neither stands without the other.
    pub(crate) fn audited<R>(
        &mut self,
        who: &str,
        what: &str,
        act: impl FnOnce(&mut Self) -> Result<R, UserError>,
    ) -> Result<R, UserError> {
        self.connection().execute_batch("BEGIN IMMEDIATE").map_err(storage)?;
        let result = act(self).and_then(|done| {
            add(self.connection(), transport::clock::now(), who, what).map_err(storage)?;
            self.connection().execute_batch("COMMIT").map_err(storage)?;
            Ok(done)
        });
        if result.is_err() && !self.connection().is_autocommit() {
            self.connection().execute_batch("ROLLBACK").map_err(storage)?;
        }
        result
    }

    /// All acts, oldest first, and what is wrong with the chain.
    pub(crate) fn audit(&mut self) -> Result<(Vec<AuditRow>, Option<String>), UserError> {
        let rows = rows(self.connection())?;
        let problem = broken(&rows);
        Ok((rows.into_iter().map(|(row, _)| row).collect(), problem))
    }

    /// Records acts that change nothing here, such as refusals.
    pub(crate) fn note(&mut self, acts: &[(Timestamp, String, String)]) -> Result<(), UserError> {
        let transaction = self.connection().unchecked_transaction().map_err(storage)?;
        for (at, who, what) in acts {
            add(&transaction, *at, who, what).map_err(storage)?;
        }
        transaction.commit().map_err(storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SqliteStore, Storage};

    #[test]
    fn a20_a_changed_removed_or_inserted_entry_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let acts: Vec<_> = (1..=5).map(|n| (Timestamp(n), "ann".to_owned(), format!("did thing {n}"))).collect();
        store.accounts().note(&acts).unwrap();
        store.accounts().audited("bob", "nothing", |_| Ok(())).unwrap();
        let failed =
            store.accounts().audited("bob", "failed", |_| Err::<(), _>(StoreError::Unreadable("x".into()).into()));
        failed.unwrap_err();
        let whole = rows(&store.connection).unwrap();
        assert_eq!((whole.len(), broken(&whole)), (6, None));
        assert_eq!((whole[5].0.who.as_str(), whole[5].0.what.as_str()), ("bob", "nothing"));
        for (change, entry) in [
            ("UPDATE audit SET what = 'did thing 9' WHERE sequence = 3", 3),
            ("UPDATE audit SET at = 7 WHERE sequence = 1", 1),
            ("UPDATE audit SET who = 'annd', what = 'id thing 2' WHERE sequence = 2", 2),
            ("DELETE FROM audit WHERE sequence = 4", 4),
            ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 6", 6),
            ("INSERT INTO audit SELECT 7, at, who, what, hash FROM audit WHERE sequence = 6", 7),
        ] {
            store.connection.execute_batch("SAVEPOINT change").unwrap();
            assert_eq!(store.connection.execute(change, []).unwrap(), 1);
            let problem = broken(&rows(&store.connection).unwrap()).unwrap();
            assert!(problem.contains(&format!("entry {entry}")), "{change}: {problem}");
            store.connection.execute_batch("ROLLBACK TO change; RELEASE change").unwrap();
        }
    }
}
