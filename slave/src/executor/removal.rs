//! What programs left is removed: following no link, at any depth, with bounded memory. What is not empty is moved
//! out of the reach of the next program first.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
};
use std::{
    ffi::{CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Folders deeper than this are moved up before they are removed, so that few descriptors are open.
const DEPTH_MAX: usize = 32;
/// Names that are read at a time.
const NAMES_MAX: usize = 1_024;

/// A folder of the slave alone, in the same file system as the working folders: what is in it waits for its removal.
#[derive(Debug)]
pub(super) struct Trash {
    fd: OwnedFd,
    path: PathBuf,
    next: AtomicU64,
}

impl Trash {
    /// Opens the folder, which is there.
    ///
    /// # Errors
    /// When it is no folder.
    pub(super) fn open(path: PathBuf) -> io::Result<Arc<Self>> {
        let fd = open_folder(rustix::fs::CWD, path.as_os_str())?;
        Ok(Arc::new(Self { fd, path, next: AtomicU64::new(0) }))
    }

    /// Takes `name` out of `folder`; none when it is gone.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub(super) fn bury(self: &Arc<Self>, folder: BorrowedFd<'_>, name: &CString) -> io::Result<Option<Remover>> {
        let mut opened = false;
        loop {
            let buried = format!("{}", self.next.fetch_add(1, Ordering::Relaxed));
            match rustix::fs::renameat_with(folder, name, &self.fd, &buried, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    let name = CString::new(buried)?;
                    return Ok(Some(Remover { trash: self.clone(), name }));
                }
                Err(Errno::NOENT) => return Ok(None),
                // Left by a start before this one.
                Err(Errno::EXIST) => {}
                // A folder is moved to another only by who may write to it.
                Err(Errno::ACCESS) if !opened => {
                    opened = true;
                    drop(enter(folder, name)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes everything that is in it.
    pub(super) fn empty(&self) {
        if let Err(error) = empty(self.fd.as_fd(), self.fd.as_fd(), 0, &mut 0) {
            tracing::warn!(path = %self.path.display(), %error, "what programs left cannot all be removed");
        }
    }
}

/// Something to be removed with all that is in it. Its program is dead.
#[derive(Debug)]
pub(super) struct Remover {
    trash: Arc<Trash>,
    name: CString,
}

impl Remover {
    pub(super) fn run(&self) {
        if let Err(error) = remove(self.trash.fd.as_fd(), &self.name) {
            tracing::warn!(path = %self.trash.path.display(), %error, "a working folder cannot be removed");
        }
    }
}

pub(super) fn open_folder(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Some of the names in a folder.
pub(super) fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            found.push(entry.file_name().to_owned());
            if found.len() >= NAMES_MAX {
                break;
            }
        }
    }
    Ok(found)
}

/// Removes `name` in `parent` and everything below it, following no link.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let top = enter(parent, name)?;
    // Removing moves what lies too deep up to the top, so the top is read until nothing is in it.
    empty(top.as_fd(), top.as_fd(), 0, &mut 0)?;
    drop(top);
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Removes what is in a folder. One thing that cannot be removed does not keep the others.
fn empty(top: BorrowedFd<'_>, folder: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> io::Result<()> {
    loop {
        let inside = names(folder)?;
        if inside.is_empty() {
            return Ok(());
        }
        let (count, mut failed) = (inside.len(), Vec::new());
        for inner in inside {
            if let Err(error) = remove_below(top, folder, &inner, depth, moved) {
                failed.push(error);
            }
        }
        // Nothing of it went away: the next round would find the same.
        if failed.len() == count
            && let Some(error) = failed.pop()
        {
            return Err(error);
        }
    }
}

fn remove_below(
    top: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CString,
    depth: usize,
    moved: &mut u64,
) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if depth >= DEPTH_MAX {
        return move_up(top, parent, name, moved);
    }
    let folder = enter(parent, name)?;
    empty(top, folder.as_fd(), depth + 1, moved)?;
    drop(folder);
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn move_up(top: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &CString, moved: &mut u64) -> io::Result<()> {
    let mut opened = false;
    loop {
        *moved += 1;
        let target = format!("moved-{moved}");
        match rustix::fs::renameat_with(parent, name, top, &target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(Errno::ACCESS) if !opened => {
                opened = true;
                drop(enter(parent, name)?);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a folder to empty it, also one whose program took its own permissions away.
fn enter(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let open = || open_folder(parent, OsStr::from_bytes(name.to_bytes()));
    let writable = |fd: OwnedFd| -> io::Result<OwnedFd> {
        if !rustix::process::geteuid().is_root() {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
        }
        Ok(fd)
    };
    match open() {
        Ok(fd) => writable(fd),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // The tree is dead, so nobody puts a link here between the two calls.
            let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Err(error);
            }
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open().and_then(writable)
        }
        Err(error) => Err(error),
    }
}
