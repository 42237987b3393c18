//! The keeper's signals: all blocked but while it waits, so that each is met at one place.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

/// The launcher as the keeper sees it: 0 from within a namespace of processes.
static LAUNCHER: AtomicI32 = AtomicI32::new(0);
/// Whether the launcher is gone.
static LAUNCHER_GONE: AtomicBool = AtomicBool::new(false);
/// Whether the launcher said that the lease is over.
static LEASE_ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn child_ended(_: libc::c_int) {}

extern "C" fn launcher_gone(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid pointer.
    if unsafe { is_from_launcher(info) } {
        LAUNCHER_GONE.store(true, Ordering::Relaxed);
    }
}

extern "C" fn lease_ended(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: as above.
    if unsafe { is_from_launcher(info) } {
        LEASE_ENDED.store(true, Ordering::Relaxed);
    }
}

/// A program may have the keeper's own user, and a signal of its making is not believed. The kernel itself fills in
/// who sent what comes by `kill`; in a namespace of processes whoever is outside of it is 0.
///
/// # Safety
/// `info` must be what a handler was given.
unsafe fn is_from_launcher(info: *const libc::siginfo_t) -> bool {
    // SAFETY: as the caller promises; a signal of this code has a sender.
    unsafe { (*info).si_code == libc::SI_USER && (*info).si_pid() == LAUNCHER.load(Ordering::Relaxed) }
}

/// Whether a lease has ended since [`forget_lease_ended`].
pub(super) fn has_lease_ended() -> bool {
    LEASE_ENDED.load(Ordering::Relaxed)
}

/// Another program begins.
pub(super) fn forget_lease_ended() {
    LEASE_ENDED.store(false, Ordering::Relaxed);
}

/// Seen otherwise than by its signal.
pub(super) fn note_launcher_gone() {
    LAUNCHER_GONE.store(true, Ordering::Relaxed);
}

pub(super) fn is_launcher_gone() -> bool {
    LAUNCHER_GONE.load(Ordering::Relaxed)
}

/// Every disposition as at the start of a process, so that programs inherit nothing unusual; all blocked.
pub(super) fn prepare() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    LAUNCHER.store(nix::unistd::getppid().as_raw(), Ordering::Relaxed);
    // By the raw call: the library refuses to touch its own two, and a caller may have ignored them.
    let default = [0_u64; 4];
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: all zeros is the kernel's form of the default disposition, which runs no code of ours.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8) };
    }
    type Told = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    for (signal, handler, flags) in [
        (Signal::SIGCHLD, SigHandler::Handler(child_ended), SaFlags::empty()),
        (Signal::SIGUSR1, SigHandler::SigAction(launcher_gone as Told), SaFlags::SA_SIGINFO),
        (Signal::SIGUSR2, SigHandler::SigAction(lease_ended as Told), SaFlags::SA_SIGINFO),
    ] {
        let action = SigAction::new(handler, flags, SigSet::empty());
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
