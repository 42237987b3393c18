//! The calls by which a view of the files is put together, thinly wrapped: mounts as descriptors.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path},
};

/// What `mount_setattr` is to set; the words of the kernel's header.
const READ_ONLY: u64 = 0x1;
const NO_SETUID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const NO_EXECUTION: u64 = 0x8;

/// What programs may do below a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read and execute.
    Read,
    /// Write as well.
    Write,
    /// A device, to be opened as its permissions say.
    Device,
}

impl Access {
    const fn attributes(self) -> u64 {
        match self {
            Self::Read => READ_ONLY | NO_SETUID | NO_DEVICES,
            Self::Write => NO_SETUID | NO_DEVICES,
            Self::Device => NO_SETUID | NO_EXECUTION,
        }
    }
}

/// A copy of what is mounted at `path`, with all below it, that is not yet seen anywhere.
pub(super) fn take(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let recursive = libc::AT_RECURSIVE.cast_unsigned();
    // The kernel's word for a copy.
    let flags = 1 | recursive | libc::O_CLOEXEC.cast_unsigned();
    // SAFETY: the name ends with a NUL and outlives the call.
    let fd = owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, name.as_ptr(), flags) })?;
    let attributes =
        libc::mount_attr { attr_set: access.attributes(), attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH.cast_unsigned() | recursive;
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the structure outlives the call, which only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// Makes a mount seen at the place that `onto` is.
pub(super) fn put(mount: BorrowedFd<'_>, onto: BorrowedFd<'_>) -> io::Result<()> {
    // Both ends are named by their descriptors alone.
    let flags = 0x4_u32 | 0x40;
    let (from, to) = (mount.as_raw_fd(), onto.as_raw_fd());
    // SAFETY: both names are empty and static.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A new file system of this kind that is not yet seen anywhere.
pub(super) fn make(kind: &std::ffi::CStr, options: &[(&std::ffi::CStr, &str)]) -> io::Result<OwnedFd> {
    // The words of the kernel's header: close on exec; set a string; create.
    let (closed, set_string, create) = (1_u32, 1_u32, 6_u32);
    // SAFETY: the name ends with a NUL.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), closed) })?;
    for (key, value) in options {
        let value = CString::new(*value)?;
        let fd = context.as_raw_fd();
        // SAFETY: key and value end with a NUL and outlive the call.
        if unsafe { libc::syscall(libc::SYS_fsconfig, fd, set_string, key.as_ptr(), value.as_ptr(), 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let (fd, none) = (context.as_raw_fd(), std::ptr::null::<libc::c_char>());
    // SAFETY: this command takes neither key nor value.
    if unsafe { libc::syscall(libc::SYS_fsconfig, fd, create, none, none, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes = NO_SETUID | NO_DEVICES;
    // SAFETY: numbers only.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, closed, attributes) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What is made where something shall be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
}

/// The place `path` below `root`, made where it is missing. Links lead nowhere outside of `root`.
pub(super) fn place(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let mut at = root.try_clone_to_owned()?;
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut names = path.components().filter(|part| matches!(part, Component::Normal(_))).peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let made = if last && kind == Kind::File {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            nix::fcntl::openat(&at, name.as_os_str(), flags, nix::sys::stat::Mode::from_bits_truncate(0o644)).map(drop)
        } else {
            nix::sys::stat::mkdirat(&at, name.as_os_str(), nix::sys::stat::Mode::from_bits_truncate(0o755))
        };
        match made {
            // Below what is read only it is there already, or the opening says that it is not.
            Ok(()) | Err(nix::errno::Errno::EEXIST | nix::errno::Errno::EROFS | nix::errno::Errno::EACCES) => {}
            Err(error) => return Err(error.into()),
        }
        let within = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        at = openat2(&at, name.as_os_str(), within)?;
    }
    Ok(at)
}

/// Opens `path` beneath `folder`, through no link.
pub(super) fn open_beneath(folder: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(folder.as_fd(), path, how)?)
}
