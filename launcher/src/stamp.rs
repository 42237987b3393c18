//! What tells whether anybody changed a folder.

use nix::sys::stat::fstat;
use std::{io, os::fd::BorrowedFd};

/// What a folder's inode tells; any change to the folder changes the time of change at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderStamp {
    changed: (i64, i64),
    written: (i64, i64),
    mode: u32,
    owner: (u32, u32),
    links: u64,
}

impl FolderStamp {
    /// Of an open folder, as it is now.
    ///
    /// # Errors
    /// When the system cannot tell.
    #[expect(clippy::useless_conversion, reason = "the types of these fields differ between processors")]
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let found = fstat(fd)?;
        Ok(Self {
            changed: (found.st_ctime, found.st_ctime_nsec),
            written: (found.st_mtime, found.st_mtime_nsec),
            mode: found.st_mode,
            owner: (found.st_uid, found.st_gid),
            links: found.st_nlink.into(),
        })
    }

    /// Whether a change from now on would get another time. The kernel's clock for files goes in steps of some
    /// milliseconds.
    #[must_use]
    pub fn shows_changes(&self) -> bool {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE);
        now.is_ok_and(|now| self.changed < (now.tv_sec(), now.tv_nsec()))
    }
}
