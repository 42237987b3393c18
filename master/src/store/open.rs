//! Opening the database: version, settings of SQLite, the connection that writes and those that read.

use super::{Accounts, Record, Storage, StoreError, schema};
use common::SlaveId;
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Pages of the log before it is copied into the file: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4_000;
/// How long a connection waits for another one, such as a copy of the log into the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements kept prepared on one connection.
const STATEMENTS_MAX: usize = 64;

/// The embedded database, opened for writing.
pub(crate) struct SqliteStore {
    pub(super) connection: Connection,
    /// Keys of owners and slaves, so that a row names them by a number.
    pub(super) owners: HashMap<Arc<str>, i64>,
    pub(super) slaves: HashMap<SlaveId, i64>,
}

/// The database's file in a data folder.
pub(crate) fn database_path(data: &Path) -> PathBuf {
    data.join("ruche.db")
}

impl SqliteStore {
    /// Opens, or makes, the database of a data folder that the caller has locked.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer release.
    pub(crate) fn open(data: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(database_path(data))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = i64::try_from(schema::STEPS.len()).unwrap_or(i64::MAX);
        if found > known || found < 0 {
            return Err(StoreError::TooNew { found, known });
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "foreign_keys", "OFF")?;
        for (step, version) in schema::STEPS.iter().zip(1_i64..).skip(usize::try_from(found).unwrap_or(0)) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
        let mut store = Self { connection, owners: HashMap::new(), slaves: HashMap::new() };
        store.read_keys()?;
        Ok(store)
    }

    fn read_keys(&mut self) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare("SELECT name, key FROM owner")?;
        for row in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
            let (name, key) = row?;
            self.owners.insert(name.into(), key);
        }
        let mut statement = self.connection.prepare("SELECT id, key FROM slave")?;
        for row in statement.query_map([], |row| Ok((row.get(0).map(SlaveId)?, row.get(1)?)))? {
            let (id, key) = row?;
            self.slaves.insert(id, key);
        }
        Ok(())
    }

    /// Tests the whole file; the problems found, none when it is sound.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub(crate) fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare("PRAGMA integrity_check(20)")?;
        let found = statement.query_map([], |row| row.get::<_, String>(0))?;
        let problems: Vec<String> = found.collect::<Result<_, _>>()?;
        Ok(problems.into_iter().filter(|line| line != "ok").collect())
    }
}

impl Storage for SqliteStore {
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.write(records)
    }

    fn accounts(&mut self) -> Accounts<'_> {
        Accounts::new(&mut self.connection)
    }
}

/// A connection that only reads; it never delays the one that writes.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn open_reader(data: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database_path(data), flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}
