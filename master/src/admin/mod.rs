//! Administration: the same operations on a running master, through its local socket, and on a
//! stopped one, on its files.

mod ask;
pub(crate) mod control;
pub(crate) mod perform;

pub(crate) use ask::address_file;
pub use ask::ask;

use crate::{
    secrets,
    store::{accounts::UserRow, audit::AuditRow},
};
use common::{ErrorCode, SlaveId, Timestamp, UserError, escape::RawText, limits::PEER_NAME_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// What an administrator may ask. Passwords and join secrets travel as hashes only.
#[derive(Debug, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Adds a user.
    UserAdd {
        /// The name.
        name: String,
        /// The role's word.
        role: String,
        /// The password's hash.
        hash: String,
    },
    /// Lists the users.
    UserList,
    /// Sets a password; sessions of the user end.
    UserPasswd {
        /// The name.
        name: String,
        /// The password's hash.
        hash: String,
    },
    /// Removes a user; sessions of the user end.
    UserRemove {
        /// The name.
        name: String,
    },
    /// Keeps a join secret.
    Invite {
        /// The secret's hash.
        hash: [u8; 32],
        /// When it runs out.
        expires: Timestamp,
        /// How often it may be used.
        uses: u32,
    },
    /// Asks for the pin.
    Pin,
    /// Tests database, outputs and audit.
    Check,
    /// Sets a role; sessions of the user end.
    UserRole {
        /// The name.
        name: String,
        /// The role's word.
        role: String,
    },
    /// Ends all sessions of a user, who stays out until another password is set.
    RevokeUser {
        /// The name.
        name: String,
    },
    /// Cuts a slave and lets it in no more.
    RevokeSlave {
        /// The name.
        name: String,
    },
    /// Records that somebody makes a backup; whoever asks copies the files.
    NoteBackup {
        /// Where it goes.
        to: String,
    },
    /// Asks who did or was denied what.
    Audit,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum AdminAnswer {
    /// Done.
    Done,
    /// The users.
    Users(Vec<User>),
    /// The secret is kept; where slaves find the master and how they know it.
    Invited {
        /// `HOST:PORT` that the master listens at.
        address: String,
        /// The CA's pin.
        pin: String,
    },
    /// The CA's pin.
    Pin(String),
    /// Problems found; none when all is sound.
    Checked(Vec<String>),
    /// This slave was revoked.
    Revoked(SlaveId),
    /// The audit, oldest first, and what is wrong with it.
    Audit {
        /// The entries.
        entries: Vec<AuditEntry>,
        /// Why it cannot be trusted; none when it is whole.
        problem: Option<String>,
    },
}

/// One entry of the audit.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1 without a gap.
    pub sequence: u64,
    /// When, on the wall clock.
    pub at: Timestamp,
    /// Who acted, and from where.
    pub who: String,
    /// What was done or denied.
    pub what: String,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self { sequence: row.sequence, at: row.at, who: row.who, what: row.what }
    }
}

/// One user.
#[derive(Debug, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The role's word.
    pub role: String,
    /// When the user was added, microseconds since the epoch.
    pub added_at: u64,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self { name: row.name, role: row.role, added_at: row.added_at }
    }
}

/// Checks the name of a user or slave: letters, digits and `. _ - @` only, so that no two names look alike.
///
/// # Errors
/// Says what is accepted.
pub fn check_name(what: &str, name: &str) -> Result<(), UserError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= PEER_NAME_BYTES_MAX && name.chars().all(good) {
        return Ok(());
    }
    let sentence = format!("`{}` cannot be the name of a {what}", RawText::from(name));
    Err(UserError::new(ErrorCode::RequestInvalid, sentence).with_hint(format!(
        "a name has 1 to {PEER_NAME_BYTES_MAX} letters, digits and . _ - @, a letter or digit first"
    )))
}

/// What is kept of a password, which is checked first.
///
/// # Errors
/// `E-PASSWORD-WEAK` when it is too short or too long.
pub fn password_hash(password: &str) -> Result<String, UserError> {
    secrets::check_password(password)?;
    secrets::hash_password(password)
}

/// A new join secret and what is kept of it.
///
/// # Errors
/// When the system has no random bytes.
pub fn join_secret() -> Result<(String, [u8; 32]), UserError> {
    let secret = secrets::token()?;
    let hash = secrets::token_hash(&secret);
    Ok((secret, hash))
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_line(line: &str) {
    drop(serde_json::from_str::<AdminRequest>(line));
    drop(serde_json::from_str::<Result<AdminAnswer, UserError>>(line));
}
