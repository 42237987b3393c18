//! The slave's data folder: one slave at a time, and the users that its programs run as.

use crate::config::PROGRAM_UID_BASE;
use common::{ErrorCode, UserError, limits};
use rustix::fs::FlockOperation;
use std::{
    fs::{DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// Ranges of users that slaves of this machine choose from, beside the first one.
const RANGES: u32 = 64;
/// Where the further ranges begin: far above users of people and of containers.
const RANGES_BASE: u32 = 1_610_000_000;
/// Slaves of one machine agree here who has which range.
const RANGES_FOLDER: &str = "/run/ruche";

/// A data folder that is locked for this process.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder when it is not there, and locks it.
    ///
    /// # Errors
    /// When it cannot be used, or another slave uses it.
    pub fn open(path: &Path) -> Result<Self, UserError> {
        let unusable = |error: io::Error| {
            UserError::new(
                ErrorCode::DataUnusable,
                format!("the data folder {} cannot be used: {error}", path.display()),
            )
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = lock_file(&path.join("lock")).map_err(unusable)?;
        if !try_lock(&lock).map_err(unusable)? {
            let sentence = format!("another slave uses the data folder {}", path.display());
            return Err(UserError::new(ErrorCode::DataLocked, sentence)
                .with_hint("stop the other slave, or give this one its own `--data`"));
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A short word that tells this folder from others of this machine.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.path.hash(&mut hasher);
        format!("{:012x}", hasher.finish() & 0xffff_ffff_ffff)
    }
}

/// A range of users that no other slave of this machine uses while this lives.
#[derive(Debug)]
pub struct UserRange {
    /// The user of slot 0.
    pub base: u32,
    _lock: Option<File>,
}

impl UserRange {
    /// `configured`, or the first free range. Programs of two slaves must never share a user: ending all
    /// processes of a user would end the other's.
    ///
    /// # Errors
    /// When the configured range is taken, or all are.
    pub fn take(configured: Option<u32>) -> Result<Self, UserError> {
        let unavailable = |reason: String| UserError::new(ErrorCode::LimitUnavailable, reason);
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o755).create(RANGES_FOLDER) {
            tracing::warn!(%error, "slaves of this machine cannot agree on users: run only one as root");
            return Ok(Self { base: configured.unwrap_or(PROGRAM_UID_BASE), _lock: None });
        }
        let chosen = (1..RANGES).map(|range| RANGES_BASE + range * limits::SLOTS_MAX);
        let bases: Vec<u32> = match configured {
            Some(base) => vec![base],
            None => std::iter::once(PROGRAM_UID_BASE).chain(chosen).collect(),
        };
        for base in bases {
            let path = Path::new(RANGES_FOLDER).join(format!("programs-{base}.lock"));
            let lock = lock_file(&path).map_err(|error| unavailable(format!("{}: {error}", path.display())))?;
            if try_lock(&lock).map_err(|error| unavailable(format!("{}: {error}", path.display())))? {
                return Ok(Self { base, _lock: Some(lock) });
            }
        }
        Err(unavailable("another slave of this machine uses the users that programs would run as".to_owned())
            .with_hint("give each slave its own `program_uid_base`"))
    }
}

impl UserRange {
    /// What a launcher must keep so that the next agent of this slave has the same range, and nobody else meanwhile.
    #[must_use]
    pub fn to_keep(&self) -> (Vec<u8>, Option<BorrowedFd<'_>>) {
        (self.base.to_be_bytes().to_vec(), self._lock.as_ref().map(AsFd::as_fd))
    }

    /// The range that an agent before this one left with the launcher; none when it had none.
    #[must_use]
    pub fn kept(keep: &[u8], held: Option<OwnedFd>) -> Option<Self> {
        let base = u32::from_be_bytes(keep.try_into().ok()?);
        Some(Self { base, _lock: held.map(File::from) })
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e13_a_second_slave_on_one_data_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        assert!(DataFolder::open(&path).unwrap_err().is(ErrorCode::DataLocked));
        drop(first);
        DataFolder::open(&path).unwrap();
    }
}
