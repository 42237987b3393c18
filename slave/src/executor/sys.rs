//! The one place of this crate with unsafe code: giving a descriptor of ours to the async runtime.
#![expect(unsafe_code, reason = "tokio asks the caller to promise that a descriptor stays open")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that nobody else can close or replace while the runtime watches it.
#[derive(Debug)]
pub(super) struct Watched(OwnedFd);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Lets the runtime tell when `fd` is readable.
///
/// # Errors
/// When the runtime cannot watch it.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<Watched>> {
    // SAFETY: `Watched` owns the descriptor, gives out only its number, and is owned by the `AsyncFd`, so it
    // is open and the same for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(Watched(fd), Interest::READABLE) }.map_err(Into::into)
}
