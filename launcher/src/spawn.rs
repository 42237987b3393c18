//! Starts a program with a vfork-style clone: the child shares the keeper's memory and does nothing but
//! system calls on data that was prepared before, so it costs the same whatever the keeper's size.

mod clone3;
mod victim;

pub(crate) use victim::FirstVictim;

use crate::{
    best_effort,
    isolation::{Entry, FolderToken, Isolation, secret::Secret},
    protocol::{NotStarted, ProgramUser, StartStep, Step},
};
use common::units::Duration;
use libc::{c_char, c_int, c_long, c_void};
use nix::errno::Errno;
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    time::Instant,
};

/// The child runs a few shallow calls on it; 64 KiB leaves room for signal frames of any processor.
const STACK_BYTES: usize = 64 << 10;
/// What execve takes follows from the stack's limit: a quarter of it, at most 6 MiB.
const STACK_LIMIT_FOR_LONG_ARGUMENTS: u64 = 32 << 20;
/// From this size of arguments and environment on, the limit above is asked for.
const LONG_ARGUMENTS_BYTES: usize = 1 << 20;
/// The form in which capabilities are told to the kernel.
const CAPABILITIES_VERSION: u32 = 0x2008_0522;
/// How long a count of the user's processes is good enough.
const USER_COUNT_LASTS: std::time::Duration = std::time::Duration::from_secs(1);
/// Above the limit, so that the limit is seen to be passed and other programs of the user go on.
const PROCESSES_SPARE: u64 = 128;
/// How long the end of a user's processes may take before it is tried anew, and how often it is looked for.
const KILLER_LASTS_MAX: std::time::Duration = std::time::Duration::from_secs(1);
const KILLER_INTERVAL: std::time::Duration = std::time::Duration::from_micros(200);
/// Memory that a program may lock: what Linux gives each process by itself.
const LOCKED_MEMORY: u64 = 8 << 20;
/// Bytes in named queues of messages.
const QUEUED_MESSAGES: u64 = 819_200;

/// What all programs have, and the process that starts them as well.
const LIMITS_OF_ALL: [(libc::__rlimit_resource_t, u64); 3] = [
    // Not zero: only this number keeps the memory of a crashed program from a handler outside as well.
    (libc::RLIMIT_CORE, 1),
    (libc::RLIMIT_MEMLOCK, LOCKED_MEMORY),
    (libc::RLIMIT_MSGQUEUE, QUEUED_MESSAGES),
];

/// The descriptors of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepDescriptors<'a> {
    pub(crate) folder: BorrowedFd<'a>,
    /// Programs have this folder one after another.
    pub(crate) token: Option<FolderToken>,
    /// Standard input, if it is another than this process has, output and error.
    pub(crate) input: Option<BorrowedFd<'a>>,
    pub(crate) outputs: [BorrowedFd<'a>; 2],
    /// Writing `0` to each enters a control group.
    pub(crate) groups: &'a [RawFd],
    /// The folder of a control group to be born in.
    pub(crate) identity: Option<BorrowedFd<'a>>,
}

/// Starts programs; holds the stack that children run on until they execute.
pub(crate) struct Starter {
    stack: Vec<u8>,
    user: Option<ProgramUser>,
    isolation: Isolation,
    /// The kernel can make a process in a control group.
    births: bool,
    /// Makes programs the first that the kernel ends when memory runs out.
    first_victim: FirstVictim,
    /// No control group limits processes.
    bounds_user: bool,
    /// This process belongs to groups that programs do not.
    in_groups: bool,
    /// Processes and threads that the user had, and when that was counted.
    user_count: Option<(Instant, u64)>,
    /// This process.
    own: libc::pid_t,
    /// Limits of this process, above which it can set none.
    most: BTreeMap<libc::__rlimit_resource_t, u64>,
}

/// All that the child needs, as plain numbers and pointers.
struct Plan {
    candidates: *const *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    folder: c_int,
    /// What a descriptor is not changed for is -1.
    standard: [c_int; 3],
    groups: *const c_int,
    group_count: usize,
    limits: *const (c_int, libc::rlimit64),
    limit_count: usize,
    user: Option<ProgramUser>,
    in_groups: bool,
    terminal: bool,
    entry: Entry,
    /// Of the keeper, whose secret it is.
    secret: *const Secret,
    keeper: libc::pid_t,
    failed_step: i32,
    failed_errno: i32,
    failed_candidate: usize,
}

const STEPS: [StartStep; 12] = [
    StartStep::Clone,
    StartStep::ProcessGroup,
    StartStep::Group,
    StartStep::Limits,
    StartStep::Descriptors,
    StartStep::Folder,
    StartStep::User,
    StartStep::Privileges,
    StartStep::Execute,
    StartStep::Network,
    StartStep::Landlock,
    StartStep::Seccomp,
];

impl Starter {
    /// From now on this process has the limits and the mask that all programs have.
    pub(crate) fn new(
        user: Option<ProgramUser>,
        isolation: Isolation,
        first_victim: FirstVictim,
        bounds_user: bool,
    ) -> Self {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        for (resource, bound) in LIMITS_OF_ALL {
            let bound = bound.min(hard_limit(resource));
            let limit = libc::rlimit64 { rlim_cur: bound, rlim_max: bound };
            // SAFETY: the call reads the structure that it is given. To have less than before is never refused.
            best_effort(Errno::result(unsafe { libc::setrlimit64(resource, &raw const limit) }));
        }
        // Root needs none, and a process that has none can give none on.
        let in_groups = user.is_some() && nix::unistd::setgroups(&[]).is_err();
        Self {
            stack: vec![0; STACK_BYTES],
            user,
            in_groups,
            isolation,
            births: true,
            first_victim,
            bounds_user,
            user_count: None,
            own: std::process::id().cast_signed(),
            most: BTreeMap::new(),
        }
    }

    /// What the private `/tmp` takes, after a program and all that it started are gone; none where there is none.
    pub(crate) fn tmp_bytes(&mut self) -> Option<u64> {
        self.isolation.tmp_bytes()
    }

    /// The most processes that the kernel lets the program's user have, where no control group counts those of
    /// the program: the keeper watches the exact number, and this keeps a tree that grows faster than it looks
    /// within what it can end.
    fn user_bound(&mut self, step: &Step) -> Option<u64> {
        if !self.bounds_user {
            return None;
        }
        let others = match self.user {
            // Nobody else has this user.
            Some(_) => 0,
            None => match self.user_count {
                Some((at, count)) if at.elapsed() < USER_COUNT_LASTS => count,
                _ => {
                    let count = crate::tree::count_of_user(nix::unistd::getuid().as_raw());
                    self.user_count = Some((Instant::now(), count));
                    count
                }
            },
        };
        Some(others + u64::from(step.limits.processes) + PROCESSES_SPARE)
    }

    /// A child in the control group `identity`, where there is one.
    fn make_child(&mut self, plan: &mut Plan, identity: Option<BorrowedFd<'_>>) -> io::Result<i32> {
        let entries = plan.group_count;
        if let Some(group) = identity.filter(|_| self.births) {
            plan.group_count = 0;
            let argument = std::ptr::from_mut(plan).cast();
            let secret = self.isolation.secret();
            match clone3::clone_child_into(&mut self.stack, group, enter_program, argument, secret) {
                Err(error) if is_unknown(&error) => self.births = false,
                result => return result,
            }
        }
        plan.group_count = entries;
        clone_child(&mut self.stack, enter_program, std::ptr::from_mut(plan).cast())
    }

    /// Starts `step` and returns its process. All signals must be blocked.
    pub(crate) fn start(&mut self, step: &Step, descriptors: StepDescriptors<'_>) -> Result<i32, NotStarted> {
        let entry = self.isolation.entry(step, descriptors.folder, descriptors.token, descriptors.identity)?;
        let arguments = pointers(&step.arguments);
        let environment = pointers(&step.environment);
        let candidates = pointers(&step.candidates);
        let user_bound = self.user_bound(step);
        let limits = resource_limits(step, user_bound, &mut self.most);
        let mut plan = Plan {
            candidates: candidates.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            folder: entry.folder.as_ref().map_or(descriptors.folder.as_raw_fd(), |folder| folder.as_raw_fd()),
            standard: [
                descriptors.input.map_or(-1, |fd| fd.as_raw_fd()),
                descriptors.outputs[0].as_raw_fd(),
                descriptors.outputs[1].as_raw_fd(),
            ],
            groups: descriptors.groups.as_ptr(),
            group_count: descriptors.groups.len(),
            limits: limits.as_ptr(),
            limit_count: limits.len(),
            user: self.user,
            in_groups: self.in_groups,
            terminal: step.terminal,
            entry,
            secret: self.isolation.secret(),
            keeper: self.own,
            failed_step: -1,
            failed_errno: 0,
            failed_candidate: 0,
        };
        self.first_victim.set(true);
        let child = self.make_child(&mut plan, descriptors.identity);
        self.first_victim.set(false);
        // SAFETY: `plan` is ours; the child that wrote to it has executed or ended. Volatile, because the
        // compiler cannot know that another process wrote.
        let (failed_step, errno, candidate) = unsafe {
            (
                (&raw const plan.failed_step).read_volatile(),
                (&raw const plan.failed_errno).read_volatile(),
                (&raw const plan.failed_candidate).read_volatile(),
            )
        };
        match (child, usize::try_from(failed_step)) {
            (Err(error), _) => {
                Err(NotStarted { step: StartStep::Clone, errno: error.raw_os_error().unwrap_or(0), candidate: 0 })
            }
            (Ok(pid), Err(_)) => Ok(pid),
            (Ok(pid), Ok(step)) => {
                wait_for(pid);
                let step = STEPS.get(step).copied().unwrap_or(StartStep::Execute);
                Err(NotStarted { step, errno, candidate })
            }
        }
    }
}

/// Kills every process of a user, however it hides. A program cannot change its user, so none escapes.
///
/// The child that does it has that user for a moment, in which its victims can signal it: so it has memory of its own,
/// and who stops it stops nobody else. One that was stopped goes on, and one that does not come to its end is given
/// up; callers look what is left and come again.
pub(crate) fn kill_all_of(user: ProgramUser) {
    let mut stack = vec![0_u8; STACK_BYTES];
    let mut user = user;
    let Ok(pid) = clone_with(0, &mut stack, kill_all, (&raw mut user).cast()) else { return };
    let deadline = Instant::now() + KILLER_LASTS_MAX;
    while !has_ended(pid) {
        let signal = if Instant::now() < deadline { libc::SIGCONT } else { libc::SIGKILL };
        // SAFETY: numbers only; the child is ours and was not waited for, so that its number is still its own.
        unsafe { libc::kill(pid, signal) };
        std::thread::sleep(KILLER_INTERVAL);
    }
}

/// Whether a child of our own is gone, which is waited for if so.
fn has_ended(pid: i32) -> bool {
    // SAFETY: numbers only; a null status is allowed.
    let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) };
    result == pid || (result < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted)
}

/// Whether the kernel does not know how to make a child in a group.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EBADF | libc::EOPNOTSUPP | libc::E2BIG | libc::EINVAL))
}

/// A child that shares our memory; we go on when it has executed or ended.
fn clone_child(stack: &mut [u8], entry: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> io::Result<i32> {
    clone_with(libc::CLONE_VM | libc::CLONE_VFORK, stack, entry, argument)
}

/// With flags either as above, or none: then the child has a copy of all memory.
fn clone_with(
    flags: c_int,
    stack: &mut [u8],
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<i32> {
    let top = stack.as_mut_ptr_range().end;
    let aligned = top.wrapping_sub(top.addr() % 16);
    // SAFETY: the stack outlives the child, because CLONE_VFORK stops us until the child has executed or
    // ended, or the child has its own copy; the entries only make system calls and write to memory that we do not
    // touch meanwhile.
    let pid = unsafe { libc::clone(entry, aligned.cast(), flags | libc::SIGCHLD, argument) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

fn wait_for(pid: i32) {
    // SAFETY: waits for a child of our own; a null status is allowed.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

fn pointers(strings: &crate::protocol::Strings) -> Vec<*const c_char> {
    let mut rest = strings.0.as_slice();
    // Enough for words of usual length, so that it seldom moves.
    let mut found = Vec::with_capacity(rest.len() / 12 + 2);
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        found.push(rest.as_ptr().cast());
        rest = &rest[end + 1..];
    }
    found.push(std::ptr::null());
    found
}

/// The limits that the kernel keeps for each process, within what this process may set.
fn resource_limits(
    step: &Step,
    user_bound: Option<u64>,
    known: &mut BTreeMap<libc::__rlimit_resource_t, u64>,
) -> Vec<(c_int, libc::rlimit64)> {
    let mut limits = Vec::with_capacity(8);
    let mut bound = |resource: libc::__rlimit_resource_t, soft: u64, hard: u64| {
        let most = *known.entry(resource).or_insert_with(|| hard_limit(resource));
        let limit = libc::rlimit64 { rlim_cur: soft.min(most), rlim_max: hard.min(most) };
        limits.push((resource.cast_signed(), limit));
    };
    bound(libc::RLIMIT_FSIZE, step.limits.file_size.0, step.limits.file_size.0);
    let open_files = u64::from(step.limits.open_files);
    bound(libc::RLIMIT_NOFILE, open_files, open_files);
    if let Some(bound_of_user) = user_bound {
        bound(libc::RLIMIT_NPROC, bound_of_user, bound_of_user);
    }
    if let Some(time) = step.limits.cpu_time {
        // A backstop a little above: the keeper watches the whole tree and is exact.
        let seconds = time.0.div_ceil(Duration::from_secs(1).0).saturating_add(1);
        bound(libc::RLIMIT_CPU, seconds, seconds.saturating_add(1));
    }
    if step.arguments.bytes() + step.environment.bytes() + 8 * step.arguments.iter().count() > LONG_ARGUMENTS_BYTES {
        bound(libc::RLIMIT_STACK, STACK_LIMIT_FOR_LONG_ARGUMENTS, libc::RLIM64_INFINITY);
    }
    limits
}

fn hard_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the structure that it is given.
    let result = unsafe { libc::getrlimit64(resource, &raw mut limit) };
    if result == 0 { limit.rlim_max } else { libc::RLIM64_INFINITY }
}

/// The number of the error of the last call. Shared with the keeper, which does not run meanwhile.
fn errno() -> i32 {
    // SAFETY: always points to this thread's word.
    unsafe { *libc::__errno_location() }
}

extern "C" fn kill_all(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the user that `kill_all_of` holds until we end. Only system calls follow; the
    // raw ones, because the library's would tell other threads, of which there are none.
    unsafe {
        let user = *argument.cast::<ProgramUser>();
        let (uid, gid) = (c_long::from(user.uid), c_long::from(user.gid));
        if libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
            && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
        {
            libc::syscall(libc::SYS_kill, -1, libc::SIGKILL);
        }
        libc::_exit(0)
    }
}

/// Runs in the child, on its own stack in the keeper's memory: nothing here allocates, locks or panics.
extern "C" fn enter_program(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the plan that `start` holds until we have executed or ended; every pointer in
    // it is to memory that lives as long.
    unsafe {
        let plan = argument.cast::<Plan>();
        let step = prepare(&*plan);
        let step = if step < 0 { execute(plan) } else { step };
        (&raw mut (*plan).failed_errno).write_volatile(errno());
        (&raw mut (*plan).failed_step).write_volatile(step);
        libc::_exit(127)
    }
}

/// Everything up to the execution; the index of the step that failed, or -1.
///
/// # Safety
/// Only for the child of `start`.
unsafe fn prepare(plan: &Plan) -> i32 {
    // SAFETY: system calls on the numbers and pointers of the plan, which are valid; failures are told.
    unsafe {
        // A group of its own in the keeper's session, which has no terminal. Not a session of its own: where
        // the scheduler groups by session, a new one for each program more than doubles its cost under load.
        let own = if plan.terminal { libc::SYS_setsid } else { libc::SYS_setpgid };
        if libc::syscall(own, 0, 0) < 0 {
            return 1;
        }
        for index in 0..plan.group_count {
            if libc::write(*plan.groups.add(index), c"0".as_ptr().cast(), 1) < 0 {
                return 2;
            }
        }
        for index in 0..plan.limit_count {
            let (resource, limit) = &*plan.limits.add(index);
            let null = std::ptr::null_mut::<libc::rlimit64>();
            if libc::syscall(libc::SYS_prlimit64, 0, *resource, std::ptr::from_ref(limit), null) < 0 {
                return 3;
            }
        }
        // Empty input of its own: what a program sets or locks on the keeper's would be there for the next one.
        if plan.standard[0] < 0 {
            libc::close(0);
            if libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) != 0 {
                return 4;
            }
        }
        for (number, file) in plan.standard.iter().enumerate() {
            if *file >= 0 && libc::dup2(*file, number as c_int) < 0 {
                return 4;
            }
        }
        if plan.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
            return 1;
        }
        let network = [c_long::from(plan.entry.network), c_long::from(libc::CLONE_NEWNET)];
        if plan.entry.network >= 0 && (*plan.secret).call(libc::SYS_setns, network) < 0 {
            return 9;
        }
        if let Some(user) = plan.user {
            let (uid, gid) = (c_long::from(user.uid), c_long::from(user.gid));
            let nothing = std::ptr::null::<libc::gid_t>();
            if (plan.in_groups && libc::syscall(libc::SYS_setgroups, 0, nothing) < 0)
                || libc::syscall(libc::SYS_setresgid, gid, gid, gid) < 0
                || libc::syscall(libc::SYS_setresuid, uid, uid, uid) < 0
            {
                return 6;
            }
        }
        // As the program's user: a folder that it may not enter is not its folder.
        if libc::fchdir(plan.folder) < 0 {
            return 5;
        }
        // After the change of user, which forgets it. The keeper may have died meanwhile.
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) < 0 || libc::getppid() != plan.keeper {
            return 7;
        }
        // What is left where there was no change of user, as in a namespace of users.
        let header: [u32; 2] = [CAPABILITIES_VERSION, 0];
        let nothing = [0_u32; 6];
        if libc::syscall(libc::SYS_capset, header.as_ptr(), nothing.as_ptr()) < 0 {
            return 7;
        }
        if plan.entry.rules >= 0 && libc::syscall(libc::SYS_landlock_restrict_self, plan.entry.rules, 0) < 0 {
            return 10;
        }
        // Every descriptor is closed on exec already; this is for those that a library opened otherwise.
        libc::syscall(libc::SYS_close_range, 3, c_long::from(u32::MAX), 0);
        // The keeper's handlers are gone with the execution; nothing else was changed but the mask.
        let none: u64 = 0;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, std::ptr::null_mut::<u64>(), 8);
        // On top of the keeper's own, and last: it judges every call from here on.
        let filter = plan.entry.filter;
        if !filter.is_null() && libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, filter) < 0 {
            return 11;
        }
        -1
    }
}

/// Tries the candidates as execvp does: what is not there or not allowed leads to the next one, and
/// "not allowed" is told in the end rather than "not there".
///
/// # Safety
/// Only for the child of `start`.
unsafe fn execute(plan: *mut Plan) -> i32 {
    // SAFETY: the arrays end with a null pointer and their strings with a NUL.
    unsafe {
        let (mut told_errno, mut told_index) = (libc::ENOENT, 0_usize);
        let mut index = 0_usize;
        loop {
            let path = *(*plan).candidates.add(index);
            if path.is_null() {
                break;
            }
            libc::execve(path, (*plan).arguments, (*plan).environment);
            match errno() {
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                libc::EACCES => (told_errno, told_index) = (libc::EACCES, index),
                other => {
                    (told_errno, told_index) = (other, index);
                    break;
                }
            }
            index += 1;
        }
        (&raw mut (*plan).failed_candidate).write_volatile(told_index);
        *libc::__errno_location() = told_errno;
        8
    }
}
