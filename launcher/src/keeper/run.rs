//! One program from its start to the end of its whole tree.

use super::{limits::Looks, queue::Queue, signals, state::Run, talk::Outbox};
use crate::{
    Socket,
    cgroup::SlotFiles,
    isolation::FolderToken,
    protocol::{Cause, Ended, FromKeeper, KeeperConfig, Namespaces, NotStarted, ProgramUser, StartStep, Status, Step},
    serve::boot_now,
    socket::Wait,
    spawn::{Starter, StepDescriptors},
    watch::{Disk, Free},
};
use common::units::ByteSize;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::SigSet, time::TimeSpec},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::Instant,
};

/// How long after an alarm the kernel may still be about to end a process.
const ALARM_LASTS: std::time::Duration = std::time::Duration::from_millis(500);
/// How often a tree that does not end is killed again.
const KILL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

pub(super) struct Runner<'a> {
    pub(super) socket: Socket,
    /// Readable when the launcher is gone, whatever becomes of its signal.
    pub(super) launcher: &'a OwnedFd,
    pub(super) files: SlotFiles,
    pub(super) starter: Starter,
    pub(super) user: Option<ProgramUser>,
    /// This process is the first of a namespace of its own, in which there are only its programs' processes.
    pub(super) own_processes: bool,
    /// `/tmp` is the programs' own.
    private_tmp: bool,
    free: Free,
    pub(super) mask: SigSet,
    /// The last program that was ordered alone, for an agent that follows another.
    pub(super) last: Option<Last>,
    /// Those that run one after another.
    pub(super) queue: Queue,
    /// What the agent shall be told when it listens. Nobody waits for it.
    pub(super) outbox: Outbox,
}

/// What is kept of a program until the next one begins.
pub(super) struct Last {
    pub(super) tag: Vec<u8>,
    pub(super) note: Vec<u8>,
    pub(super) folder: Rc<OwnedFd>,
    /// The reading ends of its pipes.
    pub(super) pipes: Vec<OwnedFd>,
    pub(super) suspended: bool,
    /// How it ended; none while it runs.
    pub(super) report: Option<FromKeeper>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        socket: Socket,
        launcher: &'a OwnedFd,
        files: SlotFiles,
        starter: Starter,
        config: &KeeperConfig,
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
            free: Free::default(),
            mask: signals::while_waiting(),
            last: None,
            queue: Queue::default(),
            outbox: Outbox::default(),
        }
    }

    /// Runs one program. An error means that the agent or the launcher is gone; the tree is dead by then.
    pub(super) fn run(&mut self, mut step: Step, mut descriptors: Vec<OwnedFd>) -> io::Result<FromKeeper> {
        let programs_own = 3 + usize::from(step.stdin);
        if descriptors.len() < programs_own {
            return Ok(FromKeeper::NotStarted(not_started(StartStep::Descriptors, Errno::EBADF)));
        }
        self.queue.forget_all();
        let pipes = descriptors.split_off(programs_own);
        let folder = Rc::new(descriptors.remove(0));
        let [output, error, rest @ ..] = descriptors.as_slice() else {
            return Ok(FromKeeper::NotStarted(not_started(StartStep::Descriptors, Errno::EBADF)));
        };
        let input = rest.first().map(AsFd::as_fd);
        let started = self.start(&step, (&folder, None), input, [output.as_fd(), error.as_fd()]);
        // The pipes must have no writer but the program, or the agent would never see their end.
        drop(descriptors);
        let tag = std::mem::take(&mut step.tag);
        self.last = Some(Last { tag, note: Vec::new(), folder, pipes, suspended: false, report: None });
        match started {
            Ok(mut run) => Ok(FromKeeper::Ended(self.watch(&step, &mut run)?)),
            Err(failure) => Ok(FromKeeper::NotStarted(failure)),
        }
    }

    pub(super) fn start(
        &mut self,
        step: &Step,
        (folder, token): (&Rc<OwnedFd>, Option<FolderToken>),
        input: Option<BorrowedFd<'_>>,
        outputs: [BorrowedFd<'_>; 2],
    ) -> Result<Run, NotStarted> {
        // One that came for the program before this one.
        signals::forget_lease_ended();
        if step.lease_until.is_some_and(|until| boot_now().0 >= until) {
            return Err(not_started(StartStep::Lease, Errno::ETIME));
        }
        if let Err(error) = self.files.begin(step.limits.memory.0, step.limits.processes) {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            return Err(not_started(StartStep::Group, errno));
        }
        let cpu_before = step.limits.cpu_time.and_then(|_| self.files.cpu_micros());
        let now = Instant::now();
        let disk = Disk::new(self.free.of(folder.as_fd(), now), step.limits.disk.0, self.private_tmp, now);
        let (groups, identity) = (self.files.entries(), self.files.identity());
        let descriptors = StepDescriptors { folder: folder.as_fd(), token, input, outputs, groups, identity };
        let main = self.starter.start(step, descriptors)?;
        Ok(Run::new(main, step, cpu_before, disk, folder.clone()))
    }

    /// To the end of the whole tree.
    pub(super) fn watch(&mut self, step: &Step, run: &mut Run) -> io::Result<Ended> {
        let mut looks = Looks::new(self, step, run.started());
        // It has just been started, and its end is told by a signal.
        let mut is_new = true;
        while std::mem::take(&mut is_new) || run.reap() {
            if run.main_end.is_some() && !run.killing {
                run.killing = true;
            }
            let now = Instant::now();
            if run.quick_until().is_some_and(|until| now >= until) {
                self.outlive(run)?;
            }
            if !run.killing {
                self.check_limits(step, run, &mut looks, now);
            }
            if run.killing {
                self.kill(step, run);
            }
            let until = if run.killing || run.alarmed_until.is_some_and(|until| now < until) {
                now + KILL_INTERVAL
            } else {
                run.next_deadline(now).into_iter().chain(run.quick_until()).fold(looks.next, Instant::min)
            };
            self.wait(step, run, until)?;
        }
        if run.agent_gone {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        run.left_folder_alone = self.is_folder_as_it_came(run);
        Ok(self.result(step, run))
    }

    /// Waits for the end of a child, a message, an event of the control group or `until`.
    fn wait(&mut self, step: &Step, run: &mut Run, until: Instant) -> io::Result<()> {
        let timeout = until.saturating_duration_since(Instant::now());
        let mut ready = Vec::with_capacity(4);
        if !run.agent_gone {
            ready.push(PollFd::new(self.launcher.as_fd(), PollFlags::POLLIN));
            ready.push(PollFd::new(self.socket.as_fd(), self.outbox.events()));
        }
        // What a quick one met is asked when it has ended.
        if !run.killing && run.quick_until().is_none() {
            ready.extend(self.files.alarms());
        }
        let waited = ppoll(&mut ready, Some(TimeSpec::from_duration(timeout)), Some(self.mask));
        // What was interrupted says nothing of the descriptors.
        let is_ready = |place: usize| waited.is_ok() && ready.get(place).is_some_and(|fd| fd.any() == Some(true));
        match waited {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !run.agent_gone && is_ready(0) {
            signals::note_launcher_gone();
        }
        let is_spoken_to = !run.agent_gone && is_ready(1);
        if (2..ready.len()).any(is_ready) {
            run.alarmed_until = Some(Instant::now() + ALARM_LASTS);
            self.files.hear_memory_alarm();
        }
        // One that has ended before this program began is of no account; one that became shorter counts later.
        if signals::has_lease_ended() && step.lease_until.is_some_and(|until| boot_now().0 >= until) {
            run.end(Cause::LeaseEnded);
        }
        if run.agent_gone || !(is_spoken_to || signals::is_launcher_gone()) {
            return Ok(());
        }
        match self.receive(Wait::No) {
            Ok(None) => Ok(()),
            Ok(Some(received)) => self.hear(received.message, received.descriptors, Some(run)),
            Err(_) => {
                run.agent_gone = true;
                run.killing = true;
                Ok(())
            }
        }
    }

    fn result(&mut self, step: &Step, run: &mut Run) -> Ended {
        let killed_here = (Status::Signalled(libc::SIGKILL), run.ran(Instant::now()));
        let (status, wall) = run.main_end.unwrap_or(killed_here);
        // A program that was killed here has its cause already; killing makes the groups say more.
        let groups = if run.killing || run.cause.is_some() { None } else { self.cause_of_groups(step) };
        let cause = run.cause.or(groups).or(match status {
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

pub(super) const fn not_started(step: StartStep, errno: Errno) -> NotStarted {
    NotStarted { step, errno: errno as i32, candidate: 0 }
}
