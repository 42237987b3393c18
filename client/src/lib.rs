//! Connects to a master, logs in, submits and watches. Used by the window, the command line and tests.
//!
//! * [`context`]: who and where, kept on this computer between commands.
//! * [`connection`]: one authenticated connection that carries many requests at once.
//! * [`reply`]: the part of an answer that fits its request.
//! * [`live`]: a session that reconnects for ever and keeps a [`mirror`] of what the master shows.
//! * [`submit`]: from files and words to programs that the master has acknowledged.
//! * [`files`]: files that programs are given and bring back.
//! * [`local`]: a master and a slave on this computer, as child processes.

pub mod connection;
pub mod context;
pub mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod live;
pub mod local;
pub mod mirror;
pub mod reply;
pub mod submit;

pub use connection::{Client, Credentials, Identity, Opening, Pending, Requests, Target};
pub use context::Context;
pub use live::{Answer, Live};
pub use mirror::{History, HistoryFilter, HistoryWindow, Link, Mirror};
