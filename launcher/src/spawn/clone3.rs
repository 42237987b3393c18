//! The newest way to make a process, which can be born in a control group. The library has no call for it, and one
//! that returns to its caller on another stack cannot be written without an assembler.

use crate::isolation::secret::Secret;
use libc::{c_int, c_long, c_void};
use std::{
    arch::asm,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// As the kernel's header has it, up to the control group.
#[repr(C, align(8))]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The kernel's bit for a process that is born in a group.
const INTO_CGROUP: u64 = 1 << 33;

/// A child in the control group `group` that shares our memory, by a call that the keeper's filter lets through for its
/// secret; we go on when it has executed or ended.
pub(super) fn clone_child_into(
    stack: &mut [u8],
    group: BorrowedFd<'_>,
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    secret: &Secret,
) -> io::Result<i32> {
    let bottom = stack.as_mut_ptr();
    let top = stack.as_mut_ptr_range().end.addr() & !15;
    let arguments = Arguments {
        flags: u64::from((libc::CLONE_VM | libc::CLONE_VFORK).cast_unsigned()) | INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: bottom.expose_provenance() as u64,
        stack_size: (top - bottom.addr()) as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: u64::from(group.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: the stack outlives the child, because CLONE_VFORK stops us until the child has executed or ended; the
    // entry only makes system calls and writes to memory that we do not touch meanwhile.
    let result = unsafe { call(&raw const arguments, entry, argument, secret.words()) };
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(negative) => Err(io::Error::from_raw_os_error(-negative)),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The child never comes back from here: it calls `entry` on its own stack and ends.
///
/// # Safety
/// `arguments` must name a stack, and `entry` may be called there.
#[cfg(target_arch = "x86_64")]
unsafe fn call(
    arguments: *const Arguments,
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    [last, last_but_one]: [u64; 2],
) -> c_long {
    let result: c_long;
    // SAFETY: in the parent this is one system call, which changes three registers. The child has registers and a
    // stack of its own, so that nothing it does is seen here but what it writes to memory.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "mov edi, eax",
            "mov eax, 60",
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<Arguments>(),
            in("r8") last_but_one,
            in("r9") last,
            in("r12") entry,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn call(
    arguments: *const Arguments,
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    [last, last_but_one]: [u64; 2],
) -> c_long {
    let result: c_long;
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x10",
            "blr x9",
            "mov x8, #93",
            "svc #0",
            "brk #0",
            "2:",
            inlateout("x0") arguments => result,
            in("x1") size_of::<Arguments>(),
            in("x4") last_but_one,
            in("x5") last,
            in("x8") libc::SYS_clone3,
            in("x9") entry,
            in("x10") argument,
        );
    }
    result
}
