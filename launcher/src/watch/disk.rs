//! The disk that a program takes: its working folder, files that it removed and still has open, and its private
//! `/tmp`. And whether the file system has room left for the slave itself.

use super::walk::{Sum, Walk};
use nix::sys::statvfs::{Statvfs, fstatvfs, statvfs};
use std::{
    collections::BTreeSet,
    fs,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    time::{Duration, Instant},
};

/// Entries that are looked at in one go, about two milliseconds.
const ENTRIES_PER_TICK: usize = 1_000;
/// Entries of a whole look: at the end of a program, and before one is ended.
const ENTRIES_AT_ONCE_MAX: usize = 1_000_000;
/// Between two walks at least this, and this many times as long as the last one took.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 20;
/// A walk is due after this in any case, though the file system looks as before.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Less change of the free space than this is no reason for a walk.
const CHANGE_MIN_BYTES: u64 = 1 << 20;
/// What the file system keeps for the slave: its records and what others wrote.
const RESERVE_BYTES: u64 = 128 << 20;
const RESERVE_FILES: u64 = 4_096;
/// A program that takes less than this is not the one to blame for a full file system.
const BLAMED_BYTES_MIN: u64 = 32 << 20;
const BLAMED_FILES_MIN: u64 = 1_024;

/// What a look at the disk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All is well, as far as was seen.
    Fine,
    /// It takes this much, which is over the limit.
    Over(u64),
    /// It takes this much, and the file system has only so much left.
    NoSpace {
        /// What the program takes.
        used: u64,
        /// What is left.
        left: u64,
    },
}

/// The watch over one program.
pub(crate) struct Disk {
    limit: u64,
    private_tmp: bool,
    free_at_start: u64,
    free_at_walk: u64,
    walk: Option<Walk>,
    walk_took: Duration,
    /// Of the last complete walk.
    last: Sum,
    next_walk: Instant,
    walk_at_the_latest: Instant,
}

impl Disk {
    pub(crate) fn new(folder: BorrowedFd<'_>, limit: u64, private_tmp: bool, now: Instant) -> Self {
        let free = fstatvfs(folder).map_or(0, |found| free_bytes(&found));
        Self {
            limit,
            private_tmp,
            free_at_start: free,
            free_at_walk: free,
            walk: None,
            walk_took: Duration::ZERO,
            last: Sum::default(),
            next_walk: now,
            walk_at_the_latest: now,
        }
    }

    /// Looks on for a bounded while. What is over the limit is to be confirmed by [`Disk::measure`]: a file that is
    /// moved meanwhile may have been seen twice.
    pub(crate) fn tick(&mut self, folder: BorrowedFd<'_>, pids: &BTreeSet<i32>, now: Instant) -> Finding {
        if self.walk.is_none() {
            let free = fstatvfs(folder).ok();
            if let Some(finding) = free.as_ref().and_then(|found| self.no_space(found)) {
                return finding;
            }
            let free = free.as_ref().map_or(self.free_at_walk, free_bytes);
            let changed = free.abs_diff(self.free_at_walk) >= CHANGE_MIN_BYTES;
            if now < self.next_walk || !(changed || now >= self.walk_at_the_latest) {
                return self.verdict(self.last.bytes);
            }
            self.free_at_walk = free;
            self.walk = Walk::begin(folder).ok();
            self.walk_took = Duration::ZERO;
        }
        let Some(walk) = &mut self.walk else { return Finding::Fine };
        let begun = Instant::now();
        let complete = walk.go_on(ENTRIES_PER_TICK);
        self.walk_took += begun.elapsed();
        let sum = walk.sum;
        if complete {
            self.walk = None;
            self.last = sum;
            let now = now.max(Instant::now());
            self.next_walk = now + (self.walk_took * PAUSE_FACTOR).max(PAUSE_MIN);
            self.walk_at_the_latest = self.next_walk + PAUSE_MAX;
        }
        let hidden = if complete { self.hidden(folder, pids) } else { 0 };
        self.verdict(sum.bytes + hidden)
    }

    /// Everything at once. The program stands still or is gone.
    pub(crate) fn measure(&mut self, folder: BorrowedFd<'_>, pids: &BTreeSet<i32>) -> Finding {
        self.walk = None;
        if let Ok(mut walk) = Walk::begin(folder) {
            walk.go_on(ENTRIES_AT_ONCE_MAX);
            self.last = walk.sum;
        }
        let hidden = self.hidden(folder, pids);
        self.verdict(self.last.bytes + hidden)
    }

    /// What its private `/tmp` takes, which is memory as well.
    pub(crate) fn tmp_bytes(&self) -> u64 {
        if !self.private_tmp {
            return 0;
        }
        statvfs("/tmp")
            .map_or(0, |found| found.blocks().saturating_sub(found.blocks_free()).saturating_mul(found.fragment_size()))
    }

    fn verdict(&self, bytes: u64) -> Finding {
        let used = bytes.saturating_add(self.tmp_bytes());
        if used > self.limit { Finding::Over(used) } else { Finding::Fine }
    }

    fn no_space(&self, found: &Statvfs) -> Option<Finding> {
        let (left, used) = (free_bytes(found), self.last);
        let short = left < RESERVE_BYTES.min(found.blocks().saturating_mul(found.fragment_size()) / 10);
        // A file system that does not count its files says 0 of 0.
        let crowded = found.files() > 0 && found.files_available() < RESERVE_FILES.min(found.files() / 10);
        let blamed = short && used.bytes >= BLAMED_BYTES_MIN || crowded && used.entries >= BLAMED_FILES_MIN;
        blamed.then_some(Finding::NoSpace { used: used.bytes, left })
    }

    /// Files without a name that processes still have open. Looked for when the file system lost more than the walk
    /// has seen.
    fn hidden(&self, folder: BorrowedFd<'_>, pids: &BTreeSet<i32>) -> u64 {
        let free = fstatvfs(folder).map_or(u64::MAX, |found| free_bytes(&found));
        let lost = self.free_at_start.saturating_sub(free);
        if pids.is_empty() || lost <= self.last.bytes + (self.limit / 8).max(CHANGE_MIN_BYTES) {
            return 0;
        }
        let Ok(device) = nix::sys::stat::fstat(folder).map(|found| found.st_dev) else { return 0 };
        let mut seen = BTreeSet::new();
        let mut bytes = 0_u64;
        for pid in pids {
            let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for entry in open.flatten() {
                let Ok(found) = fs::metadata(entry.path()) else { continue };
                if found.is_file() && found.nlink() == 0 && found.dev() == device && seen.insert(found.ino()) {
                    bytes = bytes.saturating_add(found.blocks() * 512);
                }
            }
        }
        bytes
    }
}

/// For those who are not root.
fn free_bytes(found: &Statvfs) -> u64 {
    found.blocks_available().saturating_mul(found.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::fd::AsFd};

    #[test]
    fn i15_a_file_without_a_name_counts_while_it_is_open() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let own = BTreeSet::from([std::process::id().cast_signed()]);
        let mut disk = Disk::new(root.as_fd(), 4 << 20, false, Instant::now());
        let mut file = tempfile::tempfile_in(folder.path()).unwrap();
        file.write_all(&vec![1; 64 << 20]).unwrap();
        file.sync_all().unwrap();
        // Others write to the disk of this machine as well: what they free must not hide it here.
        disk.free_at_start = u64::MAX;
        let Finding::Over(used) = disk.measure(root.as_fd(), &own) else { panic!("not seen") };
        assert!((64 << 20..65 << 20).contains(&used), "{used}");
        drop(file);
        assert_eq!(disk.measure(root.as_fd(), &own), Finding::Fine);
    }

    #[test]
    fn i15_a_walk_is_made_again_when_the_disk_changes() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let start = Instant::now();
        let none = BTreeSet::new();
        let mut disk = Disk::new(root.as_fd(), 4 << 20, false, start);
        assert_eq!(disk.tick(root.as_fd(), &none, start), Finding::Fine);
        fs::write(folder.path().join("large"), vec![1; 8 << 20]).unwrap();
        let later = start + PAUSE_MIN + PAUSE_MAX + Duration::from_secs(1);
        assert!(matches!(disk.tick(root.as_fd(), &none, later), Finding::Over(8_388_608..)));
    }
}
