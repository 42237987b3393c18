//! What the window needs of the world: one trait, with the network behind it, or a script.

use client::{
    HistoryWindow, Mirror,
    files::{Picked, Sending},
    live::Busy,
};
use common::{ProgramId, ProgramSpec, UserError, message::Reply, message::Request};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// An answer that comes later. Dropping it means that nobody wants it any more.
pub struct Asked<T>(Box<dyn FnMut() -> Option<Result<T, UserError>>>);

impl<T> Asked<T> {
    /// An answer that `poll` gives once, when it is there.
    pub fn new(poll: impl FnMut() -> Option<Result<T, UserError>> + 'static) -> Self {
        Self(Box::new(poll))
    }

    /// The answer once it is there. Never waits.
    pub fn poll(&mut self) -> Option<Result<T, UserError>> {
        (self.0)()
    }
}

impl<T> std::fmt::Debug for Asked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

/// How a submit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submit {
    /// On its way to the master.
    OnItsWay,
    /// Its files are sent first.
    Sending(Sending),
    /// The master is busy; it is sent again by itself, under the same IDs.
    Busy(Busy),
    /// Acknowledged, with the ID of the first and how many copies they are; or refused.
    Ended(Result<(ProgramId, u32), UserError>),
}

/// A submit on its way.
pub struct Submitting(Box<dyn FnMut() -> Submit>);

impl Submitting {
    /// A submit that `poll` follows; it gives the end once.
    pub fn new(poll: impl FnMut() -> Submit + 'static) -> Self {
        Self(Box::new(poll))
    }

    /// How it stands now. Never waits.
    pub fn poll(&mut self) -> Submit {
        (self.0)()
    }
}

impl std::fmt::Debug for Submitting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Submitting")
    }
}

/// A master that this computer has logged in to before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `HOST:PORT`.
    pub address: String,
    /// Who logged in.
    pub user: String,
    /// The pin of its CA.
    pub pin: String,
    /// Whether the session goes on without the password.
    pub has_session: bool,
}

/// Who logs in where.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `HOST:PORT`.
    pub address: String,
    /// The pin that the person has confirmed.
    pub pin: String,
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.user, self.address)
    }
}

/// The world behind the window. Nothing here waits.
pub trait Backend {
    /// The newest snapshot.
    fn mirror(&self) -> Arc<Mirror>;
    /// Asks the master.
    fn request(&self, request: Request) -> Asked<Reply>;
    /// Submits `count` copies, after these files of it; gives their IDs once all are acknowledged.
    fn submit(&self, spec: ProgramSpec, count: u32, files: Vec<Picked>) -> Submitting;
    /// Says which part of the history is visible.
    fn show_history(&self, window: &HistoryWindow);
    /// Keeps this program's row fresh wherever the history is scrolled to.
    fn pin(&self, id: ProgramId);
    /// Ends [`Backend::pin`].
    fn unpin(&self, id: ProgramId);
    /// Masters that this computer has logged in to, the last one first.
    fn known(&self) -> Vec<Known>;
    /// Learns the pin that the master at `address` shows, and sends nothing.
    fn fetch_pin(&self, address: &str) -> Asked<String>;
    /// Logs in and stays connected. How it goes is in `Mirror::link`.
    ///
    /// # Errors
    /// When the address or the pin cannot be read.
    fn log_in(&self, login: Login) -> Result<(), UserError>;
    /// Goes on with the session that is remembered.
    ///
    /// # Errors
    /// When there is none.
    fn resume(&self, known: &Known) -> Result<(), UserError>;
    /// Starts a master and a slave on this computer and connects to them. The answer comes when they run.
    /// What is being done stands in `progress`, a sentence at a time.
    fn start_here(&self, progress: Arc<Mutex<String>>) -> Asked<()>;
    /// Ends the session for ever and forgets it on this computer.
    fn log_out(&self);
    /// Closes the connection and stays off.
    fn disconnect(&self);
    /// Connects to the pair that [`Backend::start_here`] started, once it runs. Gives whether it did.
    fn take_started(&self) -> bool {
        false
    }
    /// What became of the pair on this computer, once it has ended by itself; said once.
    fn trouble(&self) -> Option<UserError> {
        None
    }
    /// When something changes without the network saying so.
    fn changes_in(&self) -> Option<Duration> {
        None
    }
}
