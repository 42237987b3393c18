//! A process in namespaces of its own: how a keeper is made, and how it is found out whether one can be made.

use crate::protocol::Namespaces;
use nix::unistd::{Pid, getegid, geteuid};
use std::{fs, io};

const ALL: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Who goes on after [`fork`].
pub(crate) enum Forked {
    Parent(Pid),
    /// In its namespaces, unless it could not become somebody in them.
    Child(io::Result<()>),
}

/// Forks into these namespaces: the child is process 1 in its own.
///
/// # Safety
/// The process must have one thread.
pub(crate) unsafe fn fork(namespaces: Namespaces) -> io::Result<Forked> {
    let flags = match namespaces {
        Namespaces::None => 0,
        Namespaces::Own => ALL,
        Namespaces::OfUser => ALL | libc::CLONE_NEWUSER,
    };
    let (user, group) = (geteuid(), getegid());
    let none = std::ptr::null_mut::<libc::c_void>();
    // By the raw call: the library's fork takes no namespaces. Without a stack the child goes on where we are, on a
    // copy of our memory; with one thread there is no lock that another held.
    // SAFETY: as the caller promises.
    let result =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags | libc::SIGCHLD), none, none, none, none) };
    match i32::try_from(result).map_err(io::Error::other)? {
        0 if namespaces == Namespaces::OfUser => Ok(Forked::Child(become_somebody(user.as_raw(), group.as_raw()))),
        0 => Ok(Forked::Child(Ok(()))),
        pid if pid > 0 => Ok(Forked::Parent(Pid::from_raw(pid))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// In a user namespace: the same user and group as outside, and nobody else.
fn become_somebody(user: u32, group: u32) -> io::Result<()> {
    let write = |name: &str, text: String| {
        let path = format!("/proc/self/{name}");
        fs::write(&path, text).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    };
    // The files belong to nobody here while the process lets none look into it.
    nix::sys::prctl::set_dumpable(true)?;
    // Without it, groups could be given up to get at what they may not.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))
}
