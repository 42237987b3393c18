//! seccomp: the system calls that no program needs, and that have let programs out elsewhere, are refused.

use super::{
    assembler::{Call, Rule, Test, Verdict, assemble},
    secret::Secret,
};
use libc::{c_long, sock_filter};

/// Which sockets a program may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    /// Pairs that are connected to each other. No rule of Landlock is about sockets with a file, behind which the
    /// slave's own launcher and the services of its user listen, and a program may have that user.
    Pairs,
    /// TCP and UDP, and pairs.
    Internet,
    /// TCP, UDP, and those within the machine, of which nothing is in sight.
    InternetAndLocal,
    /// All that its user may.
    Any,
}

#[cfg(target_arch = "x86_64")]
const PROCESSOR: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const PROCESSOR: u32 = 0xc000_00b7;
/// The x32 convention has the same processor's word and numbers of its own.
#[cfg(target_arch = "x86_64")]
const FOREIGN: Option<u32> = Some(0x4000_0000);
#[cfg(target_arch = "aarch64")]
const FOREIGN: Option<u32> = None;

/// Refused with EPERM, whatever the arguments.
const REFUSED: &[c_long] = &[
    // Namespaces and mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    // The kernel's own machines and what looks into it.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    LSM_SET_SELF_ATTR,
    // Keys.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The machine as a whole.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    // Files by number rather than by name, and watches over whole file systems.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
];

/// Newer than the constants of the library.
const OPEN_TREE_ATTR: c_long = 467;
const LSM_SET_SELF_ATTR: c_long = 460;

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[c_long] = &[];

/// Namespaces that a new process would be born in, time included.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | 0x80)
    .cast_unsigned();
/// The keeper as its programs would name it.
const KEEPER: u32 = 1;
/// Calls that give a process, which their first argument names, less of the processor.
const PRIORITY_OF_PROCESS: [c_long; 4] =
    [libc::SYS_sched_setaffinity, libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr];
/// Calls that do so for a process, a group or all of a user, and their word for the last.
const PRIORITY_OF_KIND: [(c_long, u32); 2] = [(libc::SYS_setpriority, 2), (libc::SYS_ioprio_set, 3)];
/// Calls that signal whom their first argument names, or get hold of it to do so.
const SIGNALS: [c_long; 6] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
];
/// What a keeper is told by.
const SIGNALS_OF_KEEPER: [i32; 2] = [libc::SIGUSR1, libc::SIGUSR2];
/// Chooses the signal by which a file's owner, who may be the keeper, is told that something came.
const SIGNAL_OF_FILE: i32 = 10;
/// Terminal requests that act on whoever reads the terminal next, or on the machine's consoles.
const TERMINAL_TRICKS: [u32; 3] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32, libc::TIOCSETD as u32];
/// Linux itself, with and without its 32-bit form, random places and old kernels' numbers; and the question.
const PERSONALITIES: [u32; 6] = [0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0xffff_ffff];
/// The kind of a socket without the flags that come with it.
const SOCKET_KIND: u32 = 0xf;

/// A refused call that a keeper makes while it has programs.
struct OfKeeper {
    number: c_long,
    /// How many arguments it uses.
    used: usize,
    /// What one of them must be.
    only: Option<(u8, &'static [i32])>,
}

const fn of_keeper(number: c_long, used: usize, only: Option<(u8, &'static [i32])>) -> OfKeeper {
    OfKeeper { number, used, only }
}

/// A new `/tmp`, new messages, the network of a program that asks for it, and a process in a control group.
const OF_KEEPER: [OfKeeper; 11] = [
    of_keeper(libc::SYS_mount, 5, None),
    of_keeper(libc::SYS_umount2, 2, Some((1, &[libc::MNT_DETACH]))),
    of_keeper(libc::SYS_unshare, 1, Some((0, &[libc::CLONE_NEWIPC]))),
    of_keeper(libc::SYS_setns, 2, Some((1, &[libc::CLONE_NEWNET]))),
    of_keeper(libc::SYS_open_tree, 3, None),
    of_keeper(libc::SYS_move_mount, 5, None),
    of_keeper(libc::SYS_fsopen, 2, None),
    of_keeper(libc::SYS_fsconfig, 5, None),
    of_keeper(libc::SYS_fsmount, 3, None),
    of_keeper(libc::SYS_mount_setattr, 5, None),
    // To put a program into the way of a group, and to take it away again.
    of_keeper(libc::SYS_bpf, 3, Some((0, &[8, 9]))),
];

/// The calls with this number that a keeper makes.
fn rules_of_keeper(number: c_long, secret: &Secret) -> Vec<Rule> {
    let own = OF_KEEPER.iter().filter(|call| call.number == number);
    own.map(|call| {
        let mut tests: Vec<_> =
            call.only.iter().map(|(argument, values)| (*argument, one_of(u32::MAX, values))).collect();
        tests.push((0, Test::Secret(secret.places(call.used))));
        allow(tests)
    })
    .collect()
}

/// The filter of programs that a keeper enters; whether it is the first process of their own namespace.
pub(super) fn filter(sockets: Sockets, own_processes: bool, secret: &Secret) -> Vec<sock_filter> {
    let refused = REFUSED.iter().chain(REFUSED_HERE).map(|number| Call {
        number: number_of(*number),
        rules: rules_of_keeper(*number, secret),
        otherwise: Verdict::Fail(libc::EPERM),
    });
    let mut calls: Vec<Call> = refused.collect();
    let fails_when = |number, argument, test, errno| Call {
        number: number_of(number),
        rules: vec![Rule { tests: vec![(argument, test)], verdict: Verdict::Fail(errno) }],
        otherwise: Verdict::Allow,
    };
    calls.push(fails_when(libc::SYS_clone, 0, Test::AnyBit(NEW_NAMESPACES), libc::EPERM));
    let tricks = Test::OneOf { mask: u32::MAX, values: TERMINAL_TRICKS.to_vec() };
    calls.push(fails_when(libc::SYS_ioctl, 1, tricks, libc::EPERM));
    // Limits are a process's own to lower; its keeper, or the slave, may have the same user.
    calls.push(fails_when(libc::SYS_prlimit64, 0, Test::AnyBit(u32::MAX), libc::EPERM));
    let one = |value: u32| Test::OneOf { mask: u32::MAX, values: vec![value] };
    for number in PRIORITY_OF_PROCESS {
        calls.push(fails_when(number, 0, one(KEEPER), libc::EPERM));
    }
    for (number, of_user) in PRIORITY_OF_KIND {
        let refuse =
            |argument, value| Rule { tests: vec![(argument, one(value))], verdict: Verdict::Fail(libc::EPERM) };
        let rules = vec![refuse(0, of_user), refuse(1, KEEPER)];
        calls.push(Call { number: number_of(number), rules, otherwise: Verdict::Allow });
    }
    if own_processes {
        calls.extend(signals_to_keeper());
    }
    // Its arguments lie in memory, out of a filter's sight. Libraries fall back to the older call.
    let rules = vec![allow(vec![(0, Test::Secret(secret.places(2)))])];
    calls.push(Call { number: number_of(libc::SYS_clone3), rules, otherwise: Verdict::Fail(libc::ENOSYS) });
    let usual = Test::OneOf { mask: u32::MAX, values: PERSONALITIES.to_vec() };
    calls.push(Call {
        number: number_of(libc::SYS_personality),
        rules: vec![Rule { tests: vec![(0, usual)], verdict: Verdict::Allow }],
        otherwise: Verdict::Fail(libc::EPERM),
    });
    calls.extend(socket(sockets));
    calls.extend(socketpair(sockets));
    assemble(PROCESSOR, FOREIGN, calls)
}

/// What a program enters on top of the filter of its keeper, where it may make fewer sockets than others.
pub(super) fn filter_of_sockets(sockets: Sockets) -> Vec<sock_filter> {
    assemble(PROCESSOR, FOREIGN, socket(sockets).into_iter().chain(socketpair(sockets)).collect())
}

/// A keeper believes no signal of a program, but one that waits keeps out the launcher's own of the same number. A
/// process of the keeper's group would signal it with all of its group.
fn signals_to_keeper() -> Vec<Call> {
    let refuse = |number, tests| Call {
        number: number_of(number),
        rules: vec![Rule { tests, verdict: Verdict::Fail(libc::EPERM) }],
        otherwise: Verdict::Allow,
    };
    let keeper = || Test::OneOf { mask: u32::MAX, values: vec![KEEPER] };
    let mut calls: Vec<Call> = SIGNALS.iter().map(|number| refuse(*number, vec![(0, keeper())])).collect();
    calls.push(refuse(libc::SYS_setpgid, vec![(1, keeper())]));
    let of_file = vec![(1, one_of(u32::MAX, &[SIGNAL_OF_FILE])), (2, one_of(u32::MAX, &SIGNALS_OF_KEEPER))];
    calls.push(refuse(libc::SYS_fcntl, of_file));
    calls
}

/// Sockets within the machine, and those of the network, as far as they are allowed.
fn socket(sockets: Sockets) -> Option<Call> {
    // The machine's addresses and routes; libraries ask for them before they look up a name.
    let mut rules = vec![allow(vec![family(&[libc::AF_NETLINK]), protocol(&[libc::NETLINK_ROUTE])])];
    let internet = allow(vec![
        family(&[libc::AF_INET, libc::AF_INET6]),
        kind(&[libc::SOCK_STREAM, libc::SOCK_DGRAM]),
        protocol(&[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP]),
    ]);
    match sockets {
        Sockets::Any => return None,
        Sockets::Pairs => {}
        Sockets::Internet => rules.push(internet),
        Sockets::InternetAndLocal => rules.extend([allow(vec![family(&[libc::AF_UNIX])]), internet]),
    }
    let number = number_of(libc::SYS_socket);
    Some(Call { number, rules, otherwise: Verdict::Fail(libc::EACCES) })
}

/// Where no other socket is allowed, pairs that stay connected: one for datagrams can be connected to another.
fn socketpair(sockets: Sockets) -> Option<Call> {
    match sockets {
        Sockets::Any | Sockets::InternetAndLocal => return None,
        Sockets::Pairs | Sockets::Internet => {}
    }
    let rules = vec![allow(vec![family(&[libc::AF_UNIX]), kind(&[libc::SOCK_STREAM, libc::SOCK_SEQPACKET])])];
    Some(Call { number: number_of(libc::SYS_socketpair), rules, otherwise: Verdict::Fail(libc::EACCES) })
}

const fn allow(tests: Vec<(u8, Test)>) -> Rule {
    Rule { tests, verdict: Verdict::Allow }
}

fn one_of(mask: u32, values: &[i32]) -> Test {
    Test::OneOf { mask, values: values.iter().map(|value| value.cast_unsigned()).collect() }
}

fn family(families: &[i32]) -> (u8, Test) {
    (0, one_of(u32::MAX, families))
}

fn kind(kinds: &[i32]) -> (u8, Test) {
    (1, one_of(SOCKET_KIND, kinds))
}

fn protocol(protocols: &[i32]) -> (u8, Test) {
    (2, one_of(u32::MAX, protocols))
}

fn number_of(number: c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
