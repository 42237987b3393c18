//! The controller of processes, which is the same in both versions.

use super::folder::{Folder, value_of};
use nix::poll::{PollFd, PollFlags};
use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};

pub(super) struct Processes {
    limit: File,
    events: Option<File>,
    current_limit: u64,
    refusals_before: u64,
}

impl Processes {
    pub(super) fn open(folder: &Folder) -> io::Result<Self> {
        let events = folder.readable("pids.events").ok();
        Ok(Self { limit: folder.writable("pids.max")?, events, current_limit: u64::MAX, refusals_before: 0 })
    }

    pub(super) fn begin(&mut self, limit: u64) -> io::Result<()> {
        self.allow(limit)?;
        self.refusals_before = self.refusals();
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
        self.refusals() > self.refusals_before
    }

    pub(super) fn alarm(&self) -> Option<PollFd<'_>> {
        self.events.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI))
    }

    fn refusals(&self) -> u64 {
        self.events.as_ref().and_then(|file| value_of(file, "max")).unwrap_or(0)
    }
}
