//! The disk that a program takes: its working folder, files that it removed and still has open, and its private
//! `/tmp`. And whether the file system has room left for the slave itself.

use super::{
    hidden::Hidden,
    walk::{Sum, Walk},
};
use nix::sys::statvfs::{Statvfs, fstatvfs, statvfs};
use std::{
    collections::BTreeSet,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

/// Entries that are looked at in one go, about two milliseconds.
const ENTRIES_PER_TICK: usize = 1_000;
/// Entries of a whole look at the end of a program.
const ENTRIES_AT_ONCE_MAX: usize = 1_000_000;
/// Between two walks at least this, and this many times as long as the last one took.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 20;
/// A walk is due after this in any case, though the file system looks as before.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a look at the free space is good enough for the start of a program.
const FREE_LASTS: Duration = Duration::from_millis(10);
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
    /// Of files without a name, seen with that walk.
    last_hidden: Hidden,
    /// There was a complete walk.
    walked: bool,
    /// When files without a name may be looked for beside a walk.
    next_hidden: Instant,
    next_walk: Instant,
    walk_at_the_latest: Instant,
}

impl Disk {
    /// `free` is what the file system has left at the start.
    pub(crate) fn new(free: u64, limit: u64, private_tmp: bool, now: Instant) -> Self {
        Self {
            limit,
            private_tmp,
            free_at_start: free,
            free_at_walk: free,
            walk: None,
            walk_took: Duration::ZERO,
            last: Sum::default(),
            last_hidden: Hidden::default(),
            walked: false,
            next_hidden: now,
            next_walk: now,
            walk_at_the_latest: now,
        }
    }

    /// Looks on for a bounded while. What is over the limit is to be confirmed with [`Disk::begin_measure`]: a file
    /// that is moved meanwhile may have been seen twice.
    pub(crate) fn tick(&mut self, folder: BorrowedFd<'_>, pids: &BTreeSet<i32>, now: Instant) -> Finding {
        if self.walk.is_none() {
            let free = fstatvfs(folder).ok();
            if let Some(finding) = free.as_ref().and_then(|found| self.no_space(found, folder, pids, now)) {
                return finding;
            }
            let free = free.as_ref().map_or(self.free_at_walk, free_bytes);
            let changed = free.abs_diff(self.free_at_walk) >= CHANGE_MIN_BYTES;
            if now < self.next_walk || !(changed || now >= self.walk_at_the_latest) {
                return self.verdict(self.last_bytes());
            }
            self.free_at_walk = free;
            self.walk = Walk::begin(folder).ok();
            self.walk_took = Duration::ZERO;
        }
        let Some(walk) = &mut self.walk else { return Finding::Fine };
        let begun = Instant::now();
        let complete = walk.go_on(ENTRIES_PER_TICK);
        let sum = walk.sum;
        if complete {
            self.walk = None;
            self.last = sum;
            // A program that ends at once is spared the look at its processes.
            if std::mem::replace(&mut self.walked, true) {
                self.last_hidden = Hidden::of(folder, pids);
            }
        }
        self.walk_took += begun.elapsed();
        if complete {
            let now = now.max(Instant::now());
            self.next_walk = now + (self.walk_took * PAUSE_FACTOR).max(PAUSE_MIN);
            self.walk_at_the_latest = self.next_walk + PAUSE_MAX;
        }
        self.verdict(sum.bytes.saturating_add(self.last_hidden.bytes))
    }

    /// Begins a look at everything, while the program stands still.
    pub(crate) fn begin_measure(&mut self, folder: BorrowedFd<'_>) {
        self.walk = Walk::begin(folder).ok();
    }

    /// Goes on with it for a bounded while. None when it is not done.
    pub(crate) fn go_on_measuring(&mut self, folder: BorrowedFd<'_>, pids: &BTreeSet<i32>) -> Option<Finding> {
        if let Some(walk) = &mut self.walk {
            if !walk.go_on(ENTRIES_PER_TICK) {
                return None;
            }
            self.last = walk.sum;
            self.walk = None;
        }
        self.last_hidden = Hidden::of(folder, pids);
        Some(self.verdict(self.last_bytes()))
    }

    /// Everything at once. The program is gone, and with it what had no name.
    pub(crate) fn measure(&mut self, folder: BorrowedFd<'_>) -> Finding {
        self.walk = None;
        if let Ok(mut walk) = Walk::begin(folder) {
            walk.go_on(ENTRIES_AT_ONCE_MAX);
            self.last = walk.sum;
        }
        self.last_hidden = Hidden::default();
        self.verdict(self.last.bytes)
    }

    /// As [`Disk::measure`], of one whose working folder is as empty as it was; what its private `/tmp` takes, when
    /// that is known.
    pub(crate) fn measure_tmp(&self, tmp: Option<u64>) -> Finding {
        match tmp.unwrap_or_else(|| self.tmp_bytes()) {
            used if used > self.limit => Finding::Over(used),
            _ => Finding::Fine,
        }
    }

    /// What its private `/tmp` takes, which is memory as well.
    pub(crate) fn tmp_bytes(&self) -> u64 {
        if !self.private_tmp {
            return 0;
        }
        statvfs("/tmp")
            .map_or(0, |found| found.blocks().saturating_sub(found.blocks_free()).saturating_mul(found.fragment_size()))
    }

    const fn last_bytes(&self) -> u64 {
        self.last.bytes.saturating_add(self.last_hidden.bytes)
    }

    fn verdict(&self, bytes: u64) -> Finding {
        let used = bytes.saturating_add(self.tmp_bytes());
        if used > self.limit { Finding::Over(used) } else { Finding::Fine }
    }

    /// Whether the file system is short of room by what this program takes.
    fn no_space(
        &mut self,
        found: &Statvfs,
        folder: BorrowedFd<'_>,
        pids: &BTreeSet<i32>,
        now: Instant,
    ) -> Option<Finding> {
        let left = free_bytes(found);
        let reserve = RESERVE_BYTES.min(found.blocks().saturating_mul(found.fragment_size()) / 10);
        let short = left < reserve;
        // A file system that does not count its files says 0 of 0.
        let crowded = found.files() > 0 && found.files_available() < RESERVE_FILES.min(found.files() / 10);
        if short && self.last_bytes() < BLAMED_BYTES_MIN && now >= self.next_hidden {
            let begun = Instant::now();
            self.last_hidden = Hidden::of(folder, pids);
            self.next_hidden = now + (begun.elapsed() * PAUSE_FACTOR).max(PAUSE_MIN);
        }
        let used = self.last_bytes();
        let lost = self.free_at_start.saturating_sub(left);
        let blamed =
            short && self.is_to_blame(lost, left < reserve / 2) || crowded && self.last.entries >= BLAMED_FILES_MIN;
        blamed.then_some(Finding::NoSpace { used, left })
    }

    /// Nothing says how large the files are that lie in a socket's queue, or, without the right to ask, behind a
    /// mapping: who may have them ends when the file system loses room and nothing else explains it.
    const fn is_to_blame(&self, lost: u64, nearly_full: bool) -> bool {
        let hidden = &self.last_hidden;
        self.last_bytes() >= BLAMED_BYTES_MIN
            || hidden.mapped >= BLAMED_BYTES_MIN
            || nearly_full && hidden.sockets && lost >= BLAMED_BYTES_MIN
    }
}

/// What a file system has left, looked at now and then: it is only to tell whose doing it is when there is little.
#[derive(Default)]
pub(crate) struct Free(Option<(Instant, u64)>);

impl Free {
    /// The same for all folders of a slot.
    pub(crate) fn of(&mut self, folder: BorrowedFd<'_>, now: Instant) -> u64 {
        match self.0 {
            Some((at, free)) if now.saturating_duration_since(at) < FREE_LASTS => free,
            _ => {
                let free = fstatvfs(folder).map_or(0, |found| free_bytes(&found));
                self.0 = Some((now, free));
                free
            }
        }
    }
}

/// For those who are not root.
fn free_bytes(found: &Statvfs) -> u64 {
    found.blocks_available().saturating_mul(found.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::fd::AsFd};

    #[test]
    fn i15_a_file_without_a_name_counts_while_it_is_open() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let own = BTreeSet::from([std::process::id().cast_signed()]);
        let mut disk = Disk::new(u64::MAX, 4 << 20, false, Instant::now());
        let mut file = tempfile::tempfile_in(folder.path()).unwrap();
        file.write_all(&vec![1; 64 << 20]).unwrap();
        file.sync_all().unwrap();
        disk.begin_measure(root.as_fd());
        let Some(Finding::Over(used)) = disk.go_on_measuring(root.as_fd(), &own) else { panic!("not seen") };
        assert!((64 << 20..65 << 20).contains(&used), "{used}");
        drop(file);
        disk.begin_measure(root.as_fd());
        assert_eq!(disk.go_on_measuring(root.as_fd(), &own), Some(Finding::Fine));
    }

    #[test]
    fn i15_a_walk_is_made_again_when_the_disk_changes() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let start = Instant::now();
        let none = BTreeSet::new();
        let free = Free::default().of(root.as_fd(), start);
        let mut disk = Disk::new(free, 4 << 20, false, start);
        assert_eq!(disk.tick(root.as_fd(), &none, start), Finding::Fine);
        fs::write(folder.path().join("large"), vec![1; 8 << 20]).unwrap();
        let later = start + PAUSE_MIN + PAUSE_MAX + Duration::from_secs(1);
        assert!(matches!(disk.tick(root.as_fd(), &none, later), Finding::Over(8_388_608..)));
    }
}
