//! One program from its start to the end of its whole tree.

use super::{limits::Looks, signals, state::Run};
use crate::{
    Socket,
    cgroup::SlotFiles,
    protocol::{
        Cause, Ended, FromKeeper, KeeperConfig, KeeperState, Namespaces, NotStarted, ProgramUser, StartStep, Status,
        Step, ToKeeper,
    },
    serve::boot_now,
    socket::{Received, Wait},
    spawn::{Starter, StepDescriptors},
    watch::Disk,
};
use common::units::ByteSize;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::SigSet, time::TimeSpec},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

/// How long after an alarm the kernel may still be about to end a process.
const ALARM_LASTS: std::time::Duration = std::time::Duration::from_millis(500);
/// How often a tree that does not end is killed again.
const KILL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

pub(super) struct Runner<'a> {
    socket: Socket,
    /// Readable when the launcher is gone, whatever becomes of its signal.
    launcher: &'a OwnedFd,
    pub(super) files: SlotFiles,
    starter: Starter,
    pub(super) user: Option<ProgramUser>,
    /// This process is the first of a namespace of its own, in which there are only its programs' processes.
    pub(super) own_processes: bool,
    /// `/tmp` is the programs' own.
    private_tmp: bool,
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
    suspended: bool,
    /// How it ended; none while it runs.
    report: Option<FromKeeper>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        socket: Socket,
        launcher: &'a OwnedFd,
        files: SlotFiles,
        starter: Starter,
        config: &KeeperConfig,
        null: OwnedFd,
    ) -> Self {
        let namespaces = config.guards.namespaces != Namespaces::None;
        let own_processes = namespaces && std::process::id() == 1;
        let (user, private_tmp) = (config.user, namespaces);
        Self {
            socket,
            launcher,
            files,
            starter,
            user,
            own_processes,
            private_tmp,
            null,
            mask: signals::while_waiting(),
            last: None,
        }
    }

    /// The agent's next message. Interrupted only by the launcher's end.
    pub(super) fn receive(&mut self, wait: Wait) -> io::Result<Option<Received<ToKeeper>>> {
        if wait == Wait::Yes {
            let mut ready = [self.socket.as_fd(), self.launcher.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match ppoll(&mut ready, None, Some(self.mask)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if ready[1].any() == Some(true) {
                signals::note_launcher_gone();
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
            None => KeeperState::Running { tag, note, suspended: last.suspended },
            Some(report) => KeeperState::Ended { tag, note, report: Box::new(report.clone()) },
        };
        let descriptors: Vec<_> = last.descriptors.iter().map(AsFd::as_fd).collect();
        self.socket.send(&FromKeeper::State { number, state }, &descriptors)
    }

    /// Tells the agent, and the one that may follow it, whether the program stands still.
    pub(super) fn set_suspended(&mut self, suspended: bool) {
        if let Some(last) = &mut self.last {
            last.suspended = suspended;
        }
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
        self.last = Some(Last { tag, note: Vec::new(), descriptors: kept, suspended: false, report: None });
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
        let own_folder = folder.try_clone().map_err(|_| not_started(StartStep::Descriptors, Errno::EMFILE))?;
        let disk = Disk::new(folder.as_fd(), step.limits.disk.0, self.private_tmp, Instant::now());
        let standard = [input.as_fd(), output.as_fd(), error.as_fd()];
        let (groups, identity) = (self.files.entries(), self.files.identity());
        let descriptors = StepDescriptors { folder: folder.as_fd(), standard, groups, identity };
        let main = self.starter.start(step, descriptors)?;
        Ok(Run::new(main, step, cpu_before, disk, own_folder))
    }

    fn watch(&mut self, step: &Step, mut run: Run) -> io::Result<FromKeeper> {
        let mut looks = Looks::new(self, step, run.started());
        while run.reap() {
            if run.main_end.is_some() && !run.killing {
                run.killing = true;
            }
            let now = Instant::now();
            if !run.killing {
                self.check_limits(step, &mut run, &mut looks, now);
            }
            if run.killing {
                self.kill(step, &mut run);
            }
            let until = if run.killing || run.alarmed_until.is_some_and(|until| now < until) {
                now + KILL_INTERVAL
            } else {
                run.next_deadline(now).map_or(looks.next, |deadline| deadline.min(looks.next))
            };
            self.wait(step, &mut run, until)?;
        }
        if run.agent_gone {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(FromKeeper::Ended(self.result(step, &mut run)))
    }

    /// Waits for the end of a child, a message, an event of the control group or `until`.
    fn wait(&mut self, step: &Step, run: &mut Run, until: Instant) -> io::Result<()> {
        let timeout = until.saturating_duration_since(Instant::now());
        let mut ready = Vec::with_capacity(4);
        if !run.agent_gone {
            ready.push(PollFd::new(self.launcher.as_fd(), PollFlags::POLLIN));
            ready.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
        }
        if !run.killing {
            ready.extend(self.files.alarms());
        }
        match ppoll(&mut ready, Some(TimeSpec::from_duration(timeout)), Some(self.mask)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !run.agent_gone && ready[0].any() == Some(true) {
            signals::note_launcher_gone();
        }
        if ready.iter().skip(2).any(|fd| fd.any() == Some(true)) {
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
                    // What stands still could not end by itself.
                    self.resume(run);
                    run.cancel(grace);
                }
                ToKeeper::Kill { note } => {
                    self.note(note);
                    run.end(Cause::Ordered);
                }
                ToKeeper::Tell { number } => self.tell(number)?,
                // The agent never sends it before the last one ended.
                ToKeeper::Run(_) | ToKeeper::End | ToKeeper::Queue(_) | ToKeeper::Quick { .. } | ToKeeper::Return => {}
                ToKeeper::Suspend => {
                    self.suspend(run);
                    self.send(&FromKeeper::Suspended(run.is_still()))?;
                }
                ToKeeper::Resume => {
                    self.resume(run);
                    self.send(&FromKeeper::Suspended(false))?;
                }
                ToKeeper::SetWallTime(limit) => run.set_wall_limit(limit.to_std()),
                ToKeeper::Signal(signal) => run.signal(signal),
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

    fn result(&self, step: &Step, run: &mut Run) -> Ended {
        let killed_here = (Status::Signalled(libc::SIGKILL), run.ran(Instant::now()));
        let (status, wall) = run.main_end.unwrap_or(killed_here);
        // A program that was killed here has its cause already; killing makes the groups say more.
        let groups = || if run.killing { None } else { self.cause_of_groups(step) };
        let cause = run.cause.or_else(groups).or(match status {
            // In the working folder the agent looks for the file itself: a program may send this signal as well.
            Status::Signalled(libc::SIGXFSZ) if run.disk.tmp_bytes() >= step.limits.file_size.0 => {
                Some(Cause::FileSize)
            }
            Status::Signalled(libc::SIGXCPU) if step.limits.cpu_time.is_some() => Some(Cause::CpuTime(run.cpu)),
            Status::Signalled(_) | Status::Exited(_) => None,
        });
        let cause = cause.or_else(|| self.last_look(step, run));
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

const fn not_started(step: StartStep, errno: Errno) -> NotStarted {
    NotStarted { step, errno: errno as i32, candidate: 0 }
}
