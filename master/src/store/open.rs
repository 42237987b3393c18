//! Opening the database: version, settings of SQLite, the connection that writes and those that read.

use super::{
    Accounts, Record, Storage, StoreError,
    arrays::Arrays,
    schema,
    wal::{self, with_suffix},
};
use crate::data_folder::same_boot;
use common::SlaveId;
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::HashMap,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Pages of the log before it is copied into the file and begins anew.
const CHECKPOINT_PAGES: u32 = 2_000;
/// What the log is as long as from the first: the pages above with their headers, and room for the transaction that
/// runs over. A sync of what lies within a file takes some 50 µs less of 200 than one that makes the file longer (measured on
/// ext4): the file system need not record where the file ends.
const LOG_BYTES: u64 = 9 << 20;
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
    /// Copies that have no rows.
    pub(super) arrays: Arrays,
}

/// The database's file in a data folder.
pub(crate) fn database_path(data: &Path) -> PathBuf {
    data.join("ruche.db")
}

impl SqliteStore {
    /// Opens, or makes, the database of a data folder that the caller has locked.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or was written by a newer release.
    pub(crate) fn open(data: &Path) -> Result<Self, StoreError> {
        look_for_damage(data)?;
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
        lengthen_log(&with_suffix(&database_path(data), "-wal"));
        let arrays = Arrays::load(&connection)?;
        let mut store = Self { connection, owners: HashMap::new(), slaves: HashMap::new(), arrays };
        store.read_keys()?;
        Ok(store)
    }

    /// Copies the log into the file and closes both.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.connection.close().map_err(|(_, error)| error.into())
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
}

impl Storage for SqliteStore {
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.write(records)
    }

    fn accounts(&mut self) -> Accounts<'_> {
        Accounts::new(&mut self.connection)
    }
}

/// Gives the log its usual length, with zeros behind what is in it: SQLite reads up to the first frame that is none,
/// and writes over what follows. Without the room for that the log grows as it is written.
fn lengthen_log(path: &Path) {
    let lengthen = || -> io::Result<()> {
        let mut log = std::fs::OpenOptions::new().write(true).open(path)?;
        let length = log.seek(SeekFrom::End(0))?;
        let mut zeros = io::repeat(0).take(LOG_BYTES.saturating_sub(length));
        let written = io::copy(&mut zeros, &mut log);
        if written.is_err() {
            log.set_len(length)?;
        }
        written.map(drop)
    };
    if let Err(error) = lengthen() {
        tracing::debug!(%error, path = %path.display(), "the log keeps its length");
    }
}

/// Finds what SQLite passes over: a log that lost what was synced, and a file that was cut.
///
/// # Errors
/// Says what is damaged.
pub(crate) fn look_for_damage(data: &Path) -> Result<(), StoreError> {
    let path = database_path(data);
    let unreadable = |error: std::io::Error| StoreError::Unreadable(format!("`{}`: {error}", path.display()));
    if let Some(what) = wal::damage(&path, same_boot(data)).map_err(unreadable)? {
        return Err(StoreError::Damaged(what));
    }
    let mut header = [0; 100];
    let length = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
        Ok(mut file) => {
            let length = file.metadata().map_err(unreadable)?.len();
            if length == 0 {
                // A crash at the very first start: nothing was in it.
                return Ok(());
            }
            if std::io::Read::read_exact(&mut file, &mut header).is_err() {
                return Err(StoreError::Damaged("the database is cut".to_owned()));
            }
            length
        }
    };
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    // The count of pages is valid when the two counters of changes agree.
    let begins = &header[..16] == b"SQLite format 3\0";
    if !begins || (number(24) == number(92) && length < page * u64::from(number(28))) {
        // A checkpoint that was cut short has brought the new count and not yet the last pages: the log has them.
        let logged = wal::pages(&path).map_err(unreadable)?;
        let mut missing = if begins { length / page.max(512) + 1..=u64::from(number(28)) } else { 1..=1 };
        if missing.all(|page| logged.contains(&page)) {
            return Ok(());
        }
        return Err(StoreError::Damaged("the database is cut, or its beginning was changed".to_owned()));
    }
    Ok(())
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
