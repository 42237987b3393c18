//! The files of one slot's control groups, open in its keeper.

use super::kill_members;
use crate::best_effort;
use crate::protocol::{GroupVersion, SlotGroups};
use nix::poll::{PollFd, PollFlags};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
};

/// The open files of a slot's groups, for the keeper.
pub(crate) struct SlotFiles {
    version: GroupVersion,
    processes_folder: Option<PathBuf>,
    cpu: Option<File>,
    memory: Option<MemoryFiles>,
    processes: Option<ProcessFiles>,
    identity: Option<File>,
    joined: Vec<PathBuf>,
    enter: Vec<File>,
    enter_fds: Vec<RawFd>,
    /// Why a group that was asked for is not used; empty when all is well.
    pub(crate) problem: String,
}

struct MemoryFiles {
    folder: PathBuf,
    limit: File,
    peak: Option<File>,
    kills: Option<File>,
    usage: Option<File>,
    /// Tells when memory ran out.
    alarm: Option<Alarm>,
    current_limit: u64,
    kills_before: u64,
}

/// Becomes ready when the kernel is about to end a process for want of memory.
enum Alarm {
    /// v1: an event descriptor that was registered with the group.
    Event(File),
    /// v2: the group's own file of events.
    File(File),
}

struct ProcessFiles {
    limit: File,
    events: Option<File>,
    current_limit: u64,
    refusals_before: u64,
}

/// The kernel's own pages of a process and its keeper's few stay below this; more is page cache that an
/// earlier program left behind, which would count as this one's.
const LEFT_BEHIND_BYTES: u64 = 2 << 20;

impl SlotFiles {
    /// Makes the groups, and enters those that the keeper lives in.
    pub(crate) fn open(groups: &SlotGroups) -> Self {
        let mut files = Self {
            version: groups.version,
            processes_folder: None,
            cpu: None,
            memory: None,
            processes: None,
            identity: None,
            joined: Vec::new(),
            enter: Vec::new(),
            enter_fds: Vec::new(),
            problem: String::new(),
        };
        if let Some(folder) = &groups.memory {
            let opened = files.join(folder).and_then(|()| MemoryFiles::open(folder, groups.version));
            files.memory = files.keep(opened, folder);
        }
        if let Some(folder) = &groups.processes {
            let opened = files.join(folder).and_then(|()| ProcessFiles::open(folder));
            files.processes = files.keep(opened, folder);
            files.processes_folder = files.processes.is_some().then(|| folder.clone());
        }
        if let Some(folder) = &groups.cpu {
            let name = if groups.version == GroupVersion::V1 { "cpuacct.usage" } else { "cpu.stat" };
            let opened = files.join(folder).and_then(|()| File::open(folder.join(name)));
            files.cpu = files.keep(opened, folder);
        }
        if let Some(folder) = &groups.identity {
            best_effort(fs::create_dir(folder));
            files.identity = files.keep(File::open(folder), folder);
        }
        files.enter_fds = files.enter.iter().map(AsRawFd::as_raw_fd).collect();
        files
    }

    /// v1: the keeper enters, and its programs are born inside. v2: the program enters by itself.
    fn join(&mut self, folder: &Path) -> io::Result<()> {
        // Controllers may share a folder. One that is there although we have not joined it was left behind by
        // an earlier keeper of this slot.
        if self.joined.iter().any(|joined| joined == folder) {
            return Ok(());
        }
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.joined.push(folder.to_owned());
        let mut entry = OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?;
        match self.version {
            GroupVersion::V1 => entry.write_all(b"0"),
            GroupVersion::V2 => {
                self.enter.push(entry);
                Ok(())
            }
        }
    }

    fn keep<T>(&mut self, opened: io::Result<T>, folder: &Path) -> Option<T> {
        opened.map_err(|error| self.problem = format!("{}: {error}", folder.display())).ok()
    }

    /// What the child writes `0` to.
    pub(crate) fn entries(&self) -> &[RawFd] {
        &self.enter_fds
    }

    /// The group of the unified hierarchy that the program is born in.
    pub(crate) fn identity(&self) -> Option<BorrowedFd<'_>> {
        self.identity.as_ref().map(AsFd::as_fd)
    }

    pub(crate) const fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    pub(crate) const fn limits_processes(&self) -> bool {
        self.processes.is_some()
    }

    /// Sets the limits of the next program and forgets the figures of the last.
    pub(crate) fn begin(&mut self, memory: u64, processes: u32) -> io::Result<()> {
        // The keeper is one of the group's processes in v1.
        let own = u64::from(self.version == GroupVersion::V1);
        if let Some(files) = &mut self.memory {
            files.begin(memory, self.version)?;
        }
        if let Some(files) = &mut self.processes {
            files.begin(u64::from(processes) + own)?;
        }
        Ok(())
    }

    /// Processor time that the group has used, ever, in microseconds.
    pub(crate) fn cpu_micros(&self) -> Option<u64> {
        let text = read_text(self.cpu.as_ref()?)?;
        match self.version {
            GroupVersion::V1 => Some(text.trim().parse::<u64>().ok()? / 1_000),
            GroupVersion::V2 => value_of(&text, "usage_usec"),
        }
    }

    /// The most memory since `begin`.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        read_text(self.memory.as_ref()?.peak.as_ref()?)?.trim().parse().ok()
    }

    /// Whether the kernel has ended a process of the group for want of memory since `begin`.
    pub(crate) fn memory_ran_out(&self) -> bool {
        self.memory.as_ref().is_some_and(|files| files.kills() > files.kills_before)
    }

    /// Whether the group has refused a process since `begin`.
    pub(crate) fn processes_ran_out(&self) -> bool {
        self.processes.as_ref().is_some_and(|files| files.refusals() > files.refusals_before)
    }

    /// What becomes ready when the group refuses a process or memory runs out.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = PollFd<'_>> {
        let processes = self.processes.as_ref().and_then(|files| files.events.as_ref());
        let memory = self.memory.as_ref().and_then(|files| files.alarm.as_ref());
        let processes = processes.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI));
        processes.into_iter().chain(memory.map(Alarm::poll))
    }

    /// Takes note of an alarm. The kernel gives it a moment before it ends a process.
    pub(crate) fn hear_memory_alarm(&self) {
        if let Some(alarm) = self.memory.as_ref().and_then(|files| files.alarm.as_ref()) {
            alarm.take_note();
        }
    }

    /// Lets the keeper make a process of its own while it ends a program.
    pub(crate) fn set_process_limit(&mut self, limit: u64) {
        if let Some(files) = &mut self.processes {
            best_effort(files.set_limit(limit));
        }
    }

    /// Kills all in the groups but the keeper, and lets no new process be made meanwhile.
    pub(crate) fn kill(&mut self) {
        self.set_process_limit(0);
        let Some(folder) =
            self.processes_folder.as_deref().or(self.memory.as_ref().map(|files| files.folder.as_path()))
        else {
            return;
        };
        if self.version == GroupVersion::V2 && fs::write(folder.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        kill_members(folder);
    }
}

impl MemoryFiles {
    fn open(folder: &Path, version: GroupVersion) -> io::Result<Self> {
        let (limit, peak, kills, usage) = match version {
            GroupVersion::V1 => {
                ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control", "memory.usage_in_bytes")
            }
            GroupVersion::V2 => ("memory.max", "memory.peak", "memory.events", "memory.current"),
        };
        if version == GroupVersion::V2 {
            // Memory on the swap device is memory as well.
            best_effort(fs::write(folder.join("memory.swap.max"), "0"));
        }
        let writable = |name: &str| OpenOptions::new().read(true).write(true).open(folder.join(name));
        Ok(Self {
            folder: folder.to_owned(),
            limit: writable(limit)?,
            peak: writable(peak).or_else(|_| File::open(folder.join(peak))).ok(),
            kills: File::open(folder.join(kills)).ok(),
            usage: File::open(folder.join(usage)).ok(),
            alarm: Alarm::open(folder, version),
            current_limit: u64::MAX,
            kills_before: 0,
        })
    }

    fn begin(&mut self, limit: u64, version: GroupVersion) -> io::Result<()> {
        let used = self.usage.as_ref().and_then(read_text).and_then(|text| text.trim().parse::<u64>().ok());
        if version == GroupVersion::V1 && used.is_some_and(|used| used > LEFT_BEHIND_BYTES) {
            // Best effort: what stays is what the kernel cannot give back now.
            best_effort(fs::write(self.folder.join("memory.force_empty"), "0"));
        }
        if limit != self.current_limit {
            self.set_limit(limit, version)?;
        }
        if let Some(peak) = &self.peak {
            // v1 starts anew from what is in use; v2 does so for this open file, in kernels that can.
            best_effort(peak.write_at(b"0", 0));
        }
        self.kills_before = self.kills();
        Ok(())
    }

    fn set_limit(&mut self, limit: u64, version: GroupVersion) -> io::Result<()> {
        let text = limit.to_string();
        let with_swap = self.folder.join("memory.memsw.limit_in_bytes");
        let swap_too = version == GroupVersion::V1 && with_swap.exists();
        // Memory alone may never be above memory and swap together: the larger is raised first.
        if swap_too && limit > self.current_limit {
            fs::write(&with_swap, &text)?;
        }
        self.limit.write_all_at(text.as_bytes(), 0)?;
        if swap_too && limit < self.current_limit {
            fs::write(&with_swap, &text)?;
        }
        self.current_limit = limit;
        Ok(())
    }

    fn kills(&self) -> u64 {
        self.kills.as_ref().and_then(read_text).and_then(|text| value_of(&text, "oom_kill")).unwrap_or(0)
    }
}

impl Alarm {
    fn open(folder: &Path, version: GroupVersion) -> Option<Self> {
        if version == GroupVersion::V2 {
            return File::open(folder.join("memory.events")).ok().map(Self::File);
        }
        let event = nix::sys::eventfd::EventFd::from_flags(
            nix::sys::eventfd::EfdFlags::EFD_CLOEXEC | nix::sys::eventfd::EfdFlags::EFD_NONBLOCK,
        );
        let event = File::from(OwnedFd::from(event.ok()?));
        let control = File::open(folder.join("memory.oom_control")).ok()?;
        let order = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        fs::write(folder.join("cgroup.event_control"), order).ok()?;
        Some(Self::Event(event))
    }

    fn poll(&self) -> PollFd<'_> {
        match self {
            Self::Event(file) => PollFd::new(file.as_fd(), PollFlags::POLLIN),
            Self::File(file) => PollFd::new(file.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// So that it becomes ready for the next event only.
    fn take_note(&self) {
        let mut count = [0; 8];
        match self {
            Self::Event(file) => best_effort((&*file).read(&mut count)),
            Self::File(file) => drop(read_text(file)),
        }
    }
}

impl ProcessFiles {
    fn open(folder: &Path) -> io::Result<Self> {
        let limit = OpenOptions::new().read(true).write(true).open(folder.join("pids.max"))?;
        let events = File::open(folder.join("pids.events")).ok();
        Ok(Self { limit, events, current_limit: u64::MAX, refusals_before: 0 })
    }

    fn begin(&mut self, limit: u64) -> io::Result<()> {
        self.set_limit(limit)?;
        self.refusals_before = self.refusals();
        Ok(())
    }

    fn set_limit(&mut self, limit: u64) -> io::Result<()> {
        if limit != self.current_limit {
            self.limit.write_all_at(limit.to_string().as_bytes(), 0)?;
            self.current_limit = limit;
        }
        Ok(())
    }

    fn refusals(&self) -> u64 {
        self.events.as_ref().and_then(read_text).and_then(|text| value_of(&text, "max")).unwrap_or(0)
    }
}

/// The files of control groups that are read here are short.
fn read_text(file: &File) -> Option<String> {
    let mut bytes = [0; 1_024];
    let count = file.read_at(&mut bytes, 0).ok()?;
    String::from_utf8(bytes.get(..count)?.to_vec()).ok()
}

/// The number behind `key` in lines of `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key)?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_a_group_that_an_earlier_keeper_left_is_entered_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let slot = folder.path().join("slot-0");
        fs::create_dir(&slot).unwrap();
        fs::write(slot.join("cgroup.procs"), b"").unwrap();
        let (memory, processes, cpu) = (Some(slot.clone()), Some(slot.clone()), Some(slot));
        let files = SlotFiles::open(&SlotGroups { version: GroupVersion::V2, memory, processes, cpu, identity: None });
        assert_eq!(files.entries().len(), 1);
    }

    #[test]
    fn e5_counters_are_read_by_name() {
        assert_eq!(value_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(value_of("", "max"), None);
    }
}
