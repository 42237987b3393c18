//! What a command sends before it is answered, and how it reads what comes.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it panics")]

#[expect(unreachable_pub, dead_code, reason = "a module of these tests alone, and of others")]
mod fake;

use fake::{Fake, flood_bytes};
use std::{
    io::Read,
    process::{Child, Stdio},
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Greeting, login, and so many requests.
fn first_flight(requests: usize) -> usize {
    2 + requests
}

#[test]
fn e5_a_short_program_is_one_flight_and_waits_for_no_answer_before_it_has_asked_everything() {
    let fake = Fake::logged_in();
    for (arguments, requests, code) in [
        // The submit, both outputs and the end.
        (&["run", "--", "exit3"][..], 4, 3),
        (&["run", "--json", "--", "exit3"], 2, 3),
        (&["list"], 1, 0),
        (&["slaves"], 1, 0),
        (&["clients"], 1, 0),
        (&["languages"], 1, 0),
        (&["show", "00000000-0000-0000-0000-000000000009"], 1, 1),
        (&["output", "00000000-0000-0000-0000-000000000009"], 1, 1),
    ] {
        fake.silent_for(first_flight(requests));
        let mut child = fake.command().args(arguments).spawn().unwrap();
        // A command that waits for the login first would never get there.
        fake.wait_until_heard(&mut child);
        fake.speak();
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {done:?}");
    }
    assert_eq!(fake.programs(), 2);
}

#[test]
fn e10_what_was_asked_along_with_a_refused_login_is_not_done() {
    let fake = Fake::logged_in();
    let kept = std::fs::read_to_string(fake.config()).unwrap();
    std::fs::write(fake.config(), kept.replace("\"token\"", "\"another\"")).unwrap();
    let done = fake.ruche(&["run", "--", "exit0"]);
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    assert!(text(&done.stderr).starts_with("E-LOGIN-NEEDED: "), "{done:?}");
    assert!(text(&done.stderr).contains("\nhint: run `ruche login"), "{done:?}");
    assert_eq!((done.stdout.len(), fake.programs()), (0, 0));
}

#[test]
fn e13_a_connection_that_is_lost_with_the_submit_on_it_is_made_again() {
    let fake = Fake::logged_in();
    fake.silent_for(first_flight(4));
    fake.cut_before_login();
    let mut child = fake.command().args(["run", "--", "exit3"]).spawn().unwrap();
    fake.wait_until_heard(&mut child);
    fake.speak();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert_eq!((&done.stdout[..], fake.programs()), (&b"out 0\n\x1b[1mraw"[..], 1));
}

#[test]
fn e5_ctrl_c_before_the_login_is_answered_cancels_what_was_submitted_with_it() {
    let fake = Fake::logged_in();
    fake.silent_for(first_flight(4));
    let mut child = fake.command().args(["run", "--", "never"]).spawn().unwrap();
    fake.wait_until_heard(&mut child);
    signal(&child, rustix::process::Signal::INT);
    fake.speak();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{done:?}");
    let list = fake.ruche(&["list", "--json"]);
    assert!(text(&list.stdout).contains("\"state\": \"cancelled\""), "{list:?}");
}

/// The most memory that a process ever had, in bytes.
fn peak(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn e7_a_large_output_reaches_a_slow_reader_whole_and_is_not_held_in_memory() {
    let fake = Fake::logged_in();
    for command in [&["run", "--", "flood"][..], &["output"]] {
        let mut arguments = command.to_vec();
        let list = text(&fake.ruche(&["list", "--json"]).stdout);
        if command == ["output"] {
            arguments.push(list.split('"').find(|word| word.parse::<common::ProgramId>().is_ok()).unwrap());
        }
        let before = fake.reads();
        let mut child = fake.command().args(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut first = [0; 1_000];
        output.read_exact(&mut first).unwrap();
        assert_eq!(first, flood_bytes()[..1_000]);
        // All that fits between the two, and then nothing more is asked: it does not come to a thousand pieces.
        let mut rest = Vec::with_capacity(flood_bytes().len());
        let mut piece = vec![0; 3_000];
        while rest.len() < 1 << 20 {
            let count = output.read(&mut piece).unwrap();
            rest.extend_from_slice(&piece[..count]);
        }
        assert!(fake.reads() - before < 100, "{} pieces were read for one million bytes", fake.reads() - before);
        while rest.len() < flood_bytes().len() - 1_000 - (1 << 17) {
            let count = output.read(&mut piece).unwrap();
            rest.extend_from_slice(&piece[..count]);
        }
        let peak = peak(&child);
        output.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len() + first.len(), flood_bytes().len(), "{command:?}");
        assert!(rest == flood_bytes()[1_000..], "{command:?}");
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(peak < 32 << 20, "{command:?} needed {peak} bytes");
    }
}
