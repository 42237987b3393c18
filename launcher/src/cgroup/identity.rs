//! The group of the unified hierarchy that a program is born in: it tells the program's processes from all others, is
//! killed and frozen at once, and counts processor time, with or without controllers.

use super::folder::{Folder, value_of};
use crate::best_effort;
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::FileExt,
    },
    path::Path,
};

/// Tries to make a group anew whose last processes are still on their way out.
const RENEW_TRIES: usize = 200;

pub(crate) struct Identity {
    parent: Folder,
    name: String,
    folder: Folder,
    files: Files,
}

struct Files {
    /// Keeps the number below open.
    _enter: File,
    enter_fds: [RawFd; 1],
    kill: Option<File>,
    freeze: Option<File>,
    events: Option<File>,
    cpu: Option<File>,
    frozen: bool,
    /// It was killed as a whole.
    killed: bool,
}

impl Identity {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (parent, folder, name) = Folder::make_at(path)?;
        let files = Files::open(&folder)?;
        let mut identity = Self { parent, name, folder, files };
        // One that an earlier keeper left may be frozen.
        best_effort(identity.write_frozen(false));
        Ok(identity)
    }

    /// Makes it ready for the next program: a new group in its place, if that is `wanted`, or if the old one was
    /// killed: Linux from 6.14 on kills whatever is born into a group that ever was, because it takes the count of
    /// kills of the parent's group for that of the new one. True when it is new.
    pub(super) fn prepare(&mut self, wanted: bool) -> bool {
        if !wanted && !self.files.killed {
            return false;
        }
        for _ in 0..RENEW_TRIES {
            match self.renew() {
                Ok(()) => return true,
                // Processes that were waited for leave the group a moment later.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::yield_now(),
                Err(_) => return false,
            }
        }
        false
    }

    fn renew(&mut self) -> io::Result<()> {
        match self.parent.remove(&self.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.folder = Folder::make(&self.parent, &self.name)?;
        self.files = Files::open(&self.folder)?;
        Ok(())
    }

    pub(super) const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What the next program is born in; none when it has to enter by itself.
    pub(super) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        (!self.files.killed).then(|| self.folder.as_fd())
    }

    pub(super) const fn entries(&self) -> &[RawFd] {
        &self.files.enter_fds
    }

    /// Kills all that is in it and below it, frozen or not, and what is being forked meanwhile.
    pub(super) fn kill(&mut self) -> bool {
        self.files.killed = true;
        self.files.kill.as_ref().is_some_and(|file| file.write_at(b"1", 0).is_ok())
    }

    /// Whether the kernel can freeze it.
    pub(super) const fn freezes(&self) -> bool {
        self.files.freeze.is_some()
    }

    /// Whether it is killed at once.
    pub(super) const fn kills(&self) -> bool {
        self.files.kill.is_some()
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.files.events.as_ref().and_then(|file| value_of(file, "frozen")) == Some(1)
    }

    pub(super) fn set_frozen(&mut self, frozen: bool) -> io::Result<()> {
        if frozen == self.files.frozen { Ok(()) } else { self.write_frozen(frozen) }
    }

    fn write_frozen(&mut self, frozen: bool) -> io::Result<()> {
        let file = self.files.freeze.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        file.write_all_at(if frozen { b"1" } else { b"0" }, 0)?;
        self.files.frozen = frozen;
        Ok(())
    }

    pub(super) fn cpu_micros(&self) -> Option<u64> {
        value_of(self.files.cpu.as_ref()?, "usage_usec")
    }
}

impl Files {
    fn open(folder: &Folder) -> io::Result<Self> {
        let enter = folder.writable("cgroup.procs")?;
        Ok(Self {
            enter_fds: [enter.as_raw_fd()],
            _enter: enter,
            kill: folder.writable("cgroup.kill").ok(),
            freeze: folder.writable("cgroup.freeze").ok(),
            events: folder.readable("cgroup.events").ok(),
            cpu: folder.readable("cpu.stat").ok(),
            frozen: false,
            killed: false,
        })
    }
}
