//! Programs that are used while they run: input, terminals, Ctrl-C, suspension and another wall time, through the real
//! programs.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{
    pty::OpenptFlags,
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};
use tests::{Cluster, wait_until};

/// A terminal that a person sits at: what stands on it, and its keys.
struct Screen {
    keys: File,
    /// The program's end, to look at its modes.
    inner: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keys = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&keys).unwrap();
        let inner = rustix::pty::ioctl_tiocgptpeer(&keys, flags).unwrap();
        let keys = File::from(keys);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, writer) = (keys.try_clone().unwrap(), shown.clone());
        std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(count) = reader.read(&mut buffer) {
                    if count == 0 {
                        return;
                    }
                    writer.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            })
            .unwrap();
        let screen = Self { keys, inner, shown };
        screen.resize(24, 80);
        screen
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keys, size).unwrap();
    }

    fn start(&self, mut command: Command) -> Child {
        let end = || Stdio::from(self.inner.try_clone().unwrap());
        command.env("TERM", "xterm-test").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(text, || self.text().contains(text).then_some(()));
    }

    /// Whether lines are edited and keys are echoed, as a shell leaves it.
    fn is_cooked(&self) -> bool {
        tcgetattr(&self.inner).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 4);
    cluster
}

/// The next line of a command that was started.
fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn i13_input_reaches_a_program_as_it_comes_and_its_end_too() {
    let cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    let script = "echo ready; while read -r line; do echo \"got $line\"; done; echo over; exit 5";
    let mut child =
        alice.command(["run", "--", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    assert_eq!(line(&mut reader), "ready\n");
    for text in ["one", "two"] {
        // Each is answered before the next is written.
        writeln!(stdin, "{text}").unwrap();
        assert_eq!(line(&mut reader), format!("got {text}\n"));
    }
    drop(stdin);
    assert_eq!(line(&mut reader), "over\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let ran = alice.run_with_input(["run", "--", "cat"], &bytes).expect(0);
    assert!(ran.stdout == bytes, "{} of {} bytes", ran.stdout.len(), bytes.len());
}

#[test]
fn i13_run_ends_with_its_program_though_its_input_stays_open() {
    let cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    let mut child = alice.command(["run", "--", "true"]).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}

#[test]
fn i13_input_is_whole_over_a_master_that_is_killed_and_an_agent_that_is_restarted() {
    let mut cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    let mut child = alice.command(["run", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "before").unwrap();
    assert_eq!(line(&mut reader), "before\n");
    cluster.kill_master();
    writeln!(stdin, "while it is away").unwrap();
    cluster.start_master();
    assert_eq!(line(&mut reader), "while it is away\n");
    cluster.slaves[0].kill();
    cluster.restart_slave(0);
    cluster.slaves[0].line("connected to ");
    writeln!(stdin, "after the agent").unwrap();
    assert_eq!(line(&mut reader), "after the agent\n");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn i13_a_terminal_there_is_used_from_a_terminal_here() {
    let cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    let mut screen = Screen::new();
    screen.resize(31, 97);
    let script = "echo \"$TERM\"; stty size; trap 'stty size' WINCH; read -r line; echo \"got $line\"; \
                  until [ \"$(stty size)\" = '20 50' ]; do sleep 0.01; done; echo resized; \
                  trap 'caught=1; echo caught' INT; echo ready; until [ $caught ]; do sleep 0.01; done; \
                  printf '\\033[31mred\\n'; exit 6";
    let mut child = screen.start(alice.command(["run", "--tty", "--", "sh", "-c", script]));
    screen.wait_for("31 97");
    assert!(screen.text().contains("xterm-test") && !screen.is_cooked(), "{:?}", screen.text());
    screen.press(b"typed\r");
    screen.wait_for("got typed");
    screen.resize(20, 50);
    signal(&child, Signal::SIGWINCH);
    screen.wait_for("resized");
    screen.wait_for("ready");
    // Ctrl-C is the program's, and what it writes is obeyed.
    screen.press(b"\x03");
    screen.wait_for("caught");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    screen.wait_for("\x1b[31mred\r\n");
    assert!(screen.is_cooked());
}

#[test]
fn i13_the_terminal_is_restored_however_a_run_ends() {
    let cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    for (number, ends_by) in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT].into_iter().enumerate() {
        let screen = Screen::new();
        let name = format!("held-{number}");
        let script = "trap '' INT HUP; echo ready; sleep 1000";
        let mut child = screen.start(alice.command(["run", "--tty", "--name", &name, "--", "sh", "-c", script]));
        screen.wait_for("ready");
        assert!(!screen.is_cooked());
        // SIGINT reaches the program first, which does not care; then it is cancelled.
        signal(&child, ends_by);
        if ends_by == Signal::SIGINT {
            signal(&child, ends_by);
            wait_until("the second is heard", || {
                signal(&child, ends_by);
                child.try_wait().unwrap()
            });
        }
        assert_eq!(child.wait().unwrap().code(), Some(130), "{ends_by}");
        assert!(screen.is_cooked(), "{ends_by}");
    }
}

#[test]
fn i13_ctrl_c_reaches_the_program_and_a_second_one_cancels_it() {
    let cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    let mut child = alice.start([
        "run",
        "--",
        "sh",
        "-c",
        "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.01; done",
    ]);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut reader), "ready\n");
    signal(&child, Signal::SIGINT);
    assert_eq!(line(&mut reader), "caught\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let mut child =
        alice.start(["run", "--", "sh", "-c", "trap 'echo caught' INT; echo ready; while :; do sleep 0.01; done"]);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut reader), "ready\n");
    signal(&child, Signal::SIGINT);
    assert_eq!(line(&mut reader), "caught\n");
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // One that has not started is cancelled by the first.
    cluster.admin().run(["set", "max-processes", "0"]).expect(0);
    let mut child = alice.start(["run", "--name", "waits", "--", "true"]);
    wait_until("it waits", || (!alice.list(&["--search", "waits"]).is_empty()).then_some(()));
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn i12_programs_are_suspended_resumed_signalled_and_given_another_wall_time() {
    let mut cluster = cluster();
    let alice = cluster.user("alice", "submitter");
    let state = |id: &str| alice.show(id)["state"].as_str().unwrap().to_owned();
    let id = alice.submit(["--", "sh", "-c", "trap 'exit 4' USR1; while :; do sleep 0.01; done"]);
    wait_until("it runs", || (state(&id) == "running").then_some(()));
    alice.run(["suspend", &id]).expect(0);
    wait_until("it stands still", || (state(&id) == "suspended").then_some(()));
    // Whoever may not stop it may not hold it up.
    let bob = cluster.user("bob", "submitter");
    assert!(bob.run(["resume", &id]).expect(1).err().contains("E-PROGRAM-UNKNOWN"));
    cluster.kill_master();
    cluster.start_master();
    wait_until("it is shown again", || (state(&id) == "suspended").then_some(()));
    cluster.slaves[0].kill();
    cluster.restart_slave(0);
    cluster.slaves[0].line("connected to ");
    wait_until("its slave is back", || (alice.show(&id)["unknown_since"].is_null()).then_some(()));
    assert_eq!(state(&id), "suspended");
    alice.run(["resume", &id]).expect(0);
    wait_until("it goes on", || (state(&id) == "running").then_some(()));
    alice.run(["signal", &id, "user1"]).expect(0);
    alice.run(["wait", &id]).expect(0);
    assert_eq!(alice.show(&id)["outcome"]["exit_code"], 4);
    assert!(alice.run(["suspend", &id]).expect(1).err().contains("E-PROGRAM-ENDED"));
    let id = alice.submit(["--retry", "1", "--", "sleep", "1000"]);
    wait_until("it runs", || (state(&id) == "running").then_some(()));
    alice.run(["limit", &id, "--wall-time", "200ms"]).expect(0);
    alice.run(["wait", &id]).expect(0);
    let shown = alice.show(&id);
    assert_eq!((&shown["outcome"]["limit"], &shown["attempt"]), (&"wall-time".into(), &2.into()));
    assert!(alice.run(["limit", &id, "--wall-time", "1s"]).expect(1).err().contains("E-PROGRAM-ENDED"));
}
