//! What recovery and history read. One thread writes, one synced transaction a batch; two threads read.

pub(crate) mod accounts;
mod arrays;
pub(crate) mod audit;
mod body;
pub(crate) mod check;
pub(crate) mod commit;
pub(crate) mod files;
pub(crate) mod history;
pub(crate) mod inputs;
pub(crate) mod load;
pub(crate) mod open;
mod pages;
pub(crate) mod query;
pub(crate) mod record;
mod schema;
pub(crate) mod seal;
#[cfg(test)]
mod tests;
mod wal;
pub(crate) mod worker;

pub(crate) use accounts::Accounts;
pub(crate) use open::SqliteStore;
pub(crate) use record::{Changed, Ended, Moved, NewArray, NewProgram, Record, SlaveSeen};

use common::{ErrorCode, UserError};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// No room on the disk; the transaction was undone.
    #[error("the disk is full")]
    Full(#[source] rusqlite::Error),
    /// Anything else: what the disk holds is not known until it is opened again.
    #[error("the database failed")]
    Failed(#[source] rusqlite::Error),
    /// A stored value is not what it should be.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
    /// What the disk holds is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// Written by a newer release.
    #[error("schema {found} is newer than this release's {known}")]
    TooNew {
        /// The version in the file.
        found: i64,
        /// The newest that this release knows.
        known: i64,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(error),
            _ => Self::Failed(error),
        }
    }
}

impl From<StoreError> for UserError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Full(_) => Self::new(ErrorCode::StorageFull, "the master's disk is full"),
            StoreError::Failed(source) => {
                Self::new(ErrorCode::StorageFailed, format!("the master's database failed: {source}"))
            }
            StoreError::Unreadable(what) => {
                Self::new(ErrorCode::StorageFailed, format!("the master's database holds something unreadable: {what}"))
            }
            StoreError::Damaged(what) => Self::new(ErrorCode::StorageFailed, format!("the data folder is damaged: {what}"))
                .with_hint("keep a copy of the data folder, and restore the last backup into a new one with `ruche-master restore`"),
            StoreError::TooNew { found, known } => Self::new(
                ErrorCode::DataTooNew,
                format!("the data folder has schema {found}; this release knows {known} and older"),
            ),
        }
    }
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_log(log: &[u8], index: &[u8]) {
    wal::fuzz(log, index);
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_body(form: i64, bytes: &[u8]) {
    if let Ok(spec) = body::decode(form, bytes) {
        drop(spec.validate());
    }
}

/// What the event loop needs of a store that writes. A standby pair will have another one.
pub(crate) trait Storage: Send {
    /// Writes all records in one transaction; when it returns `Ok` they survive a loss of power.
    ///
    /// # Errors
    /// Nothing was written on [`StoreError::Full`]; after any other error the store must not be used.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Users, sessions, join secrets and slaves.
    fn accounts(&mut self) -> Accounts<'_>;
}
