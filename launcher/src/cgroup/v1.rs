//! Version 1: a hierarchy for each controller. The keeper lives in the slot's groups, so its programs are born there;
//! what tells a program's processes from others is a group of the unified hierarchy, where that is mounted.

use super::{
    backend::Backend,
    counter::Counter,
    folder::{Folder, number_of, text_of, value_of},
    identity::Identity,
    processes::Processes,
};
use crate::{best_effort, protocol::SlotGroups};
use nix::{
    poll::{PollFd, PollFlags},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    time::{Duration, Instant},
};

/// The kernel's own pages of a process and its keeper's few stay below this; more may be page cache that an
/// earlier program left behind, which would count as this one's.
const LEFT_BEHIND_BYTES: u64 = 2 << 20;
/// Of the page cache alone.
const CACHE_LEFT_BYTES: u64 = 1 << 20;
/// What the kernel frees a moment after a program has ended is no page cache: where many end it is always there, and
/// is not looked at each time. Whoever had more than this is.
const UNSUSPICIOUS_BYTES: u64 = 16 << 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Passes over a tree that is moved into the freezer while it forks.
const FREEZE_PASSES_MAX: usize = 50;

pub(super) struct V1 {
    identity: Option<Identity>,
    memory: Option<Memory>,
    processes: Option<(Processes, Folder)>,
    cpu: Option<File>,
    freezer: Option<Freezer>,
}

impl V1 {
    pub(super) fn open(groups: &SlotGroups, identity: Option<Identity>, problem: &mut String) -> Self {
        let memory = keep(groups.memory.as_deref(), problem, |path| Memory::open(entered(path)?));
        let processes = keep(groups.processes.as_deref(), problem, |path| {
            let folder = entered(path)?;
            Ok((Processes::open(&folder)?, folder))
        });
        let cpu = keep(groups.cpu.as_deref(), problem, |path| entered(path)?.readable("cpuacct.usage"));
        let freezer = keep(groups.freezer.as_deref(), problem, Freezer::open);
        Self { identity, memory, processes, cpu, freezer }
    }
}

fn keep<T>(path: Option<&Path>, problem: &mut String, open: impl FnOnce(&Path) -> io::Result<T>) -> Option<T> {
    let path = path?;
    open(path).map_err(|error| *problem = format!("{}: {error}", path.display())).ok()
}

/// The group at this path, with this process in it.
fn entered(path: &Path) -> io::Result<Folder> {
    let (_, folder, _) = Folder::make_at(path)?;
    folder.write("cgroup.procs", "0")?;
    Ok(folder)
}

impl Backend for V1 {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    fn identity_mut(&mut self) -> Option<&mut Identity> {
        self.identity.as_mut()
    }

    fn begin(&mut self, memory: u64, processes: u32) -> io::Result<()> {
        if let Some(identity) = &mut self.identity {
            identity.prepare(false);
        }
        if let Some(files) = &mut self.memory {
            files.begin(memory)?;
        }
        if let Some((files, _)) = &mut self.processes {
            // The keeper is one of them.
            files.begin(u64::from(processes) + 1)?;
        }
        Ok(())
    }

    fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    fn limits_processes(&self) -> bool {
        self.processes.is_some()
    }

    fn cpu_micros(&self) -> Option<u64> {
        // The program alone, rather than with its keeper.
        let identity = self.identity.as_ref().and_then(Identity::cpu_micros);
        identity.or_else(|| Some(number_of(self.cpu.as_ref()?)? / 1_000))
    }

    fn memory_peak(&self) -> Option<u64> {
        self.memory.as_ref()?.peak()
    }

    fn memory_ran_out(&self) -> bool {
        self.memory.as_ref().is_some_and(|files| files.kills.has_moved())
    }

    fn processes_ran_out(&self) -> bool {
        self.processes.as_ref().is_some_and(|(files, _)| files.ran_out())
    }

    fn alarms(&self) -> Vec<PollFd<'_>> {
        let processes = self.processes.as_ref().and_then(|(files, _)| files.alarm());
        let memory = self.memory.as_ref().and_then(|files| files.alarm.as_ref());
        processes.into_iter().chain(memory.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN))).collect()
    }

    fn hear_alarm(&self) {
        let mut count = [0; 8];
        if let Some(mut alarm) = self.memory.as_ref().and_then(|files| files.alarm.as_ref()) {
            best_effort(alarm.read(&mut count));
        }
    }

    fn allow_processes(&mut self, count: u64) {
        if let Some((files, _)) = &mut self.processes {
            best_effort(files.allow(count));
        }
    }

    fn kill(&mut self) {
        if let Some(memory) = &self.memory {
            memory.kills.disturb();
        }
        if let Some((processes, _)) = &self.processes {
            processes.disturb();
        }
        self.allow_processes(0);
        if self.identity.as_mut().is_some_and(Identity::kill) {
            return;
        }
        if let Some(folder) =
            self.processes.as_ref().map(|(_, folder)| folder).or(self.memory.as_ref().map(|files| &files.folder))
        {
            folder.kill_members();
        }
        // What is frozen here dies when it goes on, before it does anything else.
        best_effort(self.set_frozen(false));
    }

    fn set_frozen(&mut self, frozen: bool) -> io::Result<bool> {
        if let Some(identity) = self.identity.as_mut().filter(|identity| identity.freezes()) {
            return identity.set_frozen(frozen).map(|()| true);
        }
        match &mut self.freezer {
            Some(freezer) => freezer.set_frozen(frozen).map(|()| true),
            None => Ok(false),
        }
    }

    fn is_frozen(&self) -> bool {
        match (&self.identity, &self.freezer) {
            (Some(identity), _) if identity.freezes() => identity.is_frozen(),
            (_, Some(freezer)) => freezer.is_frozen(),
            (_, None) => false,
        }
    }
}

struct Memory {
    folder: Folder,
    limit: File,
    with_swap: Option<File>,
    peak: Option<File>,
    kills: Counter,
    usage: Option<File>,
    stat: Option<File>,
    /// When it was last looked what is left in the group.
    looked_at: Option<Instant>,
    /// Becomes ready when the kernel is about to end a process for want of memory.
    alarm: Option<File>,
    current_limit: u64,
    /// The peak of the last program, when it was read.
    last_peak: Cell<Option<u64>>,
}

impl Memory {
    fn open(folder: Folder) -> io::Result<Self> {
        Ok(Self {
            limit: folder.writable("memory.limit_in_bytes")?,
            with_swap: folder.writable("memory.memsw.limit_in_bytes").ok(),
            peak: folder.resettable("memory.max_usage_in_bytes").ok().map(|(file, _)| file),
            kills: Counter::new(folder.readable("memory.oom_control").ok(), "oom_kill"),
            usage: folder.readable("memory.usage_in_bytes").ok(),
            stat: folder.readable("memory.stat").ok(),
            looked_at: None,
            alarm: alarm(&folder),
            folder,
            current_limit: u64::MAX,
            last_peak: Cell::new(None),
        })
    }

    fn begin(&mut self, limit: u64) -> io::Result<()> {
        if self.is_cache_left() {
            // Best effort: what stays is what the kernel cannot give back now.
            best_effort(self.folder.write("memory.force_empty", "0"));
        }
        if limit != self.current_limit {
            self.set_limit(limit)?;
        }
        if let Some(peak) = &self.peak {
            // It starts anew from what is in use.
            best_effort(peak.write_at(b"0", 0));
        }
        self.kills.begin();
        Ok(())
    }

    /// Whether the programs before this one left page cache that is worth the milliseconds that its return takes.
    fn is_cache_left(&mut self) -> bool {
        // One that never took so much has not left it either.
        let peak = self.last_peak.take().unwrap_or(u64::MAX);
        let is_looked_at = self.looked_at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL);
        if peak <= LEFT_BEHIND_BYTES || (peak <= UNSUSPICIOUS_BYTES && is_looked_at) {
            return false;
        }
        if self.usage.as_ref().and_then(number_of).is_none_or(|used| used <= LEFT_BEHIND_BYTES) {
            return false;
        }
        self.looked_at = Some(Instant::now());
        self.stat.as_ref().and_then(|file| value_of(file, "cache")).is_none_or(|cache| cache > CACHE_LEFT_BYTES)
    }

    fn set_limit(&mut self, limit: u64) -> io::Result<()> {
        let text = limit.to_string();
        let with_swap = |files: &Self| match &files.with_swap {
            Some(file) => file.write_all_at(text.as_bytes(), 0),
            None => Ok(()),
        };
        // Memory alone may never be above memory and swap together: the larger is raised first.
        if limit > self.current_limit {
            with_swap(self)?;
        }
        self.limit.write_all_at(text.as_bytes(), 0)?;
        if limit < self.current_limit {
            with_swap(self)?;
        }
        self.current_limit = limit;
        Ok(())
    }

    fn peak(&self) -> Option<u64> {
        self.last_peak.set(number_of(self.peak.as_ref()?));
        self.last_peak.get()
    }
}

/// An event descriptor that is registered with the group.
fn alarm(folder: &Folder) -> Option<File> {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?;
    let event = File::from(OwnedFd::from(event));
    let control = folder.readable("memory.oom_control").ok()?;
    let order = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    folder.writable("cgroup.event_control").ok()?.write_all(order.as_bytes()).ok()?;
    Some(event)
}

/// The controller that makes processes stand still. Empty but while a program is suspended: its keeper must not be in
/// it, and entering it at each start would cost more than it is worth.
struct Freezer {
    state: File,
    enter: File,
    frozen: bool,
}

impl Freezer {
    fn open(path: &Path) -> io::Result<Self> {
        let (_, folder, _) = Folder::make_at(path)?;
        let mut freezer = Self {
            state: folder.resettable("freezer.state")?.0,
            enter: folder.writable("cgroup.procs")?,
            frozen: true,
        };
        freezer.set_frozen(false)?;
        Ok(freezer)
    }

    fn set_frozen(&mut self, frozen: bool) -> io::Result<()> {
        if frozen == self.frozen {
            return Ok(());
        }
        if frozen {
            self.gather();
        }
        self.state.write_all_at(if frozen { b"FROZEN" } else { b"THAWED" }, 0)?;
        self.frozen = frozen;
        Ok(())
    }

    fn is_frozen(&self) -> bool {
        text_of(&self.state).is_some_and(|text| text.trim() == "FROZEN")
    }

    /// Moves the whole tree in, until nothing new turns up: what is forked by one that is in is born in it.
    fn gather(&self) {
        let own = std::process::id().cast_signed();
        let mut known = std::collections::BTreeSet::new();
        for _ in 0..FREEZE_PASSES_MAX {
            let now = crate::tree::descendants(own);
            let fresh: Vec<i32> = now.difference(&known).copied().collect();
            if fresh.is_empty() {
                return;
            }
            for pid in fresh {
                best_effort(self.enter.write_at(pid.to_string().as_bytes(), 0));
            }
            known = now;
        }
    }
}
