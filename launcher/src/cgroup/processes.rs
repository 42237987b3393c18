//! The controller of processes, which is the same in both versions.

use super::{counter::Counter, folder::Folder};
use nix::poll::{PollFd, PollFlags};
use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};

pub(super) struct Processes {
    limit: File,
    refusals: Counter,
    current_limit: u64,
}

impl Processes {
    pub(super) fn open(folder: &Folder) -> io::Result<Self> {
        let refusals = Counter::new(folder.readable("pids.events").ok(), "max");
        Ok(Self { limit: folder.writable("pids.max")?, refusals, current_limit: u64::MAX })
    }

    pub(super) fn begin(&mut self, limit: u64) -> io::Result<()> {
        self.allow(limit)?;
        self.refusals.begin();
        Ok(())
    }

    pub(super) fn allow(&mut self, limit: u64) -> io::Result<()> {
        if limit != self.current_limit {
            self.limit.write_all_at(limit.to_string().as_bytes(), 0)?;
            self.current_limit = limit;
        }
        Ok(())
    }

    pub(super) fn ran_out(&self) -> bool {
        self.refusals.has_moved()
    }

    pub(super) fn alarm(&self) -> Option<PollFd<'_>> {
        self.refusals.file().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI))
    }

    /// The program is about to be killed.
    pub(super) fn disturb(&self) {
        self.refusals.disturb();
    }
}
