//! A lease ends, and a launcher goes, whatever somebody does who would rather have it otherwise.

use crate::kit::{Slot, read, step, strongest};
use common::units::BootTime;
use launcher::{
    Launcher, Socket,
    protocol::{Guards, Namespaces, PROTOCOL, Step, ToLauncher},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use std::{io::PipeReader, os::fd::AsRawFd, time::Duration};

/// In a second and a half: time enough for a program to begin.
fn soon() -> BootTime {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    BootTime(u64::try_from(now.as_micros()).unwrap() + 1_500_000)
}

fn begin_with_lease(slot: &mut Slot, until: BootTime, arguments: &[&str]) -> PipeReader {
    assert_eq!(slot.problem, "");
    slot.launcher.set_lease(until).unwrap();
    let (output, first) = slot.begin_step(Step { lease_until: Some(until.0), ..step(arguments) });
    assert_eq!(first, "there");
    output
}

#[test]
fn i5_a_caller_who_never_reads_does_not_keep_a_lease_from_ending() {
    let mut slot = Slot::new(strongest());
    let mut output = begin_with_lease(&mut slot, soon(), &["/bin/sh", "-c", "echo there; sleep 600"]);
    let Slot { launcher, data, .. } = slot;
    launcher.outlive(data.path(), vec![7; 4_096], None).unwrap();
    launcher.leave();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    connect(fd.as_raw_fd(), &UnixAddr::new(&data.path().join("launcher.sock")).unwrap()).unwrap();
    let caller = Socket::from(fd);
    for _ in 0..2_000 {
        // Refused when too much waits.
        drop(caller.send(&ToLauncher::Adopt { protocol: PROTOCOL }, &[]));
    }
    // Its end comes when nobody has the pipe any more.
    assert_eq!(read(&mut output), "");
    drop(caller);
    // It serves whoever comes next.
    let (_launcher, found) = Launcher::find(data.path()).unwrap().unwrap();
    assert_eq!((found.keep.len(), found.keepers.len()), (4_096, 1));
}

/// Keeps signals waiting at its keeper: nothing stands in the way, and it has the keeper's user.
fn flooded() -> Slot {
    let guards = Guards { namespaces: Namespaces::OfUser, landlock: false, seccomp: false, ..strongest() };
    Slot::of_keepers_user(guards)
}

const FLOOD: &str = "import os\nprint('there', flush=True)\nwhile True: os.kill(1, 10); os.kill(1, 12)";

#[test]
fn i5_a_lease_ends_for_a_program_that_sends_signals_to_its_keeper() {
    let mut slot = flooded();
    let mut output = begin_with_lease(&mut slot, soon(), &["/usr/bin/python3", "-c", FLOOD]);
    assert_eq!(read(&mut output), "");
}

#[test]
fn i12_a_program_that_sends_signals_to_its_keeper_does_not_outlive_the_launcher() {
    for _ in 0..10 {
        let mut slot = flooded();
        let (mut output, _) = slot.begin_step(step(&["/usr/bin/python3", "-c", FLOOD]));
        kill(Pid::from_raw(slot.launcher.process_id().unwrap().cast_signed()), Signal::SIGKILL).unwrap();
        assert_eq!(read(&mut output), "");
    }
}
