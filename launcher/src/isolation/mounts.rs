//! The calls by which a view of the files is put together, thinly wrapped: mounts as descriptors.

use super::secret::Secret;
use libc::c_long;
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
pub(super) fn take(path: &Path, access: Access, secret: &Secret) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let recursive = libc::AT_RECURSIVE.cast_unsigned();
    // The kernel's word for a copy.
    let flags = 1 | recursive | libc::O_CLOEXEC.cast_unsigned();
    let (at, text) = (c_long::from(libc::AT_FDCWD), address(name.as_ptr()));
    // SAFETY: the name ends with a NUL and outlives the call.
    let fd = owned(unsafe { secret.call(libc::SYS_open_tree, [at, text, c_long::from(flags)]) })?;
    let attributes =
        libc::mount_attr { attr_set: access.attributes(), attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH.cast_unsigned() | recursive;
    let size = size_of::<libc::mount_attr>().cast_signed() as c_long;
    let (at, none, attributes) = (c_long::from(fd.as_raw_fd()), address(c"".as_ptr()), address(&raw const attributes));
    // SAFETY: the structure outlives the call, which only reads it.
    let result = unsafe { secret.call(libc::SYS_mount_setattr, [at, none, c_long::from(flags), attributes, size]) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// Makes a mount seen at the place that `onto` is.
pub(super) fn put(mount: BorrowedFd<'_>, onto: BorrowedFd<'_>, secret: &Secret) -> io::Result<()> {
    // Both ends are named by their descriptors alone.
    let flags = 0x4 | 0x40;
    let (from, to, none) = (c_long::from(mount.as_raw_fd()), c_long::from(onto.as_raw_fd()), address(c"".as_ptr()));
    // SAFETY: both names are empty and static.
    let result = unsafe { secret.call(libc::SYS_move_mount, [from, none, to, none, flags]) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A new file system of this kind that is not yet seen anywhere.
pub(super) fn make(kind: &std::ffi::CStr, options: &[(&std::ffi::CStr, &str)], secret: &Secret) -> io::Result<OwnedFd> {
    // The words of the kernel's header: close on exec; set a string; create.
    let (closed, set_string, create) = (1, 1, 6);
    // SAFETY: the name ends with a NUL.
    let context = owned(unsafe { secret.call(libc::SYS_fsopen, [address(kind.as_ptr()), closed]) })?;
    let fd = c_long::from(context.as_raw_fd());
    for (key, value) in options {
        let value = CString::new(*value)?;
        let (key, value) = (address(key.as_ptr()), address(value.as_ptr()));
        // SAFETY: key and value end with a NUL and outlive the call.
        if unsafe { secret.call(libc::SYS_fsconfig, [fd, set_string, key, value, 0]) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: this command takes neither key nor value.
    if unsafe { secret.call(libc::SYS_fsconfig, [fd, create, 0, 0, 0]) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes = (NO_SETUID | NO_DEVICES).cast_signed() as c_long;
    // SAFETY: numbers only.
    owned(unsafe { secret.call(libc::SYS_fsmount, [fd, closed, attributes]) })
}

/// Another size for the file system in memory that is mounted at `path`.
pub(super) fn resize(path: &std::ffi::CStr, size: u64, secret: &Secret) -> io::Result<()> {
    let flags = libc::MS_REMOUNT | libc::MS_NOSUID | libc::MS_NODEV;
    let options = CString::new(format!("size={size}"))?;
    let arguments = [0, address(path.as_ptr()), 0, flags.cast_signed() as c_long, address(options.as_ptr())];
    // SAFETY: the names end with a NUL and outlive the call.
    if unsafe { secret.call(libc::SYS_mount, arguments) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes away what is mounted at `path`.
pub(super) fn take_away(path: &std::ffi::CStr, secret: &Secret) -> io::Result<()> {
    let arguments = [address(path.as_ptr()), c_long::from(libc::MNT_DETACH)];
    // SAFETY: the name ends with a NUL and outlives the call.
    if unsafe { secret.call(libc::SYS_umount2, arguments) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// As a register holds it.
fn address<T>(pointer: *const T) -> c_long {
    pointer.expose_provenance().cast_signed() as c_long
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
