//! Ends a program's whole tree, and makes it stand still and go on.

use super::{run::Runner, state::Run};
use crate::{best_effort, protocol::Step, spawn, tree};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Instant;

/// Processes that a group may have while its program is ended: the keeper and its helper.
const PROCESSES_WHILE_KILLING: u64 = 4;
/// Passes after which every means is used, whatever there is.
const PASSES_OF_THE_USUAL: u32 = 2;

impl Runner<'_> {
    /// Ends everything that is left, by every means there is; `reap` tells when it is done.
    pub(super) fn kill(&mut self, step: &Step, run: &mut Run) {
        if run.kill_passes == 0 {
            // Before ending it makes the group refuse processes as well.
            run.cause = run.cause.or_else(|| self.cause_of_groups(step)).or_else(|| self.too_many(step));
        }
        run.kill_passes += 1;
        self.files.kill();
        let stubborn = run.kill_passes > PASSES_OF_THE_USUAL;
        if self.own_processes {
            // All that this process sees but itself: it is the first of the slot's own namespace.
            best_effort(kill(Pid::from_raw(-1), Signal::SIGKILL));
        }
        if !stubborn && (self.own_processes || self.files.kills_whole()) {
            return;
        }
        // The group has all of them. Where there is none, or should one be left, the user tells them.
        if let Some(user) = self.user.filter(|_| !self.files.limits_processes() || stubborn) {
            self.files.set_process_limit(PROCESSES_WHILE_KILLING);
            spawn::kill_all_of(user);
        }
        // All of a process group at once; most programs never leave theirs. When the main process is gone its
        // number is only the group's as long as one of ours is in it.
        let own = std::process::id().cast_signed();
        if run.main_end.is_none() || tree::is_any_in_group(&tree::descendants(own), run.main) {
            run.kill_group();
        }
        tree::kill_descendants_of(own);
    }

    /// The whole tree stands still, by its group or by signals, and its wall time does not run.
    pub(super) fn suspend(&mut self, run: &mut Run) {
        if run.killing || run.main_end.is_some() || run.is_still() {
            return;
        }
        if !self.files.set_frozen(true).unwrap_or(false) {
            run.stopped = tree::stop_descendants_of(std::process::id().cast_signed());
        }
        run.stand_still(Instant::now());
        self.set_suspended(true);
    }

    pub(super) fn resume(&mut self, run: &mut Run) {
        if !run.is_still() {
            return;
        }
        best_effort(self.files.set_frozen(false));
        let stopped = std::mem::take(&mut run.stopped);
        // One that ended meanwhile may have left its number to another.
        let there = tree::descendants(std::process::id().cast_signed());
        for pid in stopped.intersection(&there).copied() {
            best_effort(kill(Pid::from_raw(pid), Signal::SIGCONT));
        }
        run.go_on(Instant::now());
        self.set_suspended(false);
    }
}
