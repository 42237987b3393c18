//! Private messages: shared memory, semaphores and queues that programs make by number or name. They belong to the
//! keeper's namespace, which is renewed when a program left something in it.

use super::{mounts, secret::Secret};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// The messages of a slot.
#[derive(Debug)]
pub(super) struct Messages {
    /// The folder of queues that have names, and its size without any. None where the kernel has none.
    queues: Option<(OwnedFd, i64)>,
}

impl Messages {
    /// The process must have a namespace of messages of its own.
    pub(super) fn new(secret: &Secret) -> Self {
        let folder = mounts::make(c"mqueue", &[], secret).and_then(|mount| open_list(&mount)).ok();
        Self { queues: folder.and_then(|folder| size_of_folder(&folder).map(|size| (folder, size))) }
    }

    /// A namespace in which nothing is left of the program before.
    pub(super) fn renew(&mut self, secret: &Secret) -> io::Result<()> {
        if self.is_used()? {
            // Some tens of microseconds, and the kernel takes down the old one by itself.
            // SAFETY: numbers only.
            if unsafe { secret.call(libc::SYS_unshare, [libc::c_long::from(libc::CLONE_NEWIPC)]) } < 0 {
                return Err(io::Error::last_os_error());
            }
            *self = Self::new(secret);
        }
        Ok(())
    }

    fn is_used(&self) -> io::Result<bool> {
        // The kernel's words: counts of the whole namespace, which each call gives in a structure of its own.
        const SHM_INFO: libc::c_int = 14;
        const SEM_INFO: libc::c_int = 19;
        const MSG_INFO: libc::c_int = 12;
        // Used places come first in `shm_info`; sets and queues are at these places of the others.
        let (mut shared, mut semaphores, mut queues) = ([0_i32; 32], [0_i32; 32], [0_i32; 32]);
        // SAFETY: each call writes a structure that is smaller than the array that it is given.
        let results = unsafe {
            [
                libc::shmctl(0, SHM_INFO, shared.as_mut_ptr().cast()),
                libc::semctl(0, 0, SEM_INFO, semaphores.as_mut_ptr()),
                libc::msgctl(0, MSG_INFO, queues.as_mut_ptr().cast()),
            ]
        };
        if results.contains(&-1) {
            return Err(io::Error::last_os_error());
        }
        // seminfo: semmap semmni semmns semmnu semmsl semopm semume semusz; msginfo: msgpool.
        Ok(shared[0] != 0 || semaphores[7] != 0 || queues[0] != 0 || self.has_named_queue())
    }

    fn has_named_queue(&self) -> bool {
        let Some((folder, size)) = &self.queues else { return false };
        // It grows with each queue. What cannot be asked may hold anything.
        size_of_folder(folder).is_none_or(|now| now != *size)
    }
}

fn size_of_folder(folder: &OwnedFd) -> Option<i64> {
    nix::sys::stat::fstat(folder).ok().map(|found| found.st_size)
}

/// The mount's folder, to be read.
fn open_list(mount: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a NUL; the descriptor is new and ours.
    let fd =
        unsafe { libc::openat(mount.as_raw_fd(), c".".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
