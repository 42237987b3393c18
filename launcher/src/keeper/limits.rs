//! The limits of a program that are looked at from time to time, and what the kernel's own say.

use super::{run::Runner, state::Run};
use crate::{
    best_effort,
    protocol::{Cause, Step},
    tree,
    watch::{Finding, most_open_files},
};
use common::units::{ByteSize, Duration};
use std::{collections::BTreeSet, time::Instant};

/// How often limits that the kernel does not keep for us are looked at.
const INTERVAL: std::time::Duration = std::time::Duration::from_millis(25);
/// How often the rest is: disk, open files, and the groups, as not every kernel tells of each event.
const SLOW_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);
/// The first look; the time to the next doubles until it is the interval.
const FIRST: std::time::Duration = std::time::Duration::from_millis(4);
/// A disk limit that a program may reach within the slow interval is looked at more often.
const SMALL_DISK: ByteSize = ByteSize(256 << 20);
/// How long a freeze may take to be complete before the disk is measured anyway.
const FREEZE_MAX: std::time::Duration = std::time::Duration::from_millis(100);
/// How often it is asked whether it is.
const FREEZE_POLL: std::time::Duration = std::time::Duration::from_millis(1);

/// When limits are looked at.
pub(super) struct Looks {
    /// Some limit has no group that keeps it.
    watched: bool,
    interval: std::time::Duration,
    pause: std::time::Duration,
    pub(super) next: Instant,
}

impl Looks {
    pub(super) fn new(runner: &Runner<'_>, step: &Step, started: Instant) -> Self {
        let groups = runner.files.limits_memory() && runner.files.limits_processes();
        let watched = step.limits.cpu_time.is_some() || !groups;
        let interval = if watched || step.limits.disk < SMALL_DISK { INTERVAL } else { SLOW_INTERVAL };
        Self { watched, interval, pause: FIRST, next: started + FIRST }
    }

    /// Whether it is time, and then when the next one is.
    fn are_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.pause = (self.pause * 2).min(self.interval);
        self.next = now + self.pause;
        true
    }
}

impl Runner<'_> {
    pub(super) fn check_limits(&mut self, step: &Step, run: &mut Run, looks: &mut Looks, now: Instant) {
        let due = looks.are_due(now);
        if let Some(cause) = run.overdue(now) {
            return run.end(cause);
        }
        if (due || run.alarmed_until.is_some())
            && let Some(cause) = self.cause_of_groups(step)
        {
            return run.end(cause);
        }
        if self.confirm_disk(run, looks, now) {
            return;
        }
        // What stands still uses nothing more.
        if !due || run.is_still() {
            return;
        }
        let pids = tree::descendants(std::process::id().cast_signed());
        if looks.watched {
            self.look_at_tree(step, run, &pids);
        }
        run.open_files = run.open_files.max(most_open_files(&pids));
        if !run.killing {
            self.look_at_disk(run, looks, &pids, now);
        }
    }

    /// The limits that no control group keeps.
    fn look_at_tree(&self, step: &Step, run: &mut Run, pids: &BTreeSet<i32>) {
        let limits = &step.limits;
        let by_group =
            run.cpu_before.and_then(|before| Some(Duration(self.files.cpu_micros()?.saturating_sub(before))));
        if let (Some(used), Some(limit)) = (by_group, limits.cpu_time)
            && used > limit
        {
            return run.end(Cause::CpuTime(used));
        }
        let complete = self.files.limits_memory() && self.files.limits_processes();
        if complete && (by_group.is_some() || limits.cpu_time.is_none()) {
            return;
        }
        let usage = tree::usage_of(pids);
        if !self.files.limits_memory() {
            // Files in a private `/tmp` are memory.
            let files = run.disk.tmp_bytes();
            run.memory_peak = run.memory_peak.max(ByteSize(usage.resident.0 + files));
            if usage.resident.0 + files > limits.memory.0 {
                let used = ByteSize(tree::proportional_memory_of(pids).0 + files);
                if used > limits.memory {
                    return run.end(Cause::Memory(used));
                }
            }
        }
        if let Some(cause) = self.too_many(step) {
            return run.end(cause);
        }
        let used = Duration(usage.cpu.0 + run.cpu.0);
        if by_group.is_none() && limits.cpu_time.is_some_and(|limit| used > limit) {
            run.end(Cause::CpuTime(used));
        }
    }

    /// More processes than a watched program may have, which it came to between two looks.
    pub(super) fn too_many(&self, step: &Step) -> Option<Cause> {
        if self.files.limits_processes() {
            return None;
        }
        let usage = tree::usage_of(&tree::descendants(std::process::id().cast_signed()));
        let processes = usage.processes.max(self.processes_at_a_glance());
        (processes > step.limits.processes).then_some(Cause::Processes(processes))
    }

    /// Where nobody else has processes that look like the program's.
    fn processes_at_a_glance(&self) -> u32 {
        match (self.own_processes, self.user) {
            // Without this one.
            (true, _) => tree::count_of_processes(None).saturating_sub(1),
            (false, Some(user)) => tree::count_of_processes(Some(user.uid)),
            (false, None) => 0,
        }
    }

    fn look_at_disk(&mut self, run: &mut Run, looks: &mut Looks, pids: &BTreeSet<i32>, now: Instant) {
        let (disk, folder) = run.disk();
        match disk.tick(folder, pids, now) {
            Finding::Fine => {}
            Finding::NoSpace { used, left } => {
                run.end(Cause::NoSpace { used: ByteSize(used), left: ByteSize(left) });
            }
            Finding::Over(_) => {
                run.confirming = Some(now + FREEZE_MAX);
                self.confirm_disk(run, looks, now);
            }
        }
    }

    /// Files that are moved while they are counted may be counted twice: the program stands still for the count that
    /// ends it, where there is a group that can make it. A part at a time, so that orders are heard meanwhile. True
    /// when that is going on.
    fn confirm_disk(&mut self, run: &mut Run, looks: &mut Looks, now: Instant) -> bool {
        let Some(until) = run.confirming else { return false };
        // It may have been told to go on meanwhile.
        let frozen = self.files.set_frozen(true).unwrap_or(false);
        if frozen && !self.files.is_frozen() && now < until {
            looks.next = now + FREEZE_POLL;
            return true;
        }
        let pids = tree::descendants(std::process::id().cast_signed());
        if !std::mem::replace(&mut run.measuring, true) {
            let (disk, folder) = run.disk();
            disk.begin_measure(folder);
        }
        let (disk, folder) = run.disk();
        let Some(finding) = disk.go_on_measuring(folder, &pids) else {
            looks.next = now;
            return true;
        };
        (run.confirming, run.measuring) = (None, false);
        if let Finding::Over(used) = finding {
            run.end(Cause::Disk(ByteSize(used)));
        } else if frozen && !run.is_still() {
            best_effort(self.files.set_frozen(false));
        }
        true
    }

    /// What the control groups say about why a program ended.
    pub(super) fn cause_of_groups(&self, step: &Step) -> Option<Cause> {
        // Both, so that what is known of both is of the same moment.
        let (memory, processes) = (self.files.memory_ran_out(), self.files.processes_ran_out());
        if memory {
            let used = self.files.memory_peak().unwrap_or(step.limits.memory.0);
            Some(Cause::Memory(ByteSize(used)))
        } else if processes {
            Some(Cause::Processes(step.limits.processes))
        } else {
            None
        }
    }

    /// What is only known when the whole tree is gone.
    pub(super) fn last_look(&mut self, step: &Step, run: &mut Run) -> Option<Cause> {
        let untouched = run.left_folder_alone;
        let (disk, folder) = run.disk();
        let finding = if untouched { disk.measure_tmp(self.starter.tmp_bytes()) } else { disk.measure(folder) };
        if let Finding::Over(used) = finding {
            return Some(Cause::Disk(ByteSize(used)));
        }
        // The kernel refused it one more; what the program made of it is its own affair, if it ended well.
        let failed = !matches!(run.main_end, Some((crate::protocol::Status::Exited(0), _)));
        (failed && run.open_files >= step.limits.open_files).then_some(Cause::OpenFiles(run.open_files))
    }
}
