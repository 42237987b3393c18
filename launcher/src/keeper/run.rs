//! One program from its start to the end of its whole tree.

use super::signals;
use crate::{
    Socket, best_effort,
    cgroup::SlotFiles,
    protocol::{Cause, Ended, FromKeeper, KeeperState, NotStarted, ProgramUser, StartStep, Status, Step, ToKeeper},
    serve::boot_now,
    socket::{Received, Wait},
    spawn::{self, Starter, StepDescriptors},
    tree,
};
use common::units::{ByteSize, Duration};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        signal::{SigSet, Signal, killpg},
        time::TimeSpec,
    },
    unistd::Pid,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

/// How often limits that the kernel does not keep for us are looked at.
const WATCH_INTERVAL: std::time::Duration = std::time::Duration::from_millis(25);
/// How often the groups are asked even without an alarm: not every kernel tells of each event.
const GROUPS_INTERVAL: std::time::Duration = std::time::Duration::from_millis(200);
/// How long after an alarm the kernel may still be about to end a process.
const ALARM_LASTS: std::time::Duration = std::time::Duration::from_millis(500);
/// Processes that a group may have while its program is ended: the keeper and its helper.
const PROCESSES_WHILE_KILLING: u64 = 4;
/// How often a tree that does not end is killed again.
const KILL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

pub(super) struct Runner {
    socket: Socket,
    files: SlotFiles,
    starter: Starter,
    user: Option<ProgramUser>,
    null: OwnedFd,
    mask: SigSet,
    /// The last program, for an agent that follows another.
    last: Option<Last>,
}

/// What is kept of a program until the next one begins.
struct Last {
    tag: Vec<u8>,
    note: Vec<u8>,
    /// Its working folder and the reading ends of its pipes.
    descriptors: Vec<OwnedFd>,
    /// How it ended; none while it runs.
    report: Option<FromKeeper>,
}

/// What is known of the program that runs.
struct Run {
    main: i32,
    started: Instant,
    cpu_before: Option<u64>,
    main_end: Option<(Status, std::time::Duration)>,
    cause: Option<Cause>,
    killing: bool,
    kill_at: Option<Instant>,
    cpu: Duration,
    memory_peak: ByteSize,
    left_over: u32,
    agent_gone: bool,
    kill_passes: u32,
    /// Until when the kernel may be about to end a process for want of memory.
    alarmed_until: Option<Instant>,
}

impl Runner {
    pub(super) fn new(
        socket: Socket,
        files: SlotFiles,
        starter: Starter,
        user: Option<ProgramUser>,
        null: OwnedFd,
    ) -> Self {
        Self { socket, files, starter, user, null, mask: signals::while_waiting(), last: None }
    }

    /// The agent's next message. Interrupted only by the launcher's end.
    pub(super) fn receive(&mut self, wait: Wait) -> io::Result<Option<Received<ToKeeper>>> {
        if wait == Wait::Yes {
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match ppoll(&mut ready, None, Some(self.mask)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if signals::is_launcher_gone() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.socket.receive(Wait::No)
    }

    pub(super) fn send(&self, message: &FromKeeper) -> io::Result<()> {
        self.socket.send(message, &[])
    }

    /// Reports an end, and keeps the report for whoever asks later.
    pub(super) fn report(&mut self, report: FromKeeper) -> io::Result<()> {
        let sent = self.send(&report);
        if let Some(last) = &mut self.last {
            last.report = Some(report);
        }
        sent
    }

    /// Tells what is the matter, with what an agent needs to go on.
    pub(super) fn tell(&self, number: u64) -> io::Result<()> {
        let Some(last) = &self.last else {
            return self.send(&FromKeeper::State { number, state: KeeperState::Idle });
        };
        let (tag, note) = (last.tag.clone(), last.note.clone());
        let state = match &last.report {
            None => KeeperState::Running { tag, note, suspended: false },
            Some(report) => KeeperState::Ended { tag, note, report: Box::new(report.clone()) },
        };
        let descriptors: Vec<_> = last.descriptors.iter().map(AsFd::as_fd).collect();
        self.socket.send(&FromKeeper::State { number, state }, &descriptors)
    }

    /// Runs one program. An error means that the agent or the launcher is gone; the tree is dead by then.
    pub(super) fn run(&mut self, mut step: Step, mut descriptors: Vec<OwnedFd>) -> io::Result<FromKeeper> {
        let programs_own = 3 + usize::from(step.stdin);
        if descriptors.len() < programs_own {
            return Ok(FromKeeper::NotStarted(not_started(StartStep::Descriptors, Errno::EBADF)));
        }
        let mut kept = descriptors.split_off(programs_own);
        // One that came for the program before this one.
        signals::forget_lease_ended();
        let started = self.start(&step, &descriptors);
        kept.insert(0, descriptors.swap_remove(0));
        // The pipes must have no writer but the program, or the agent would never see their end.
        drop(descriptors);
        let tag = std::mem::take(&mut step.tag);
        self.last = Some(Last { tag, note: Vec::new(), descriptors: kept, report: None });
        match started {
            Ok(run) => self.watch(&step, run),
            Err(failure) => Ok(FromKeeper::NotStarted(failure)),
        }
    }

    fn start(&mut self, step: &Step, descriptors: &[OwnedFd]) -> Result<Run, NotStarted> {
        let [folder, output, error, rest @ ..] = descriptors else {
            return Err(not_started(StartStep::Descriptors, Errno::EBADF));
        };
        if step.lease_until.is_some_and(|until| boot_now().0 >= until) {
            return Err(not_started(StartStep::Lease, Errno::ETIME));
        }
        let input = rest.first().unwrap_or(&self.null);
        if let Err(error) = self.files.begin(step.limits.memory.0, step.limits.processes) {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            return Err(not_started(StartStep::Group, errno));
        }
        let cpu_before = self.files.cpu_micros().filter(|_| step.limits.cpu_time.is_some());
        let standard = [input.as_fd(), output.as_fd(), error.as_fd()];
        let descriptors = StepDescriptors { folder: folder.as_fd(), standard, groups: self.files.entries() };
        let started = Instant::now();
        let main = self.starter.start(step, descriptors)?;
        Ok(Run {
            main,
            started,
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
        })
    }

    fn watch(&mut self, step: &Step, mut run: Run) -> io::Result<FromKeeper> {
        let watched = step.limits.cpu_time.is_some() || !self.files.limits_memory() || !self.files.limits_processes();
        let interval = if watched { WATCH_INTERVAL } else { GROUPS_INTERVAL };
        let mut watch_at = run.started + interval;
        loop {
            if !run.reap() {
                break;
            }
            if run.main_end.is_some() && !run.killing {
                run.killing = true;
            }
            let now = Instant::now();
            if !run.killing {
                let due = now >= watch_at;
                if due {
                    watch_at = now + interval;
                }
                self.check_limits(step, &mut run, now, due, watched);
            }
            if run.killing {
                self.kill(step, &mut run);
            }
            let until = if run.killing || run.alarmed_until.is_some_and(|until| now < until) {
                now + KILL_INTERVAL
            } else {
                run.next_deadline(step).min(watch_at)
            };
            self.wait(step, &mut run, until)?;
        }
        if run.agent_gone {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(FromKeeper::Ended(self.result(step, &run)))
    }

    fn check_limits(&self, step: &Step, run: &mut Run, now: Instant, due: bool, watched: bool) {
        if now >= run.started + step.limits.wall_time.to_std() {
            run.end(Cause::WallTime);
        } else if run.kill_at.is_some_and(|at| now >= at) {
            run.end(Cause::Ordered);
        } else if due || run.alarmed_until.is_some() {
            match self.cause_of_groups(step) {
                Some(cause) => run.end(cause),
                None if due && watched => self.look_at_tree(step, run),
                None => {}
            }
        }
    }

    /// The limits that no control group keeps.
    fn look_at_tree(&self, step: &Step, run: &mut Run) {
        let limits = &step.limits;
        let by_group =
            run.cpu_before.and_then(|before| Some(Duration(self.files.cpu_micros()?.saturating_sub(before))));
        let complete = self.files.limits_memory() && self.files.limits_processes();
        if !(complete && (by_group.is_some() || limits.cpu_time.is_none())) {
            let pids = tree::descendants(std::process::id().cast_signed());
            let usage = tree::usage_of(&pids);
            run.memory_peak = run.memory_peak.max(usage.resident);
            if !self.files.limits_memory() && usage.resident > limits.memory {
                let used = tree::proportional_memory_of(&pids);
                if used > limits.memory {
                    return run.end(Cause::Memory(used));
                }
            }
            if !self.files.limits_processes() && usage.processes > limits.processes {
                return run.end(Cause::Processes(usage.processes));
            }
            let used = Duration(usage.cpu.0 + run.cpu.0);
            if by_group.is_none() && limits.cpu_time.is_some_and(|limit| used > limit) {
                return run.end(Cause::CpuTime(used));
            }
        }
        if let (Some(used), Some(limit)) = (by_group, limits.cpu_time)
            && used > limit
        {
            run.end(Cause::CpuTime(used));
        }
    }

    /// Ends everything that is left, by every means there is; `reap` tells when it is done.
    fn kill(&mut self, step: &Step, run: &mut Run) {
        if run.kill_passes == 0 {
            // Before ending it makes the group refuse processes as well.
            run.cause = run.cause.or_else(|| self.cause_of_groups(step));
        }
        run.kill_passes += 1;
        self.files.kill();
        // The group has all of them. Where there is none, or should one be left, the user tells them.
        if let Some(user) = self.user.filter(|_| !self.files.limits_processes() || run.kill_passes > 2) {
            self.files.set_process_limit(PROCESSES_WHILE_KILLING);
            spawn::kill_all_of(user);
        }
        // All of a process group at once; most programs never leave theirs. When the main process is gone its
        // number is only the group's as long as one of ours is in it.
        let own = std::process::id().cast_signed();
        if run.main_end.is_none() || tree::is_any_in_group(&tree::descendants(own), run.main) {
            best_effort(killpg(Pid::from_raw(run.main), Signal::SIGKILL));
        }
        tree::kill_descendants_of(own);
    }

    /// What the control groups say about why a program ended.
    fn cause_of_groups(&self, step: &Step) -> Option<Cause> {
        if self.files.memory_ran_out() {
            let used = self.files.memory_peak().unwrap_or(step.limits.memory.0);
            Some(Cause::Memory(ByteSize(used)))
        } else if self.files.processes_ran_out() {
            Some(Cause::Processes(step.limits.processes))
        } else {
            None
        }
    }

    /// Waits for the end of a child, a message, an event of the control group or `until`.
    fn wait(&mut self, step: &Step, run: &mut Run, until: Instant) -> io::Result<()> {
        let timeout = until.saturating_duration_since(Instant::now());
        let mut ready = Vec::with_capacity(3);
        if !run.agent_gone {
            ready.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
        }
        if !run.killing {
            ready.extend(self.files.alarms());
        }
        match ppoll(&mut ready, Some(TimeSpec::from_duration(timeout)), Some(self.mask)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready.iter().skip(1).any(|fd| fd.any() == Some(true)) {
            run.alarmed_until = Some(Instant::now() + ALARM_LASTS);
            self.files.hear_memory_alarm();
        }
        // One that has ended before this program began is of no account; one that became shorter counts later.
        if signals::has_lease_ended() && step.lease_until.is_some_and(|until| boot_now().0 >= until) {
            run.end(Cause::LeaseEnded);
        }
        if run.agent_gone {
            return Ok(());
        }
        match self.receive(Wait::No) {
            Ok(None) => {}
            Ok(Some(received)) => match received.message {
                ToKeeper::Cancel { grace, note } => {
                    self.note(note);
                    run.cancel(grace);
                }
                ToKeeper::Kill { note } => {
                    self.note(note);
                    run.end(Cause::Ordered);
                }
                ToKeeper::Tell { number } => self.tell(number)?,
                // The agent never sends it before the last one ended.
                ToKeeper::Run(_) => {}
                ToKeeper::Suspend | ToKeeper::Resume | ToKeeper::SetWallTime(_) | ToKeeper::Signal(_) => {}
            },
            Err(_) => {
                run.agent_gone = true;
                run.killing = true;
            }
        }
        Ok(())
    }

    /// The first reason counts.
    fn note(&mut self, note: Vec<u8>) {
        if let Some(last) = self.last.as_mut().filter(|last| last.note.is_empty()) {
            last.note = note;
        }
    }

    fn result(&self, step: &Step, run: &Run) -> Ended {
        let (status, wall) = run.main_end.unwrap_or((Status::Signalled(libc::SIGKILL), run.started.elapsed()));
        // A program that was killed here has its cause already; killing makes the groups say more.
        let groups = || if run.killing { None } else { self.cause_of_groups(step) };
        let cause = run.cause.or_else(groups).or(match status {
            Status::Signalled(libc::SIGXFSZ) => Some(Cause::FileSize),
            Status::Signalled(libc::SIGXCPU) if step.limits.cpu_time.is_some() => Some(Cause::CpuTime(run.cpu)),
            Status::Signalled(_) | Status::Exited(_) => None,
        });
        Ended {
            status,
            cause,
            wall: wall.into(),
            cpu: run.cpu,
            memory_peak: self.files.memory_peak().map_or(run.memory_peak, ByteSize),
            left_over: run.left_over,
        }
    }
}

impl Run {
    /// Takes note of every child that ended. False when there is none left.
    fn reap(&mut self) -> bool {
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
            self.main_end = Some((Status::Signalled(libc::WTERMSIG(status)), self.started.elapsed()));
        } else {
            self.main_end = Some((Status::Exited(libc::WEXITSTATUS(status)), self.started.elapsed()));
        }
    }

    /// Ends the tree for this reason; the first reason counts.
    fn end(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
        self.killing = true;
    }

    fn cancel(&mut self, grace: Duration) {
        if self.killing || self.kill_at.is_some() {
            return;
        }
        self.kill_at = Some(Instant::now() + grace.to_std());
        if self.main_end.is_none() {
            best_effort(killpg(Pid::from_raw(self.main), Signal::SIGTERM));
            // A program that stopped itself would not see it.
            best_effort(killpg(Pid::from_raw(self.main), Signal::SIGCONT));
        }
    }

    fn next_deadline(&self, step: &Step) -> Instant {
        let wall = self.started + step.limits.wall_time.to_std();
        self.kill_at.map_or(wall, |at| at.min(wall))
    }
}

const fn not_started(step: StartStep, errno: Errno) -> NotStarted {
    NotStarted { step, errno: errno as i32, candidate: 0 }
}
