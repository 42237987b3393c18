//! The keeper's signals: all blocked but while it waits, so that each is met at one place.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether the launcher is gone.
static LAUNCHER_GONE: AtomicBool = AtomicBool::new(false);
/// Whether the launcher said that the lease is over.
static LEASE_ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn child_ended(_: libc::c_int) {}

extern "C" fn launcher_gone(_: libc::c_int) {
    LAUNCHER_GONE.store(true, Ordering::Relaxed);
}

extern "C" fn lease_ended(_: libc::c_int) {
    LEASE_ENDED.store(true, Ordering::Relaxed);
}

/// Whether a lease has ended since [`forget_lease_ended`].
pub(super) fn has_lease_ended() -> bool {
    LEASE_ENDED.load(Ordering::Relaxed)
}

/// Another program begins.
pub(super) fn forget_lease_ended() {
    LEASE_ENDED.store(false, Ordering::Relaxed);
}

pub(super) fn is_launcher_gone() -> bool {
    LAUNCHER_GONE.load(Ordering::Relaxed)
}

/// Every disposition as at the start of a process, so that programs inherit nothing unusual; all blocked.
pub(super) fn prepare() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    // By the raw call: the library refuses to touch its own two, and a caller may have ignored them.
    let default = [0_u64; 4];
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: all zeros is the kernel's form of the default disposition, which runs no code of ours.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8) };
    }
    for (signal, handler) in [
        (Signal::SIGCHLD, child_ended as extern "C" fn(libc::c_int)),
        (Signal::SIGUSR1, launcher_gone as extern "C" fn(libc::c_int)),
        (Signal::SIGUSR2, lease_ended as extern "C" fn(libc::c_int)),
    ] {
        let action = SigAction::new(SigHandler::Handler(handler), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handlers do nothing but set an atomic; they exist to interrupt a wait.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// What is blocked while the keeper waits: everything but the end of a child, of the launcher and of the lease.
pub(super) fn while_waiting() -> SigSet {
    let mut mask = SigSet::all();
    mask.remove(Signal::SIGCHLD);
    mask.remove(Signal::SIGUSR1);
    mask.remove(Signal::SIGUSR2);
    mask
}
