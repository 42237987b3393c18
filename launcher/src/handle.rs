//! The agent's side: starts the launcher and asks it for keepers.

use crate::{
    SUBCOMMAND, Socket, best_effort,
    protocol::{FromLauncher, KeeperConfig, ToLauncher},
    socket::Wait,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running launcher. When it is dropped, the launcher ends with everything that it started.
#[derive(Debug)]
pub struct Launcher {
    socket: Option<Socket>,
    process: Child,
}

impl Launcher {
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
        Ok(Self { socket: Some(ours), process })
    }

    /// Asks for a keeper. It says [`crate::protocol::FromKeeper::Ready`] on the socket when it is there.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn keeper(&self, config: KeeperConfig) -> io::Result<Socket> {
        let (ours, theirs) = Socket::pair()?;
        self.socket()?.send(&ToLauncher::NewKeeper(config), &[theirs.as_fd()])?;
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
        self.socket = None;
        self.process.wait().map(drop)
    }

    /// The launcher's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Nothing can be done about a launcher that cannot be waited for.
        best_effort(self.stop());
    }
}
