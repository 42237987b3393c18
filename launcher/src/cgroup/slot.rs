//! One slot's control groups, open in its keeper.

use super::backend::{self, Backend};
use super::identity::Identity;
use crate::protocol::SlotGroups;
use nix::poll::PollFd;
use std::{
    io,
    os::fd::{BorrowedFd, RawFd},
};

/// A slot's groups, for the keeper: whatever way there is to limit its programs.
pub(crate) struct SlotFiles {
    backend: Box<dyn Backend>,
    /// Why a group that was asked for is not used; empty when all is well.
    pub(crate) problem: String,
}

impl SlotFiles {
    /// Makes the groups, and enters those that the keeper lives in. Needs the machine's own root; nothing here does
    /// any more afterwards.
    pub(crate) fn open(groups: &SlotGroups) -> Self {
        let (backend, problem) = backend::open(groups);
        Self { backend, problem }
    }

    /// The group that the next program is born in. Valid until `begin` is called again.
    pub(crate) fn identity(&self) -> Option<BorrowedFd<'_>> {
        self.backend.identity().and_then(Identity::birthplace)
    }

    /// What a child that was not born in the group writes `0` to.
    pub(crate) fn entries(&self) -> &[RawFd] {
        self.backend.identity().map(Identity::entries).unwrap_or_default()
    }

    pub(crate) fn limits_memory(&self) -> bool {
        self.backend.limits_memory()
    }

    pub(crate) fn limits_processes(&self) -> bool {
        self.backend.limits_processes()
    }

    /// Sets the limits of the next program and forgets the figures of the last. Its group is not frozen.
    pub(crate) fn begin(&mut self, memory: u64, processes: u32) -> io::Result<()> {
        self.backend.set_frozen(false)?;
        self.backend.begin(memory, processes)
    }

    /// Processor time that the group has used, ever, in microseconds.
    pub(crate) fn cpu_micros(&self) -> Option<u64> {
        self.backend.cpu_micros()
    }

    /// The most memory since `begin`.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        self.backend.memory_peak()
    }

    /// Whether the kernel has ended a process of the group for want of memory since `begin`.
    pub(crate) fn memory_ran_out(&self) -> bool {
        self.backend.memory_ran_out()
    }

    /// Whether the group has refused a process since `begin`.
    pub(crate) fn processes_ran_out(&self) -> bool {
        self.backend.processes_ran_out()
    }

    /// What becomes ready when the group refuses a process or memory runs out.
    pub(crate) fn alarms(&self) -> Vec<PollFd<'_>> {
        self.backend.alarms()
    }

    /// Takes note of an alarm. The kernel gives it a moment before it ends a process.
    pub(crate) fn hear_memory_alarm(&self) {
        self.backend.hear_alarm();
    }

    /// Lets the keeper make a process of its own while it ends a program.
    pub(crate) fn set_process_limit(&mut self, limit: u64) {
        self.backend.allow_processes(limit);
    }

    /// Kills all in the groups but the keeper, and lets no new process be made meanwhile.
    pub(crate) fn kill(&mut self) {
        self.backend.kill();
    }

    /// The program stands still, or goes on. False when no group can do it.
    pub(crate) fn set_frozen(&mut self, frozen: bool) -> io::Result<bool> {
        self.backend.set_frozen(frozen)
    }

    /// Whether every process of the program stands still by now.
    pub(crate) fn is_frozen(&self) -> bool {
        self.backend.is_frozen()
    }

    /// Whether [`SlotFiles::kill`] ends all of the program at once.
    pub(crate) fn kills_whole(&self) -> bool {
        self.backend.identity().is_some_and(Identity::kills)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::GroupVersion;
    use std::fs;

    #[test]
    fn e7_a_group_that_an_earlier_keeper_left_is_entered_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let slot = folder.path().join("slot-0");
        fs::create_dir(&slot).unwrap();
        for name in ["cgroup.procs", "memory.max", "pids.max"] {
            fs::write(slot.join(name), b"").unwrap();
        }
        let [memory, processes, cpu, identity] = [(); 4].map(|()| Some(slot.clone()));
        let groups = SlotGroups { version: GroupVersion::V2, memory, processes, cpu, identity, freezer: None };
        let files = SlotFiles::open(&groups);
        assert_eq!(files.problem, "");
        assert_eq!(files.entries().len(), 1);
        assert!(files.identity().is_some() && files.limits_memory());
    }
}
