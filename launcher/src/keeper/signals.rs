//! The keeper's signals: all blocked but while it waits, so that each is met at one place.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether the launcher is gone.
static LAUNCHER_GONE: AtomicBool = AtomicBool::new(false);

extern "C" fn child_ended(_: libc::c_int) {}

extern "C" fn launcher_gone(_: libc::c_int) {
    LAUNCHER_GONE.store(true, Ordering::Relaxed);
}

pub(super) fn is_launcher_gone() -> bool {
    LAUNCHER_GONE.load(Ordering::Relaxed)
}

/// Every disposition as at the start of a process, so that programs inherit nothing unusual; all blocked.
pub(super) fn prepare() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    for (signal, handler) in [
        (Signal::SIGCHLD, child_ended as extern "C" fn(libc::c_int)),
        (Signal::SIGUSR1, launcher_gone as extern "C" fn(libc::c_int)),
    ] {
        let action = SigAction::new(SigHandler::Handler(handler), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handlers do nothing but set an atomic; they exist to interrupt a wait.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// What is blocked while the keeper waits: everything but the end of a child and of the launcher.
pub(super) fn while_waiting() -> SigSet {
    let mut mask = SigSet::all();
    mask.remove(Signal::SIGCHLD);
    mask.remove(Signal::SIGUSR1);
    mask
}
