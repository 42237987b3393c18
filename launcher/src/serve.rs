//! The launcher itself: one thread, little memory, so that forking a keeper is cheap and safe.

use crate::{
    Socket, best_effort, keeper,
    protocol::{FromLauncher, GroupVersion, KeeperConfig, ToLauncher},
    socket::Wait,
    tree,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

/// After the agent has gone, keepers have this long to end their programs.
const KEEPERS_END_MAX: Duration = Duration::from_secs(10);

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
    socket: Socket,
    signals: SignalFd,
    keepers: BTreeMap<i32, KeeperConfig>,
    /// Base groups of all keepers there ever were.
    bases: BTreeSet<PathBuf>,
}

impl Server {
    fn new() -> io::Result<Self> {
        let socket = take_standard_input()?;
        // Out of the terminal's and the agent's process group: `^C` is the agent's to handle.
        best_effort(nix::unistd::setsid());
        prctl::set_child_subreaper(true)?;
        best_effort(prctl::set_name(c"ruche-launcher"));
        let mut mask = SigSet::empty();
        // A service manager may send SIGTERM to everybody; programs get their grace from the agent.
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        let mut ended = SigSet::empty();
        ended.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { socket, signals, keepers: BTreeMap::new(), bases: BTreeSet::new() })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if ready[1].any() == Some(true) {
                while self.signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            match self.socket.receive::<ToLauncher>(Wait::No) {
                Ok(None) => {}
                Ok(Some(received)) => match received.message {
                    ToLauncher::NewKeeper(config) => self.start_keeper(config, received.descriptors)?,
                },
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(_) => return self.finish(),
            }
        }
    }

    fn start_keeper(&mut self, config: KeeperConfig, mut descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let Some(theirs) = descriptors.pop() else { return Ok(()) };
        let launcher = nix::unistd::getpid();
        // SAFETY: this process has one thread, so the child may do what it likes.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                // The launcher's own descriptors must not live on in a keeper: the agent would wait for
                // their end in vain.
                let socket = std::mem::replace(&mut self.socket, theirs.into());
                drop(socket);
                let ours = duplicate(&self.socket)?;
                keeper::run(ours, &config, launcher)
            }
            Ok(ForkResult::Parent { child }) => {
                let groups = &config.groups;
                let folders = [&groups.memory, &groups.processes, &groups.cpu].into_iter().flatten();
                self.bases.extend(folders.filter_map(|folder| folder.parent().map(PathBuf::from)));
                self.keepers.insert(child.as_raw(), config);
                Ok(())
            }
            Err(error) => {
                self.tell_ended(config.slot, format!("no process could be made for it: {error}"));
                Ok(())
            }
        }
    }

    fn tell_ended(&self, slot: u32, reason: String) {
        // When the agent is gone, the loop meets the closed socket next.
        best_effort(self.socket.send(&FromLauncher::KeeperEnded { slot, reason }, &[]));
    }

    /// Takes note of keepers that ended, and ends what they left behind.
    fn reap(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            let Some(pid) = status.pid() else { break };
            if let Some(config) = self.keepers.remove(&pid.as_raw()) {
                ended.push((config, how(&status)));
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

    /// The agent has gone. The keepers see the same on their own sockets and end their programs.
    fn finish(&mut self) -> io::Result<()> {
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
    let groups = &config.groups;
    let mut folders: Vec<PathBuf> =
        [&groups.memory, &groups.processes, &groups.cpu].into_iter().flatten().cloned().collect();
    if groups.version == GroupVersion::V2 {
        folders.dedup();
    }
    for folder in folders {
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

fn duplicate(socket: &Socket) -> io::Result<Socket> {
    let fd = nix::fcntl::fcntl(socket.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    debug_assert!(fd != socket.as_fd().as_raw_fd());
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}
