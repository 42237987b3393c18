//! The slot's own network: nothing but loopback, which is switched on.

use crate::best_effort;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::{fs, io, os::fd::AsRawFd};

/// Kept for connections that have ended; the next program might want their port.
const ENDED_CONNECTIONS: &str = "/proc/sys/net/ipv4/tcp_max_tw_buckets";

/// Switches loopback on. The process must have a network namespace of its own and its own `/proc`.
pub(super) fn switch_on() -> io::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: numbers and arrays, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the calls take the structure that they are given; the flags are what the first one filled in.
    let switched = unsafe {
        libc::ioctl(any.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) == 0 && {
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) == 0
        }
    };
    if !switched {
        return Err(io::Error::last_os_error());
    }
    best_effort(fs::write(ENDED_CONNECTIONS, "0"));
    Ok(())
}
