//! Files that programs are given, and files that they bring back.
//!
//! * [`pick()`] reads and hashes a file, [`upload()`] sends what the master does not have.
//! * [`Collected`] lists and reads what a program brought back.
//! * [`Target`] writes it into a folder, whatever the names are.

mod collected;
mod pick;
mod target;
mod upload;

pub use collected::Collected;
pub use pick::{Picked, pick};
pub use target::{Sink, Target};
pub use upload::{Sending, upload};
