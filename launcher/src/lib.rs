//! Starts programs: a small single-threaded process that forks one keeper a slot; a keeper starts the
//! programs of its slot one after another, holds them within their limits and ends their whole tree.
//!
//! The agent of a slave calls [`Launcher::start`] before it has threads, then [`Launcher::keeper`] for
//! each slot, and talks to the keeper over its [`Socket`] with the messages of [`protocol`].
#![expect(unsafe_code, reason = "fork, clone, exec and the calls around them; each block says why it is sound")]

pub mod cgroup;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
pub mod isolation;
mod keeper;
pub mod protocol;
mod serve;
mod socket;
mod spawn;
mod stamp;
pub mod tree;
mod watch;

pub use handle::{Found, FoundKeeper, Launcher};
pub use serve::serve;
pub use socket::{Received, Socket, Wait};
pub use stamp::FolderStamp;

/// The hidden subcommand that makes a process a launcher.
pub const SUBCOMMAND: &str = "launcher";

/// Kills everything that runs as this user, which must be one of programs alone.
pub fn end_all_of(user: protocol::ProgramUser) {
    spawn::kill_all_of(user);
}

/// Forgets the result of something that may fail without harm.
fn best_effort<T, E>(_: Result<T, E>) {}
