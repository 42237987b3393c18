//! What is known of the program that runs.

use crate::{
    best_effort,
    protocol::{Cause, QUICK, Status, Step},
    watch::Disk,
};
use common::units::{ByteSize, Duration};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::Instant,
};

/// A program from its start to the end of its tree.
pub(super) struct Run {
    pub(super) main: i32,
    started: Instant,
    wall_limit: std::time::Duration,
    /// How long it stood still, and since when it does so now.
    stood_still: std::time::Duration,
    still_since: Option<Instant>,
    /// What was stopped by signals, where no group can freeze.
    pub(super) stopped: BTreeSet<i32>,
    pub(super) cpu_before: Option<u64>,
    pub(super) main_end: Option<(Status, std::time::Duration)>,
    pub(super) cause: Option<Cause>,
    pub(super) killing: bool,
    kill_at: Option<Instant>,
    /// Of processes that were waited for.
    pub(super) cpu: Duration,
    pub(super) memory_peak: ByteSize,
    pub(super) left_over: u32,
    pub(super) agent_gone: bool,
    pub(super) kill_passes: u32,
    /// Until when the kernel may be about to end a process for want of memory.
    pub(super) alarmed_until: Option<Instant>,
    /// The most files that one process was seen to have open.
    pub(super) open_files: u32,
    pub(super) disk: Disk,
    /// It seems to be over the disk limit and is to stand still while that is confirmed, within this time.
    pub(super) confirming: Option<Instant>,
    /// It does, and what it takes is being counted.
    pub(super) measuring: bool,
    /// Its working folder.
    folder: Rc<OwnedFd>,
    /// Its working folder is surely as it was, so that there is no need to look into it.
    pub(super) left_folder_alone: bool,
    /// It comes from a queue.
    pub(super) quick: Option<Quick>,
}

/// What only a step of a queue has.
pub(super) struct Quick {
    pub(super) number: u64,
    /// What it writes to; the agent's when it has outlived its time.
    pub(super) pipes: Option<[OwnedFd; 2]>,
    /// Every change of its working folder shows.
    pub(super) shows_changes: bool,
}

impl Run {
    pub(super) fn new(main: i32, step: &Step, cpu_before: Option<u64>, disk: Disk, folder: Rc<OwnedFd>) -> Self {
        Self {
            main,
            started: Instant::now(),
            wall_limit: step.limits.wall_time.to_std(),
            stood_still: std::time::Duration::ZERO,
            still_since: None,
            stopped: BTreeSet::new(),
            cpu_before,
            main_end: None,
            cause: None,
            killing: false,
            kill_at: None,
            cpu: Duration(0),
            memory_peak: ByteSize(0),
            left_over: 0,
            agent_gone: false,
            kill_passes: 0,
            alarmed_until: None,
            open_files: 0,
            disk,
            confirming: None,
            measuring: false,
            folder,
            left_folder_alone: false,
            quick: None,
        }
    }

    pub(super) const fn folder(&self) -> &Rc<OwnedFd> {
        &self.folder
    }

    /// Until when a step of a queue counts as a quick one; none when it does not, or not any more.
    pub(super) fn quick_until(&self) -> Option<Instant> {
        self.quick.as_ref().filter(|quick| quick.pipes.is_some()).map(|_| self.started + QUICK.to_std())
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// The watch over the disk, and the folder that it looks at.
    pub(super) fn disk(&mut self) -> (&mut Disk, BorrowedFd<'_>) {
        (&mut self.disk, self.folder.as_fd())
    }

    /// How long it has run, without the time that it stood still.
    pub(super) fn ran(&self, now: Instant) -> std::time::Duration {
        let until = self.still_since.unwrap_or(now);
        until.saturating_duration_since(self.started).saturating_sub(self.stood_still)
    }

    pub(super) const fn is_still(&self) -> bool {
        self.still_since.is_some()
    }

    pub(super) fn stand_still(&mut self, now: Instant) {
        self.still_since.get_or_insert(now);
    }

    pub(super) fn go_on(&mut self, now: Instant) {
        if let Some(since) = self.still_since.take() {
            self.stood_still += now.saturating_duration_since(since);
        }
    }

    pub(super) const fn set_wall_limit(&mut self, limit: std::time::Duration) {
        self.wall_limit = limit;
    }

    /// What time alone ends.
    pub(super) fn overdue(&self, now: Instant) -> Option<Cause> {
        if self.ran(now) >= self.wall_limit {
            Some(Cause::WallTime)
        } else if self.kill_at.is_some_and(|at| now >= at) {
            Some(Cause::Ordered)
        } else {
            None
        }
    }

    /// When [`Run::overdue`] may say something else than now.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let wall = if self.is_still() { None } else { now.checked_add(self.wall_limit.saturating_sub(self.ran(now))) };
        [wall, self.kill_at].into_iter().flatten().min()
    }

    /// Takes note of every child that ended. False when there is none left.
    pub(super) fn reap(&mut self) -> bool {
        loop {
            let mut status = 0;
            // SAFETY: plain numbers, for which zero is a value.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: the call fills the two that it is given.
            let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, &raw mut usage) };
            match pid {
                0 => return true,
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                -1 => return false,
                _ => self.take_note(pid, status, &usage),
            }
        }
    }

    fn take_note(&mut self, pid: i32, status: i32, usage: &libc::rusage) {
        let micros = |time: libc::timeval| {
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
        };
        self.cpu.0 += micros(usage.ru_utime) + micros(usage.ru_stime);
        let resident = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
        self.memory_peak = self.memory_peak.max(ByteSize(resident));
        if pid != self.main {
            self.left_over += u32::from(self.main_end.is_some());
        } else if libc::WIFSIGNALED(status) {
            self.main_end = Some((Status::Signalled(libc::WTERMSIG(status)), self.ran(Instant::now())));
        } else {
            self.main_end = Some((Status::Exited(libc::WEXITSTATUS(status)), self.ran(Instant::now())));
        }
    }

    /// Ends the tree for this reason; the first reason counts.
    pub(super) fn end(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
        self.killing = true;
    }

    /// Asks the program to end, and ends it after `grace`. It does not stand still by then.
    pub(super) fn cancel(&mut self, grace: Duration) {
        if self.killing || self.kill_at.is_some() {
            return;
        }
        let now = Instant::now();
        self.kill_at = Some(now.checked_add(grace.to_std()).unwrap_or(now));
        self.signal(Signal::SIGTERM as i32);
        // A program that stopped itself would not see it.
        self.signal(Signal::SIGCONT as i32);
    }

    /// To the program's process group.
    pub(super) fn signal(&self, signal: i32) {
        // One that stands still by signals would go on.
        let wakes = signal == libc::SIGCONT && !self.stopped.is_empty();
        if self.main_end.is_none() && !wakes && (1..=64).contains(&signal) {
            // SAFETY: a call on numbers; the group is that of a child which was not waited for yet.
            best_effort(nix::errno::Errno::result(unsafe { libc::killpg(self.main, signal) }));
        }
    }

    pub(super) fn kill_group(&self) {
        best_effort(killpg(Pid::from_raw(self.main), Signal::SIGKILL));
    }
}
