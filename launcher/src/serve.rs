//! The launcher itself: one thread, little memory, so that forking a keeper is cheap and safe.

use crate::{
    Socket, best_effort,
    isolation::{
        Given,
        namespaces::{self, Forked},
        network::Machine,
    },
    keeper,
    protocol::{FromLauncher, KeeperConfig, PROTOCOL, ToLauncher},
    socket::Wait,
    tree,
};
use common::units::BootTime;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        socket::{SockFlag, accept4, getsockopt, sockopt::PeerCredentials},
        time::{TimeSpec, TimeValLike},
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

/// When everything ends, keepers have this long to end their programs.
const KEEPERS_END_MAX: Duration = Duration::from_secs(10);
/// How long an agent that never had a lease may be gone before everything ends.
const AGENT_GONE_MAX: Duration = Duration::from_secs(30);

/// How often keepers are told that the lease is over, as long as there is something of a program.
const LEASE_REPEAT: Duration = Duration::from_secs(1);
/// What an agent may say before everything else has its turn.
const MESSAGES_A_TURN: usize = 1_024;

/// Serves the agent on standard input until it closes its end. The process must have one thread.
#[must_use]
pub fn serve() -> std::process::ExitCode {
    match Server::new().and_then(|mut server| server.run()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
            {
                eprintln!("the launcher failed: {error}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}

struct Server {
    agent: Option<Socket>,
    /// What it shall be told when it listens. Nobody waits for it.
    outbox: VecDeque<(FromLauncher, Option<OwnedFd>)>,
    /// Where the next agent calls; none while this launcher ends with its agent.
    listener: Option<OwnedFd>,
    /// What the next agent is given.
    keep: Vec<u8>,
    held: Option<OwnedFd>,
    /// Rings when the lease ends, or when no agent came back.
    timer: TimerFd,
    lease_until: Option<BootTime>,
    /// The last lease is over.
    rang: bool,
    /// When keepers are told so again: a signal can be lost where one of the same number waits.
    again_at: Option<Instant>,
    signals: SignalFd,
    keepers: BTreeMap<i32, Kept>,
    /// Base groups of all keepers there ever were.
    bases: BTreeSet<PathBuf>,
}

/// A keeper, with the agent's end of its socket: as long as it is held, the keeper does not notice that an agent goes.
struct Kept {
    config: KeeperConfig,
    agents_end: Option<OwnedFd>,
}

impl Server {
    fn new() -> io::Result<Self> {
        let agent = take_standard_input()?;
        // Out of the terminal's and the agent's process group: `^C` is the agent's to handle.
        best_effort(nix::unistd::setsid());
        prctl::set_child_subreaper(true)?;
        best_effort(prctl::set_name(c"ruche-launcher"));
        // A program may have this user, where there is no other for it.
        prctl::set_dumpable(false)?;
        let mut mask = SigSet::empty();
        // A service manager may send SIGTERM to everybody; programs get their grace from the agent.
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        let mut ended = SigSet::empty();
        ended.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self {
            agent: Some(agent),
            outbox: VecDeque::new(),
            listener: None,
            keep: Vec::new(),
            held: None,
            timer,
            lease_until: None,
            rang: false,
            again_at: None,
            signals,
            keepers: BTreeMap::new(),
            bases: BTreeSet::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let [signalled, rung, called] = self.wait()?;
            if signalled {
                while self.signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            // Before the timer: the agent may just have got a longer lease.
            if self.agent.is_some() && !self.hear_agent()? {
                return self.finish();
            }
            if rung && self.timer_rang()? {
                return self.finish();
            }
            if self.again_at.is_some_and(|at| at <= Instant::now()) {
                self.tell_lease_over();
            }
            if called {
                self.take_call();
            }
            self.send_waiting();
            if self.agent.is_none() && self.keepers.is_empty() {
                return self.finish();
            }
        }
    }

    /// Waits for something to happen: a signal, the timer, a call of an agent.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let mut ready = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        // One agent at a time.
        let next = self.agent.as_ref().map(AsFd::as_fd).or_else(|| self.listener.as_ref().map(AsFd::as_fd));
        let and_room = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        ready.extend(next.map(|fd| PollFd::new(fd, PollFlags::POLLIN | and_room)));
        let again = self.again_at.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = again.and_then(|left| PollTimeout::try_from(left).ok()).unwrap_or(PollTimeout::NONE);
        match poll(&mut ready, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |place: usize| ready.get(place).and_then(PollFd::any).unwrap_or(false);
        Ok([is_ready(0), is_ready(1), is_ready(2) && self.agent.is_none()])
    }

    /// What the agent has said. False when everything shall end.
    fn hear_agent(&mut self) -> io::Result<bool> {
        for _ in 0..MESSAGES_A_TURN {
            let Some(agent) = &mut self.agent else { break };
            match agent.receive::<ToLauncher>(Wait::No) {
                Ok(None) => return Ok(true),
                Ok(Some(received)) => match received.message {
                    ToLauncher::NewKeeper(config) => self.start_keeper(config, received.descriptors)?,
                    ToLauncher::Lease { until } => {
                        self.lease_until = Some(BootTime(until));
                        self.again_at = None;
                        self.ring_at(BootTime(until))?;
                    }
                    ToLauncher::Listen { keep } => {
                        let mut descriptors = received.descriptors.into_iter();
                        self.keep = keep;
                        best_effort(leave_pipe_of_errors());
                        self.listener = descriptors.next();
                        self.held = descriptors.next();
                    }
                    ToLauncher::Adopt { protocol } => self.hand_over(protocol),
                    ToLauncher::Stop => return Ok(false),
                },
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(_) => {
                    self.agent = None;
                    self.outbox.clear();
                    if self.listener.is_none() {
                        return Ok(false);
                    }
                    let soon = boot_now().0.saturating_add(micros(AGENT_GONE_MAX));
                    self.ring_at(self.lease_until.unwrap_or(BootTime(soon)))?;
                }
            }
        }
        Ok(true)
    }

    fn ring_at(&self, at: BootTime) -> io::Result<()> {
        // Zero would switch it off.
        let at = TimeSpec::microseconds(i64::try_from(at.0.max(1)).unwrap_or(i64::MAX));
        Ok(self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    /// The lease is over: programs end, whether the agent is there, stopped or gone. True when it is gone: then
    /// everything ends.
    fn timer_rang(&mut self) -> io::Result<bool> {
        if self.lease_until.is_some_and(|until| boot_now() < until) {
            return Ok(false);
        }
        match self.timer.wait() {
            Ok(()) | Err(nix::errno::Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        self.lease_until = None;
        self.rang = true;
        self.tell_lease_over();
        Ok(self.agent.is_none())
    }

    fn tell_lease_over(&mut self) {
        let mut is_any_busy = false;
        for keeper in self.keepers.keys() {
            best_effort(kill(Pid::from_raw(*keeper), Signal::SIGUSR2));
            is_any_busy = is_any_busy || !tree::children(*keeper).is_empty();
        }
        self.again_at = is_any_busy.then(|| Instant::now() + LEASE_REPEAT);
    }

    /// Tells the agent, when it listens. One that does not must not keep the lease from ending.
    fn tell(&mut self, message: FromLauncher, descriptor: Option<OwnedFd>) {
        self.outbox.push_back((message, descriptor));
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while let Some((agent, (message, descriptor))) = self.agent.as_ref().zip(self.outbox.front()) {
            let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            if let Ok(false) = agent.try_send(message, &descriptors) {
                return;
            }
            self.outbox.pop_front();
        }
    }

    /// The next agent calls. Anybody but this user is sent away.
    fn take_call(&mut self) {
        let Some(listener) = &self.listener else { return };
        let Ok(raw) = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) else { return };
        // SAFETY: accept4 has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        if getsockopt(&fd, PeerCredentials).is_ok_and(|peer| peer.uid() == nix::unistd::geteuid().as_raw()) {
            self.agent = Some(fd.into());
        }
    }

    fn lease_left(&self) -> Option<u64> {
        self.lease_until.map(|until| until.0).or(self.rang.then_some(0))
    }

    /// Gives the next agent all that the one before it had. Once: it asks again only when it has heard it.
    fn hand_over(&mut self, protocol: u32) {
        if !self.outbox.is_empty() {
            return;
        }
        if protocol != PROTOCOL {
            return self.tell(FromLauncher::OtherProtocol { protocol: PROTOCOL }, None);
        }
        if self.lease_until.is_none() {
            // It rang, or would have, for the agent before this one.
            best_effort(self.timer.unset());
        }
        for keeper in self.keepers.values() {
            if let Some(end) = keeper.agents_end.as_ref().and_then(|end| end.try_clone().ok()) {
                self.outbox.push_back((FromLauncher::Keeper(keeper.config.clone()), Some(end)));
            }
        }
        let held = self.held.as_ref().and_then(|held| held.try_clone().ok());
        self.tell(FromLauncher::Adopted { keep: self.keep.clone(), lease_until: self.lease_left() }, held);
    }

    fn start_keeper(&mut self, config: KeeperConfig, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let mut descriptors = descriptors.into_iter();
        let Some(theirs) = descriptors.next() else { return Ok(()) };
        let launcher = own_descriptor()?;
        let machine = config.guards.network.as_ref().map(|_| Machine::of_this_process());
        // A lease may end before the keeper has said what its signals mean: until then they wait, or would end it.
        let mask = SigSet::thread_get_mask()?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
        // SAFETY: this process has one thread, so the child may do what it likes.
        let forked = unsafe { namespaces::fork(config.guards.namespaces) };
        if !matches!(forked, Ok(Forked::Child(_))) {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        }
        match forked {
            Ok(Forked::Child(entered)) => {
                // The launcher's own descriptors must not live on in a keeper: others would wait for their end in
                // vain.
                drop(descriptors);
                drop((self.agent.take(), self.listener.take(), self.held.take()));
                self.outbox.clear();
                self.keepers.clear();
                let ours = duplicate(&theirs.into())?;
                keeper::run(ours, &config, &launcher, Given { entered, machine })
            }
            Ok(Forked::Parent(child)) => {
                let folders = config.groups.folders();
                self.bases.extend(folders.iter().filter_map(|folder| folder.parent().map(PathBuf::from)));
                self.keepers.insert(child.as_raw(), Kept { config, agents_end: descriptors.next() });
                Ok(())
            }
            Err(error) => {
                self.tell_ended(config.slot, format!("no process could be made for it: {error}"));
                Ok(())
            }
        }
    }

    fn tell_ended(&mut self, slot: u32, reason: String) {
        // Without an agent nobody has to know: the next one does not find the keeper.
        if self.agent.is_some() {
            self.tell(FromLauncher::KeeperEnded { slot, reason }, None);
        }
    }

    /// Takes note of keepers that ended, and ends what they left behind.
    fn reap(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            let Some(pid) = status.pid() else { break };
            if let Some(keeper) = self.keepers.remove(&pid.as_raw()) {
                ended.push((keeper.config, how(&status)));
            }
        }
        for (config, reason) in ended {
            self.end_orphans(&config);
            remove_groups(&config);
            self.tell_ended(config.slot, reason);
        }
        Ok(())
    }

    /// A keeper that died left its programs to us, the next subreaper.
    fn end_orphans(&mut self, config: &KeeperConfig) {
        loop {
            let orphans: Vec<i32> = tree::children(std::process::id().cast_signed())
                .into_iter()
                .filter(|pid| !self.keepers.contains_key(pid))
                .collect();
            if orphans.is_empty() {
                return;
            }
            if let Some(user) = config.user {
                crate::spawn::kill_all_of(user);
            }
            for orphan in orphans {
                tree::kill_tree_of(orphan);
                best_effort(waitpid(Pid::from_raw(orphan), Some(WaitPidFlag::__WALL)));
            }
        }
    }

    /// The end: each keeper ends its program and itself.
    fn finish(&mut self) -> io::Result<()> {
        self.listener = None;
        for keeper in self.keepers.keys() {
            best_effort(kill(Pid::from_raw(*keeper), Signal::SIGUSR1));
        }
        let deadline = Instant::now() + KEEPERS_END_MAX;
        while !self.keepers.is_empty() && Instant::now() < deadline {
            let mut ready = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            best_effort(poll(&mut ready, PollTimeout::from(100_u8)));
            while self.signals.read_signal()?.is_some() {}
            self.reap()?;
        }
        remove_bases(&self.bases);
        Ok(())
    }
}

/// The clock of leases, which does not stop while the machine sleeps.
pub(crate) fn boot_now() -> BootTime {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from);
    // A clock that cannot be read says that every lease is over.
    BootTime(now.map_or(u64::MAX, micros))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn how(status: &WaitStatus) -> String {
    if let WaitStatus::Exited(_, code) = status {
        return format!("it ended with code {code}");
    }
    if let WaitStatus::Signaled(_, signal, _) = status {
        return format!("it was ended by {signal}");
    }
    "it ended".to_owned()
}

/// Slots that are used again find their groups or make them anew.
fn remove_groups(config: &KeeperConfig) {
    for folder in config.groups.folders() {
        best_effort(std::fs::remove_dir(&folder));
    }
}

/// The base groups, once no slot is left in them.
fn remove_bases(bases: &BTreeSet<PathBuf>) {
    for base in bases {
        best_effort(std::fs::remove_dir(base));
    }
}

/// The socket that came as standard input, moved out of the way of programs.
fn take_standard_input() -> io::Result<Socket> {
    let moved = nix::fcntl::fcntl(io::stdin().as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd())?;
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) }.into())
}

/// Whoever reads the agent's errors through a pipe must not wait for the launcher's end.
fn leave_pipe_of_errors() -> io::Result<()> {
    let is_pipe = nix::sys::stat::fstat(io::stderr().as_fd())?.st_mode & libc::S_IFMT == libc::S_IFIFO;
    if is_pipe {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
        nix::unistd::dup2_stderr(null.as_fd())?;
    }
    Ok(())
}

/// Stands for this process wherever it has no number.
fn own_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    match i32::try_from(result).map_err(io::Error::other)? {
        // SAFETY: the kernel has just made this descriptor for us, closed on exec.
        fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn duplicate(socket: &Socket) -> io::Result<Socket> {
    let fd = nix::fcntl::fcntl(socket.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    debug_assert!(fd != socket.as_fd().as_raw_fd());
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}
