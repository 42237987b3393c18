//! What keeps the memory and the processes of a slot's programs within their limits: one trait, and one
//! implementation for each way there is.

use super::{identity::Identity, v1::V1, v2::V2};
use crate::protocol::{GroupVersion, SlotGroups};
use nix::poll::PollFd;
use std::io;

/// One way. What it says that it does not do, the keeper does by watching.
pub(crate) trait Backend {
    /// The group that tells the program's processes from all others, where there is one.
    fn identity(&self) -> Option<&Identity>;

    fn identity_mut(&mut self) -> Option<&mut Identity>;

    /// Sets the limits of the next program and forgets the figures of the last.
    fn begin(&mut self, memory: u64, processes: u32) -> io::Result<()>;

    fn limits_memory(&self) -> bool;

    fn limits_processes(&self) -> bool;

    /// Processor time that its group has used, ever, in microseconds.
    fn cpu_micros(&self) -> Option<u64> {
        self.identity().and_then(Identity::cpu_micros)
    }

    /// The most memory since `begin`.
    fn memory_peak(&self) -> Option<u64>;

    /// Whether the kernel has ended a process of the group for want of memory since `begin`.
    fn memory_ran_out(&self) -> bool;

    /// Whether the group has refused a process since `begin`.
    fn processes_ran_out(&self) -> bool;

    /// What becomes ready when the group refuses a process or memory runs out.
    fn alarms(&self) -> Vec<PollFd<'_>>;

    /// Takes note of an alarm.
    fn hear_alarm(&self);

    /// How many processes the group may have from now on.
    fn allow_processes(&mut self, count: u64);

    /// Kills all of the program.
    fn kill(&mut self);

    /// The program stands still, or goes on. False when there is no group that can do it.
    fn set_frozen(&mut self, frozen: bool) -> io::Result<bool> {
        match self.identity_mut() {
            Some(identity) if identity.freezes() => identity.set_frozen(frozen).map(|()| true),
            Some(_) | None => Ok(false),
        }
    }

    /// Whether every process stands still by now.
    fn is_frozen(&self) -> bool {
        self.identity().is_some_and(Identity::is_frozen)
    }
}

/// The best of what there is, and why a group that was asked for is not used; empty when all is well.
pub(super) fn open(groups: &SlotGroups) -> (Box<dyn Backend>, String) {
    let mut problem = String::new();
    let identity = groups
        .identity
        .as_ref()
        .and_then(|path| Identity::open(path).map_err(|error| problem = format!("{}: {error}", path.display())).ok());
    match (groups.version, identity) {
        (GroupVersion::V2, Some(identity)) if groups.memory.is_some() => match V2::open(identity) {
            Ok(backend) => (Box::new(backend), problem),
            Err((error, identity)) => {
                problem = format!("memory is not limited by cgroup v2: {error}");
                (Box::new(Watching { identity: Some(identity) }), problem)
            }
        },
        (GroupVersion::V1, identity) if groups.memory.is_some() || groups.processes.is_some() => {
            (Box::new(V1::open(groups, identity, &mut problem)), problem)
        }
        (GroupVersion::V1 | GroupVersion::V2, identity) => {
            let freezer = groups.freezer.is_some().then(|| V1::open(groups, None, &mut problem));
            match (identity, freezer) {
                (None, Some(freezer)) => (Box::new(freezer), problem),
                (identity, _) => (Box::new(Watching { identity }), problem),
            }
        }
    }
}

/// No group limits anything: the keeper looks at the processes and sets the limits that each process has.
pub(super) struct Watching {
    pub(super) identity: Option<Identity>,
}

impl Backend for Watching {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    fn identity_mut(&mut self) -> Option<&mut Identity> {
        self.identity.as_mut()
    }

    fn begin(&mut self, _: u64, _: u32) -> io::Result<()> {
        if let Some(identity) = &mut self.identity {
            identity.prepare(false);
        }
        Ok(())
    }

    fn limits_memory(&self) -> bool {
        false
    }

    fn limits_processes(&self) -> bool {
        false
    }

    fn memory_peak(&self) -> Option<u64> {
        None
    }

    fn memory_ran_out(&self) -> bool {
        false
    }

    fn processes_ran_out(&self) -> bool {
        false
    }

    fn alarms(&self) -> Vec<PollFd<'_>> {
        Vec::new()
    }

    fn hear_alarm(&self) {}

    fn allow_processes(&mut self, _: u64) {}

    fn kill(&mut self) {
        if let Some(identity) = &mut self.identity
            && !identity.kill()
        {
            identity.folder().kill_members();
        }
    }
}
