//! The agent's side: starts the launcher or takes over the one that an earlier agent left, and asks it for keepers.

use crate::{
    SUBCOMMAND, Socket, best_effort,
    protocol::{FromKeeper, FromLauncher, KeeperConfig, KeeperState, PROTOCOL, ToKeeper, ToLauncher},
    socket::Wait,
};
use common::units::BootTime;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket},
};
use std::{
    cell::OnceCell,
    collections::BTreeSet,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Where the launcher listens for the next agent, in the data folder.
const SOCKET: &str = "launcher.sock";
/// A launcher or keeper that does not answer for this long is stuck.
const ANSWER_MILLIS_MAX: u16 = 10_000;

/// A running launcher. When it is dropped, the launcher ends with everything that it started.
#[derive(Debug)]
pub struct Launcher {
    socket: Option<Socket>,
    /// None when an earlier agent started it.
    process: Option<Child>,
    keep_running: bool,
    /// Where it listens, to be removed when it ends.
    listens: OnceCell<PathBuf>,
}

/// What an earlier agent left with its launcher.
#[derive(Debug, Default)]
pub struct Found {
    /// What it asked the launcher to keep.
    pub keep: Vec<u8>,
    /// The descriptor that came with it.
    pub held: Option<OwnedFd>,
    /// Until when what its keepers hold may go on to its next step; none when it had no lease.
    pub lease_until: Option<BootTime>,
    /// Its keepers.
    pub keepers: Vec<FoundKeeper>,
}

/// A keeper that an earlier agent started.
#[derive(Debug)]
pub struct FoundKeeper {
    /// Its slot, user and groups.
    pub config: KeeperConfig,
    /// The agent's end.
    pub socket: Socket,
    /// What it holds.
    pub state: KeeperState,
    /// The working folder, then the reading ends of the pipes, for a program that runs or ended.
    pub descriptors: Vec<OwnedFd>,
}

impl Launcher {
    /// Takes over the launcher that an earlier agent left in this data folder; none when there is none. One of
    /// another release is told to end, with what it runs.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn find(data: &Path) -> io::Result<Option<(Self, Found)>> {
        let Some(fd) = call(data)? else { return Ok(None) };
        let listens = OnceCell::from(data.join(SOCKET));
        let mut launcher = Self { socket: Some(fd.into()), process: None, keep_running: false, listens };
        match launcher.adopt() {
            Ok(Some(found)) => Ok(Some((launcher, found))),
            Ok(None) => {
                launcher.stop()?;
                Ok(None)
            }
            // It was about to end, and a new one takes its place.
            Err(_) => Ok(None),
        }
    }

    fn adopt(&mut self) -> io::Result<Option<Found>> {
        self.socket()?.send(&ToLauncher::Adopt { protocol: PROTOCOL }, &[])?;
        let mut found = Found::default();
        // Keepers that died meanwhile: what they left is ended when the launcher says so.
        let mut dying = BTreeSet::new();
        let mut told_all = false;
        while !(told_all && dying.is_empty()) {
            let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let received = answer::<FromLauncher>(socket)?;
            let mut descriptors = received.descriptors;
            match received.message {
                FromLauncher::OtherProtocol { .. } => return Ok(None),
                FromLauncher::Keeper(config) => {
                    let Some(fd) = descriptors.pop() else { continue };
                    let slot = config.slot;
                    match ask(config, fd.into()) {
                        Ok(keeper) => found.keepers.push(keeper),
                        Err(error) if is_end(&error) => drop(dying.insert(slot)),
                        // It is stuck: everything ends, rather than that its program runs unseen.
                        Err(_) => return Ok(None),
                    }
                }
                FromLauncher::Adopted { keep, lease_until } => {
                    found.keep = keep;
                    found.lease_until = lease_until.map(BootTime);
                    found.held = descriptors.pop();
                    told_all = true;
                }
                FromLauncher::KeeperEnded { slot, .. } => {
                    dying.remove(&slot);
                    found.keepers.retain(|keeper| keeper.config.slot != slot);
                }
            }
        }
        Ok(Some(found))
    }

    /// Starts this same program again as a launcher. Call it before there is any thread.
    ///
    /// # Errors
    /// When the process cannot be made.
    pub fn start() -> io::Result<Self> {
        Self::start_program(Path::new("/proc/self/exe"))
    }

    /// Starts `program`, whose hidden subcommand calls [`crate::serve()`], as a launcher.
    ///
    /// # Errors
    /// When the process cannot be made.
    pub fn start_program(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = Socket::pair()?;
        let process = Command::new(program)
            .arg(SUBCOMMAND)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { socket: Some(ours), process: Some(process), keep_running: false, listens: OnceCell::new() })
    }

    /// From now on the launcher outlives this process, until the lease ends: the next agent of this data folder finds
    /// it, and is given `keep` and `held`.
    ///
    /// # Errors
    /// When the socket cannot be made in the data folder.
    pub fn outlive(&self, data: &Path, keep: Vec<u8>, held: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let folder = File::open(data)?;
        match nix::unistd::unlinkat(&folder, SOCKET, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        bind(listener.as_raw_fd(), &address(&folder)?)?;
        // Programs may enter the data folder; nobody but this user may call.
        std::fs::set_permissions(data.join(SOCKET), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        best_effort(self.listens.set(data.join(SOCKET)));
        listen(&listener, Backlog::new(4)?)?;
        let descriptors: Vec<_> = std::iter::once(listener.as_fd()).chain(held).collect();
        self.socket()?.send(&ToLauncher::Listen { keep }, &descriptors)
    }

    /// Programs may run until then, whatever becomes of this process.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn set_lease(&self, until: BootTime) -> io::Result<()> {
        self.socket()?.send(&ToLauncher::Lease { until: until.0 }, &[])
    }

    /// Asks for a keeper. It says [`crate::protocol::FromKeeper::Ready`] on the socket when it is there.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn keeper(&self, config: KeeperConfig) -> io::Result<Socket> {
        let (ours, theirs) = Socket::pair()?;
        self.socket()?.send(&ToLauncher::NewKeeper(config), &[theirs.as_fd(), ours.as_fd()])?;
        Ok(ours)
    }

    /// What the launcher says, if it says something.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn receive(&mut self, wait: Wait) -> io::Result<Option<FromLauncher>> {
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(socket.receive(wait)?.map(|received| received.message))
    }

    /// Readable when [`Launcher::receive`] has something.
    ///
    /// # Errors
    /// When the launcher was stopped.
    pub fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.socket()?.as_fd())
    }

    fn socket(&self) -> io::Result<&Socket> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Ends the launcher and all keepers, and waits until they are gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(mut socket) = self.socket.take() else { return Ok(()) };
        best_effort(socket.send(&ToLauncher::Stop, &[]));
        let ended = match &mut self.process {
            Some(process) => process.wait().map(drop),
            // It closes its end when it ends.
            None => {
                while socket.receive::<FromLauncher>(Wait::Yes).is_ok() {}
                Ok(())
            }
        };
        if let Some(path) = self.listens.get() {
            best_effort(std::fs::remove_file(path));
        }
        ended
    }

    /// Leaves the launcher to the next agent: nothing ends.
    pub fn leave(mut self) {
        self.keep_running = true;
    }

    /// The launcher's process, when this process started it.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // A panic is like any other death of the agent: programs go on, and the next agent finds them.
        if !self.keep_running && !std::thread::panicking() {
            // Nothing can be done about a launcher that cannot be waited for.
            best_effort(self.stop());
        }
    }
}

/// A connection to the launcher of this data folder; none when there is none.
fn call(data: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = File::open(data)?;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    match connect(fd.as_raw_fd(), &address(&folder)?) {
        Ok(()) => Ok(Some(fd)),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ECONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// By way of the folder's descriptor: the path itself may be longer than such an address takes.
fn address(folder: &File) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()).as_str())?)
}

/// The next message, waited for no longer than anything healthy takes.
fn answer<M: serde::de::DeserializeOwned>(socket: &mut Socket) -> io::Result<crate::Received<M>> {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    while let Err(error) = poll(&mut ready, PollTimeout::from(ANSWER_MILLIS_MAX)) {
        if error != nix::errno::Errno::EINTR {
            return Err(error.into());
        }
    }
    socket.receive(Wait::No)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// Whether the other end is gone: a send tells it in another way than a receive.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// What a keeper holds. What it said to the agent before this one is said again by its answer.
fn ask(config: KeeperConfig, mut socket: Socket) -> io::Result<FoundKeeper> {
    let number = crate::serve::boot_now().0;
    socket.send(&ToKeeper::Tell { number }, &[])?;
    loop {
        let received = answer::<FromKeeper>(&mut socket)?;
        if let FromKeeper::State { number: answered, state } = received.message
            && answered == number
        {
            return Ok(FoundKeeper { config, socket, state, descriptors: received.descriptors });
        }
    }
}
