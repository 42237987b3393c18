//! A walk over a folder that a program writes to meanwhile, a few entries at a time.
//!
//! Nothing is reached by a path: each folder is opened by its name in the one above, never through a link and never on
//! another file system. Far down only the deepest folder is open; the way up is "..", believed when it leads to the
//! folder that the walk came from.

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{FileStat, fstat, fstatat},
    unistd::{Whence, lseek64},
};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Folders that are open at once, from the top.
const OPEN_LEVELS: usize = 24;
/// Deeper than any file system lets a path be used; what is further down is not looked at.
const LEVELS_MAX: usize = 100_000;
const BUFFER_BYTES: usize = 8 << 10;
/// The least that an entry takes: its name and inode are not free.
const ENTRY_BYTES_MIN: u64 = 4_096;
/// What opening a folder costs, in entries.
const FOLDER_COST: usize = 4;

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// A walk that goes on where it stopped.
pub(super) struct Walk {
    levels: Vec<Level>,
    pub(super) sum: Sum,
}

/// A folder on the way down.
struct Level {
    device: u64,
    inode: u64,
    open: Option<Open>,
    /// Where to read on once what comes after the last folder that was entered was dropped.
    at: i64,
}

struct Open {
    folder: OwnedFd,
    buffer: Vec<u8>,
    next: usize,
}

impl Walk {
    pub(super) fn begin(root: BorrowedFd<'_>) -> io::Result<Self> {
        let folder = enter(root, c".", ResolveFlag::RESOLVE_BENEATH)?;
        let found = fstat(&folder)?;
        Ok(Self { levels: vec![Level::new(folder, &found)], sum: Sum::default() })
    }

    /// Looks at this many entries at most. True when all was seen.
    pub(super) fn go_on(&mut self, mut budget: usize) -> bool {
        while budget > 0 {
            let depth = self.levels.len();
            let Some(level) = self.levels.last_mut() else { return true };
            let Some(open) = &mut level.open else {
                // Its way back was lost: what was counted stands.
                self.levels.pop();
                continue;
            };
            match open.next_entry() {
                Some((name, at)) => {
                    budget -= 1;
                    level.at = at;
                    if let Some(child) = look_at(open, &name, &mut self.sum)
                        && depth < LEVELS_MAX
                    {
                        budget = budget.saturating_sub(FOLDER_COST);
                        if depth > OPEN_LEVELS {
                            level.open = None;
                        }
                        self.levels.push(child);
                    }
                }
                None => {
                    budget = budget.saturating_sub(FOLDER_COST);
                    self.go_up();
                }
            }
        }
        false
    }

    fn go_up(&mut self) {
        let Some(done) = self.levels.pop().and_then(|level| level.open) else { return };
        let Some(level) = self.levels.last_mut().filter(|level| level.open.is_none()) else { return };
        let back = || -> io::Result<Level> {
            let folder = enter(done.folder.as_fd(), c"..", ResolveFlag::empty())?;
            let found = fstat(&folder)?;
            if (found.st_dev, found.st_ino) != (level.device, level.inode) {
                // It was moved meanwhile.
                return Err(Errno::ESTALE.into());
            }
            lseek64(&folder, level.at, Whence::SeekSet)?;
            Ok(Level { at: level.at, ..Level::new(folder, &found) })
        };
        if let Ok(found) = back() {
            *level = found;
        }
    }
}

impl Level {
    fn new(folder: OwnedFd, found: &FileStat) -> Self {
        let open = Open { folder, buffer: Vec::new(), next: 0 };
        Self { device: found.st_dev, inode: found.st_ino, open: Some(open), at: 0 }
    }
}

impl Open {
    /// A name, and where the one after it is read.
    fn next_entry(&mut self) -> Option<(Box<CStr>, i64)> {
        loop {
            if self.next >= self.buffer.len() && !self.fill() {
                return None;
            }
            // struct linux_dirent64: inode, offset of the next, length of this one, kind, name.
            let entry = self.buffer.get(self.next..)?;
            let number = |range: std::ops::Range<usize>| entry.get(range);
            let at = i64::from_ne_bytes(number(8..16)?.try_into().ok()?);
            let length = usize::from(u16::from_ne_bytes(number(16..18)?.try_into().ok()?));
            let name = CStr::from_bytes_until_nul(entry.get(19..length)?).ok()?;
            self.next += length;
            if name != c"." && name != c".." {
                return Some((name.into(), at));
            }
        }
    }

    fn fill(&mut self) -> bool {
        self.buffer.resize(BUFFER_BYTES, 0);
        self.next = 0;
        let (fd, start, bytes) = (self.folder.as_raw_fd(), self.buffer.as_mut_ptr(), self.buffer.len());
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let count = unsafe { libc::syscall(libc::SYS_getdents64, fd, start, bytes) };
        self.buffer.truncate(usize::try_from(count).unwrap_or(0));
        !self.buffer.is_empty()
    }
}

/// Counts an entry; the level below when it is a folder that can be looked into.
fn look_at(open: &Open, name: &CStr, sum: &mut Sum) -> Option<Level> {
    // It may have gone meanwhile.
    let found = fstatat(&open.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    sum.entries += 1;
    sum.bytes = sum.bytes.saturating_add(taken(&found));
    if found.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return None;
    }
    let folder = match enter(open.folder.as_fd(), name, ResolveFlag::RESOLVE_BENEATH) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            enter_hidden(open.folder.as_fd(), name).ok()?
        }
        entered => entered.ok()?,
    };
    let found = fstat(&folder).ok()?;
    Some(Level::new(folder, &found))
}

/// What a file takes of the disk, holes left out; of one with several names, this name's share.
fn taken(found: &FileStat) -> u64 {
    let names = if found.st_mode & libc::S_IFMT == libc::S_IFDIR { 1 } else { found.st_nlink.max(1) };
    (u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512) / names).max(ENTRY_BYTES_MIN)
}

fn enter(from: BorrowedFd<'_>, name: &CStr, resolve: ResolveFlag) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = resolve | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    Ok(openat2(from, name, OpenHow::new().flags(flags).resolve(resolve))?)
}

/// A folder that its owner, whose program this keeper runs, may not read: nothing is hidden in it.
fn enter_hidden(from: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let folder = openat2(from, name, OpenHow::new().flags(flags).resolve(resolve))?;
    let own = format!("/proc/self/fd/{}", folder.as_raw_fd());
    std::fs::set_permissions(own, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    enter(folder.as_fd(), c".", ResolveFlag::RESOLVE_BENEATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn sum_of(folder: &std::path::Path, budget: usize) -> (Sum, usize) {
        let root = fs::File::open(folder).unwrap();
        let mut walk = Walk::begin(root.as_fd()).unwrap();
        let mut turns = 1;
        while !walk.go_on(budget) {
            turns += 1;
        }
        (walk.sum, turns)
    }

    #[test]
    fn i15_what_is_written_counts_once_and_holes_and_links_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("large"), vec![1; 4 << 20]).unwrap();
        fs::write(folder.path().join("mega"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(folder.path().join("mega"), folder.path().join("again")).unwrap();
        fs::File::create(folder.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        symlink(outside.path(), folder.path().join("away")).unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("below/mega"), vec![1; 1 << 20]).unwrap();
        let (sum, _) = sum_of(folder.path(), 1_000);
        assert_eq!(sum.entries, 6);
        assert!((2 << 20..(2 << 20) + (64 << 10)).contains(&sum.bytes), "{sum:?}");
    }

    #[test]
    fn i15_many_entries_are_seen_a_few_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..30 {
            let below = folder.path().join(format!("folder-{number}"));
            fs::create_dir(&below).unwrap();
            (0..40).for_each(|name| fs::write(below.join(format!("{name}")), b"x").unwrap());
        }
        let (sum, turns) = sum_of(folder.path(), 100);
        assert_eq!(sum.entries, 30 * 41);
        assert!(turns >= 12, "{turns}");
    }

    /// Makes folders one in another, each with a file, and returns how many.
    fn dig(folder: &std::path::Path, depth: u64) -> u64 {
        let mut here = OwnedFd::from(fs::File::open(folder).unwrap());
        for _ in 0..depth {
            nix::sys::stat::mkdirat(&here, "d", nix::sys::stat::Mode::S_IRWXU).unwrap();
            let how = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            nix::fcntl::openat(&here, "f", how, nix::sys::stat::Mode::S_IRWXU).unwrap();
            here = enter(here.as_fd(), c"d", ResolveFlag::RESOLVE_BENEATH).unwrap();
        }
        depth * 2
    }

    #[test]
    fn i15_a_deep_tree_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let made = dig(folder.path(), 3_000);
        let (sum, _) = sum_of(folder.path(), 50);
        assert_eq!(sum.entries, made);
    }

    #[test]
    fn i15_a_folder_that_is_moved_while_it_is_looked_at_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let away = tempfile::tempdir().unwrap();
        let made = dig(folder.path(), 200);
        let root = fs::File::open(folder.path()).unwrap();
        let mut walk = Walk::begin(root.as_fd()).unwrap();
        while walk.levels.len() < 150 {
            assert!(!walk.go_on(1));
        }
        let half: std::path::PathBuf = std::iter::repeat_n("d", 100).collect();
        fs::rename(folder.path().join(&half), away.path().join("d")).unwrap();
        while !walk.go_on(10) {}
        assert!(walk.sum.entries <= made);
    }
}
