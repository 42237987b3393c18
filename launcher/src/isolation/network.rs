//! The network for programs that ask for it: the machine's own, with small programs of the kernel's in the way that
//! refuse the master's ports, the machine's loopback, addresses where clouds keep credentials, and to be a server.

use super::{Problem, secret::Secret};
use crate::protocol::{Namespaces, NetworkGuard};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// The network that the launcher is in, to be entered by programs of keepers that are in another.
#[derive(Debug)]
pub(crate) struct Machine {
    namespace: File,
    /// The kernel's number for it.
    cookie: u64,
}

impl Machine {
    /// The network of this process.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let (mut cookie, mut size) = (0_u64, libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8));
        // SAFETY: the call writes the number that it is given the address and the size of.
        let result = unsafe {
            let value = (&raw mut cookie).cast();
            libc::getsockopt(any.as_raw_fd(), libc::SOL_SOCKET, NAMESPACE_COOKIE, value, &raw mut size)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { namespace: File::open("/proc/self/ns/net")?, cookie })
    }
}

const NAMESPACE_COOKIE: libc::c_int = 71;

/// Commands, kinds and flags of the kernel's header.
const PROGRAM_LOAD: libc::c_long = 5;
const PROGRAM_ATTACH: libc::c_long = 8;
const PROGRAM_DETACH: libc::c_long = 9;
const CGROUP_SOCKET_ADDRESS: u32 = 18;
const ALLOW_OTHERS: u32 = 2;

/// Where the programs stand.
const PLACES: [(u32, Hook); 6] = [
    (8, Hook::Bind),
    (9, Hook::Bind),
    (10, Hook::Reach(Version::Four)),
    (11, Hook::Reach(Version::Six)),
    (14, Hook::Reach(Version::Four)),
    (15, Hook::Reach(Version::Six)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Bind,
    Reach(Version),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Four,
    Six,
}

/// The guarded network of a slot.
#[derive(Debug)]
pub(super) struct Network {
    machine: Machine,
    /// The keeper is in another one.
    elsewhere: bool,
    programs: Vec<(u32, OwnedFd)>,
}

impl Network {
    /// Prepares the programs that stand in the way.
    pub(super) fn new(guard: &NetworkGuard, machine: Machine, namespaces: Namespaces) -> Result<Self, Problem> {
        if namespaces == Namespaces::OfUser {
            let error = io::Error::from_raw_os_error(libc::EPERM);
            return Err(Problem::new("the network of the machine, for who is not root".to_owned(), error));
        }
        let mut programs = Vec::with_capacity(PLACES.len());
        for (place, hook) in PLACES {
            let program = program(hook, guard, machine.cookie);
            programs.push((place, load(place, &program).map_err(Problem::of("a program that guards the network"))?));
        }
        Ok(Self { machine, elsewhere: namespaces != Namespaces::None, programs })
    }

    /// Puts the programs into the way of all that is in the control group. They let through whoever is not in the
    /// machine's network, so they stay.
    pub(super) fn guard(&self, group: BorrowedFd<'_>, secret: &Secret) -> io::Result<()> {
        for (place, program) in &self.programs {
            match attach(PROGRAM_ATTACH, group, program, *place, secret) {
                // It stands there already.
                Err(error)
                    if error.raw_os_error() == Some(libc::EINVAL)
                        && self.is_attached(group, *place, program, secret) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Taking it away and putting it back works only where it stood.
    fn is_attached(&self, group: BorrowedFd<'_>, place: u32, program: &OwnedFd, secret: &Secret) -> bool {
        attach(PROGRAM_DETACH, group, program, place, secret).is_ok()
            && attach(PROGRAM_ATTACH, group, program, place, secret).is_ok()
    }

    /// What a program enters, or -1 when it is there.
    pub(super) fn entry(&self) -> RawFd {
        if self.elsewhere { self.machine.namespace.as_raw_fd() } else { -1 }
    }
}

fn attach(
    command: libc::c_long,
    group: BorrowedFd<'_>,
    program: &OwnedFd,
    place: u32,
    secret: &Secret,
) -> io::Result<()> {
    let flags = if command == PROGRAM_ATTACH { ALLOW_OTHERS } else { 0 };
    let attributes = [group.as_raw_fd().cast_unsigned(), program.as_raw_fd().cast_unsigned(), place, flags];
    let size = size_of_val(&attributes).cast_signed() as libc::c_long;
    let address = attributes.as_ptr().expose_provenance().cast_signed() as libc::c_long;
    // SAFETY: the call reads as many bytes as it is told.
    let result = unsafe { secret.call(libc::SYS_bpf, [command, address, size]) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// As the kernel's header has it, up to the place that a program is for.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    steps: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    place: u32,
}

fn load(place: u32, steps: &[u64]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        kind: CGROUP_SOCKET_ADDRESS,
        count: u32::try_from(steps.len()).map_err(io::Error::other)?,
        steps: steps.as_ptr().expose_provenance() as u64,
        license: c"MIT".as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"ruche_network\0\0\0",
        device: 0,
        place,
    };
    // SAFETY: what the attributes point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const attributes, size_of::<LoadAttributes>()) };
    match i32::try_from(result).map_err(io::Error::other)? {
        // SAFETY: the kernel has just made this descriptor for us, closed on exec.
        fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Offsets in what the kernel shows of an address.
const ADDRESS_4: i16 = 4;
const ADDRESS_6: i16 = 8;
const PORT: i16 = 24;
/// Where clouds tell a machine about itself, credentials included, besides link-local addresses.
const METADATA_4: u32 = u32::from_be_bytes([100, 100, 100, 200]);
/// As above, and the resolver of names there.
const METADATA_AND_NAMES_4: u32 = u32::from_be_bytes([168, 63, 129, 16]);
/// The first and the last word of `fd00:ec2::254` and `fd20:ce::254`; zeros are between.
const METADATA_6: [u32; 2] = [0xfd00_0ec2, 0xfd20_00ce];
const METADATA_6_END: u32 = 0x254;
/// Names are looked up at a resolver of the machine's own, often.
const NAME_SERVICE: u32 = 53;

/// Puts together steps of the kernel's machine. Jumps name a label; they are resolved at the end.
#[derive(Default)]
struct Steps {
    steps: Vec<u64>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Allow,
    Refuse,
    /// Loopback: names alone.
    Itself,
    /// The address in register 3 is of version 4.
    Four,
    /// Behind the tests for one of the forms of version 6.
    Next(u8),
}

impl Steps {
    fn step(&mut self, code: u8, to: u8, from: u8, offset: i16, value: i32) {
        let registers = u64::from(to | (from << 4));
        let (offset, value) = (u64::from(offset.cast_unsigned()), u64::from(value.cast_unsigned()));
        self.steps.push(u64::from(code) | (registers << 8) | (offset << 16) | (value << 32));
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.step(0xbf, to, from, 0, 0);
    }

    /// A word of what register 6 points to, in the machine's order.
    fn word(&mut self, to: u8, offset: i16, bits: i32) {
        self.step(0x61, to, 6, offset, 0);
        self.step(0xdc, to, 0, 0, bits);
    }

    fn shift_right(&mut self, register: u8, bits: i32) {
        self.step(0x77, register, 0, 0, bits);
    }

    fn if_equal(&mut self, register: u8, value: u32, to: Label) {
        self.jump(0x16, register, value, to);
    }

    fn if_not_equal(&mut self, register: u8, value: u32, to: Label) {
        self.jump(0x56, register, value, to);
    }

    fn go(&mut self, to: Label) {
        self.jump(0x05, 0, 0, to);
    }

    fn jump(&mut self, code: u8, register: u8, value: u32, to: Label) {
        self.jumps.push((self.steps.len(), to));
        self.step(code, register, 0, 0, value.cast_signed());
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.steps.len()));
    }

    fn answer(&mut self, label: Label, value: i32) {
        self.label(label);
        self.step(0xb7, 0, 0, 0, value);
        self.step(0x95, 0, 0, 0, 0);
    }

    fn finish(mut self) -> Vec<u64> {
        for (at, to) in &self.jumps {
            let target = self.labels.iter().find(|(label, _)| label == to).map_or(0, |(_, place)| *place);
            let offset = i16::try_from(target as i64 - *at as i64 - 1).unwrap_or(0);
            self.steps[*at] |= u64::from(offset.cast_unsigned()) << 16;
        }
        self.steps
    }
}

/// The program for one place: 1 lets it through, 0 refuses it.
fn program(hook: Hook, guard: &NetworkGuard, cookie: u64) -> Vec<u64> {
    let mut steps = Steps::default();
    steps.copy(6, 1);
    // Which network it is about: the call takes what register 1 points to.
    steps.step(0x85, 0, 0, 0, 122);
    let halves = [cookie as u32, (cookie >> 32) as u32];
    steps.step(0x18, 1, 0, 0, halves[0].cast_signed());
    steps.step(0x00, 0, 0, 0, halves[1].cast_signed());
    steps.jumps.push((steps.steps.len(), Label::Allow));
    steps.step(0x5d, 0, 1, 0, 0);
    steps.word(2, PORT, 16);
    match hook {
        Hook::Bind => {
            // Any port that the system chooses; a server needs one of its own choice.
            steps.if_not_equal(2, 0, Label::Refuse);
            steps.go(Label::Allow);
        }
        Hook::Reach(version) => {
            reach(&mut steps, version, guard);
            steps.label(Label::Itself);
            steps.if_equal(2, NAME_SERVICE, Label::Allow);
        }
    }
    steps.answer(Label::Refuse, 0);
    steps.answer(Label::Allow, 1);
    steps.finish()
}

fn reach(steps: &mut Steps, version: Version, guard: &NetworkGuard) {
    for port in &guard.ports {
        steps.if_equal(2, u32::from(*port), Label::Refuse);
    }
    match version {
        Version::Four => steps.word(3, ADDRESS_4, 32),
        Version::Six => forms_of_six(steps),
    }
    steps.label(Label::Four);
    // The first byte: this machine.
    steps.copy(4, 3);
    steps.shift_right(4, 24);
    steps.if_equal(4, 127, Label::Itself);
    steps.if_equal(4, 0, Label::Itself);
    // Link-local addresses; a cloud's data about its machines is there.
    steps.copy(4, 3);
    steps.shift_right(4, 16);
    steps.if_equal(4, 0xa9fe, Label::Refuse);
    steps.if_equal(3, METADATA_4, Label::Refuse);
    steps.if_equal(3, METADATA_AND_NAMES_4, Label::Itself);
    // Groups and what is reserved, the broadcast address included.
    steps.copy(4, 3);
    steps.shift_right(4, 28);
    steps.if_equal(4, 0xe, Label::Refuse);
    steps.if_equal(4, 0xf, Label::Refuse);
    steps.go(Label::Allow);
}

/// Leaves with the address of version 4 that one of version 6 stands for, or with an answer.
fn forms_of_six(steps: &mut Steps) {
    let words: [i16; 4] = [0, 1, 2, 3].map(|index| ADDRESS_6 + 4 * index);
    steps.word(5, words[0], 32);
    steps.word(7, words[1], 32);
    steps.word(8, words[2], 32);
    steps.word(3, words[3], 32);
    // Link-local, the older site-local, and groups.
    steps.copy(4, 5);
    steps.shift_right(4, 22);
    steps.if_equal(4, 0x3fa, Label::Refuse);
    steps.if_equal(4, 0x3fb, Label::Refuse);
    steps.shift_right(4, 2);
    steps.if_equal(4, 0xff, Label::Refuse);
    for (number, first) in (1_u8..).zip(METADATA_6) {
        steps.if_not_equal(5, first, Label::Next(number));
        steps.if_not_equal(7, 0, Label::Next(number));
        steps.if_not_equal(8, 0, Label::Next(number));
        steps.if_equal(3, METADATA_6_END, Label::Refuse);
        steps.label(Label::Next(number));
    }
    // Version 4 behind a translator.
    steps.if_not_equal(5, 0x0064_ff9b, Label::Next(0));
    steps.if_equal(7, 0, Label::Four);
    steps.label(Label::Next(0));
    steps.if_not_equal(5, 0, Label::Allow);
    steps.if_not_equal(7, 0, Label::Allow);
    // Version 4 in the clothes of 6.
    steps.if_equal(8, 0xffff, Label::Four);
    steps.if_not_equal(8, 0, Label::Allow);
    // The machine itself, nobody, and an old form of version 4.
    steps.if_equal(3, 0, Label::Itself);
    steps.if_equal(3, 1, Label::Itself);
}
