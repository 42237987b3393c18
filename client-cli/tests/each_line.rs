//! `ruche submit --each-line` against a fake master: what people and scripts rely on.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it panics")]

#[expect(unreachable_pub, dead_code, reason = "a module of several tests")]
#[path = "fake/mod.rs"]
mod fake;

use common::{ProgramId, escape::RawText};
use fake::Fake;
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

fn ids(text: &[u8]) -> Vec<ProgramId> {
    String::from_utf8_lossy(text).lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn e1_each_line_is_a_program_with_the_line_in_its_arguments() {
    let fake = Fake::logged_in();
    let file = fake.write("lines", "a b\n\n$(id) 'x'\n");
    let file = file.to_str().unwrap();
    let done = fake.ruche(&["submit", "--each-line", file, "--", "exit0", "-o", "{}.out", "in/{}"]);
    let printed = ids(&done.stdout);
    assert_eq!((done.status.code(), printed.len(), fake.programs()), (Some(0), 3, 3), "{done:?}");
    assert!(printed.is_sorted() && printed[2] == printed[0].nth(2).unwrap());
    let arguments: Vec<RawText> = ["-o", "$(id) 'x'.out", "in/$(id) 'x'"].map(Into::into).into();
    assert_eq!(fake.spec_of(printed[2]).arguments, arguments);
    assert_eq!(fake.spec_of(printed[1]).arguments, ["-o", ".out", "in/"].map(RawText::from));
    let listed = fake.ruche(&["list"]);
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!((0..3).all(|line| listed.contains(&format!(" [{line}]"))), "told apart: {listed}");
    let shown = fake.ruche(&["show", &printed[2].to_string()]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.lines().any(|line| line.starts_with("Line ") && line.contains("2 (counted from 0)")), "{shown}");
    // Without a place it is the last argument; from standard input, without an end of the last line.
    let done = fake.ruche_with(&["submit", "--each-line", "-", "--", "exit0", "-v"], b"x\r\n\xff");
    let printed = ids(&done.stdout);
    assert_eq!(fake.spec_of(printed[0]).arguments, ["-v".into(), "x\r".into()]);
    assert_eq!(fake.spec_of(printed[1]).arguments, ["-v".into(), RawText(vec![0xff])]);
    let none = fake.ruche_with(&["submit", "--each-line", "-", "--", "exit0"], b"");
    assert_eq!((none.status.code(), none.stdout.len()), (Some(0), 0));
}

#[test]
fn e1_programs_of_lines_are_printed_as_an_array() {
    let fake = Fake::logged_in();
    for (input, count) in [("", 0), ("x\n", 1), (&*"y\n".repeat(600), 600)] {
        let done = fake.ruche_with(&["submit", "--json", "--each-line", "-", "--", "exit0"], input.as_bytes());
        let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(value.as_array().map(Vec::len), Some(count));
        let whole = format!("{value:#}\n");
        assert_eq!(String::from_utf8_lossy(&done.stdout), whole, "as one that is printed whole");
    }
}

#[test]
fn e9_a_line_that_no_program_can_be_given_is_named_and_those_before_it_are_told() {
    let fake = Fake::logged_in();
    let text = "x\n".repeat(2_499) + "a\0b\nnever\n";
    let file = fake.write("lines", &text);
    let done = fake.ruche(&["submit", "--each-line", file.to_str().unwrap(), "--", "exit0"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!((done.status.code(), ids(&done.stdout).len(), fake.programs()), (Some(1), 2_499, 2_499));
    assert!(said.contains("E-SUBMIT-INVALID: line 2500 of ") && said.contains("holds a NUL byte"), "{said}");
    assert!(said.contains("2499 programs were accepted before that"), "{said}");
    for (arguments, words) in [
        (&["run", "--each-line", "x", "--", "true"][..], "ruche submit --each-line"),
        (&["submit", "--each-line", "-", "--language", "Python", "-"], "cannot be both the source text"),
        (&["submit", "--each-line", "-", "--stdin", "-", "--", "cat"], "cannot be both the program's input"),
        (&["submit", "--each-line", "/nowhere", "--", "cat"], "`/nowhere` cannot be read"),
        (&["submit", "--each-line", "/", "--", "cat"], "it is a folder"),
    ] {
        let done = fake.ruche(arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn e13_lines_go_on_after_the_connection_was_lost_and_none_is_submitted_twice() {
    let fake = Fake::logged_in();
    fake.cut_after_submit();
    let input = (0..3_500).map(|n| format!("{n}\n")).collect::<String>();
    let done = fake.ruche_with(&["submit", "--each-line", "-", "--", "exit0"], input.as_bytes());
    let printed = ids(&done.stdout);
    assert_eq!((done.status.code(), printed.len(), fake.programs()), (Some(0), 3_500, 3_500), "{done:?}");
    for n in [0, 999, 1_000, 3_499] {
        assert_eq!(fake.spec_of(printed[n]).arguments, [n.to_string().as_str().into()]);
    }
}

#[test]
fn e1_lines_are_submitted_as_they_come_and_ctrl_c_tells_how_many_were_accepted() {
    let fake = Fake::logged_in();
    let mut child = fake
        .command()
        .args(["submit", "--each-line", "-", "--", "exit0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // A whole part; the rest of the list never comes.
    input.write_all("x\n".repeat(1_000).as_bytes()).unwrap();
    input.flush().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..1_000 {
        lines.next().unwrap().unwrap().parse::<ProgramId>().unwrap();
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(said, "ruche: stopped; 1000 programs were accepted\n");
    drop(input);
}
