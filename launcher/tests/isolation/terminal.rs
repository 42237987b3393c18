//! A program with a terminal.

use crate::kit::{Slot, step, strongest, without_namespaces};
use launcher::protocol::{Status, Step};
use std::{
    io::{ErrorKind, Read},
    os::fd::OwnedFd,
    process::Command,
};

/// Both ends of a new terminal.
fn terminal() -> (std::fs::File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let end = std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (std::fs::File::from(master), end.into())
}

#[test]
fn i17_a_terminal_controls_the_programs_own_session() {
    for guards in [strongest(), without_namespaces()] {
        let mut slot = Slot::new(guards);
        let (mut master, end) = terminal();
        let size = Command::new("stty").args(["rows", "7", "cols", "33"]).stdin(end.try_clone().unwrap()).status();
        assert!(size.unwrap().success());
        let script =
            "test -t 0 && stty size </dev/tty; ps -o sid= -p $$ | tr -d ' ' >&2; echo $$ >&2; kill -INT 0; sleep 60";
        let asks = Step { terminal: true, stdin: true, ..step(&["/bin/sh", "-c", script]) };
        let folder = std::fs::File::open(slot.folder()).unwrap().into();
        let told = slot.try_run_with_terminal(&asks, &folder, &end).unwrap();
        drop(end);
        let mut text = Vec::new();
        let mut bytes = [0; 256];
        loop {
            match master.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(&bytes[..count]),
                // Nobody has the other end any more.
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
                    assert_ne!(error.kind(), ErrorKind::Interrupted);
                    break;
                }
            }
        }
        assert_eq!(String::from_utf8_lossy(&text), "7 33\r\n");
        assert_eq!(told.ended.status, Status::Signalled(libc::SIGINT));
        let ids: Vec<&str> = told.errors.lines().collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{told:?}");
    }
}

#[test]
fn i17_a_program_makes_terminals_of_its_own() {
    let mut slot = Slot::new(strongest());
    let script = "import pty, os\nm, s = pty.openpty()\nos.write(s, b'x')\nprint(os.read(m, 1), os.ttyname(s))";
    assert_eq!(slot.python(script).succeeded(), "b'x' /dev/pts/0\n");
}
