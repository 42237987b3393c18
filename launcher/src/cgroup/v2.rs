//! Version 2: one group is the program's identity and limits it as well.

use super::{
    backend::Backend,
    counter::Counter,
    folder::{Folder, number_of},
    identity::Identity,
    processes::Processes,
};
use crate::best_effort;
use nix::poll::{PollFd, PollFlags};
use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};

pub(super) struct V2 {
    identity: Identity,
    files: Files,
}

struct Files {
    limit: File,
    peak: Option<File>,
    /// Whether the peak starts anew when it is written to, for this open file: Linux 6.12.
    peak_resets: bool,
    kills: Counter,
    processes: Processes,
    current_limit: u64,
    /// No program has been in the group.
    fresh: bool,
}

impl V2 {
    pub(super) fn open(identity: Identity) -> Result<Self, (io::Error, Identity)> {
        match Files::open(identity.folder()) {
            Ok(files) => Ok(Self { identity, files }),
            Err(error) => Err((error, identity)),
        }
    }
}

impl Files {
    fn open(folder: &Folder) -> io::Result<Self> {
        // Memory on the swap device is memory as well.
        best_effort(folder.write("memory.swap.max", "0"));
        // A program that lost one process for want of memory ends whole.
        best_effort(folder.write("memory.oom.group", "1"));
        let (peak, writable) = match folder.resettable("memory.peak") {
            Ok((file, writable)) => (Some(file), writable),
            Err(_) => (None, false),
        };
        let peak_resets = writable && peak.as_ref().is_some_and(|file| file.write_at(b"0", 0).is_ok());
        Ok(Self {
            limit: folder.writable("memory.max")?,
            peak,
            peak_resets,
            kills: Counter::new(folder.readable("memory.events").ok(), "oom_kill"),
            processes: Processes::open(folder)?,
            current_limit: u64::MAX,
            fresh: true,
        })
    }

    fn begin(&mut self, memory: u64, processes: u32) -> io::Result<()> {
        if memory != self.current_limit {
            self.limit.write_all_at(memory.to_string().as_bytes(), 0)?;
            self.current_limit = memory;
        }
        if let Some(peak) = self.peak.as_ref().filter(|_| self.peak_resets) {
            best_effort(peak.write_at(b"0", 0));
        }
        self.kills.begin();
        self.fresh = false;
        self.processes.begin(u64::from(processes))
    }
}

impl Backend for V2 {
    fn identity(&self) -> Option<&Identity> {
        Some(&self.identity)
    }

    fn identity_mut(&mut self) -> Option<&mut Identity> {
        Some(&mut self.identity)
    }

    fn begin(&mut self, memory: u64, processes: u32) -> io::Result<()> {
        // Where the peak of the programs before this one cannot be forgotten, the group is made anew. One that
        // is not empty yet serves once more.
        if self.identity.prepare(!self.files.fresh && !self.files.peak_resets) {
            self.files = Files::open(self.identity.folder())?;
        }
        self.files.begin(memory, processes)
    }

    fn limits_memory(&self) -> bool {
        true
    }

    fn limits_processes(&self) -> bool {
        true
    }

    fn memory_peak(&self) -> Option<u64> {
        number_of(self.files.peak.as_ref()?)
    }

    fn memory_ran_out(&self) -> bool {
        self.files.kills.has_moved()
    }

    fn processes_ran_out(&self) -> bool {
        self.files.processes.ran_out()
    }

    fn alarms(&self) -> Vec<PollFd<'_>> {
        let memory = self.files.kills.file().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI));
        self.files.processes.alarm().into_iter().chain(memory).collect()
    }

    fn hear_alarm(&self) {
        self.files.kills.hear();
    }

    fn allow_processes(&mut self, count: u64) {
        best_effort(self.files.processes.allow(count));
    }

    fn kill(&mut self) {
        self.files.kills.disturb();
        self.files.processes.disturb();
        self.allow_processes(0);
        if !self.identity.kill() {
            self.identity.folder().kill_members();
        }
    }
}
