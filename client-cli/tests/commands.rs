//! The binary `ruche` against a fake master: what scripts rely on.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it panics")]

#[expect(unreachable_pub, dead_code, reason = "a module of several tests")]
mod fake;

use common::{ByteSize, Duration, ProgramId, Work};
use fake::Fake;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::Output,
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

#[test]
fn e5_run_exits_as_scripts_expect_and_streams_both_outputs_exactly() {
    let fake = Fake::logged_in();
    for (command, code, said) in [
        ("exit0", 0, ""),
        ("exit7", 7, ""),
        ("segv", 139, "SIGSEGV"),
        ("slow", 124, "The evidence."),
        ("hungry", 137, "The evidence."),
        ("chatty", 125, "E-LIMIT-REACHED: The evidence."),
        ("broken", 126, "line 1: error: odd\nline 2\nruche: Refused by the compiler"),
        ("missing", 127, "E-COMMAND-NOT-FOUND: The evidence.\nhint: "),
        ("lost", 125, "E-SLAVE-LOST: The evidence.\nhint: "),
    ] {
        let done = fake.ruche(&["run", "--", command]);
        assert_eq!(done.status.code(), Some(code), "{command}: {done:?}");
        assert_eq!(done.stdout, b"out 0\n\x1b[1mraw", "{command}");
        let errors = done.stderr.strip_prefix(b"err\xff\n").unwrap_or_else(|| panic!("{command}: {done:?}"));
        if said.is_empty() {
            assert_eq!(text(errors), "", "{command}");
        } else {
            assert!(text(errors).contains(said), "{command}: {}", text(errors));
        }
    }
}

#[test]
fn e9_a_language_that_no_slave_has_exits_with_127() {
    let fake = Fake::logged_in();
    let file = fake.write("a.kt", "fun main() {}");
    let done = fake.ruche(&["run", "--language", "Kotlin", file.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(127));
    assert!(text(&done.stderr).contains("E-LANGUAGE-NONE: No slave offers Kotlin.\nhint: "), "{done:?}");
    let unknown = fake.ruche(&["run", file.to_str().unwrap()]);
    assert_eq!(unknown.status.code(), Some(127));
    assert!(text(&unknown.stderr).starts_with("E-LANGUAGE-UNKNOWN: "), "{unknown:?}");
}

#[test]
fn e12_a_slave_tells_the_languages_that_the_table_does_not_know() {
    let fake = Fake::logged_in();
    let file = fake.write("a.zig", "pub fn main() void {}");
    assert_eq!(fake.ruche(&["submit", file.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(fake.last_spec().language(), Some("Zig"));
    let done = fake.ruche_with(&["run", "--language", "python", "-", "x"], b"exit4");
    assert_eq!(done.status.code(), Some(4), "{done:?}");
    assert!(matches!(fake.last_spec().work, Work::Source { file_name, .. } if file_name == "main.py"));
}

#[test]
fn e5_options_reach_the_specification() {
    let fake = Fake::logged_in();
    let input = fake.write("input", "data");
    let options = "submit --name n --env A=b=c --wall-time 250ms --cpu-time 1s --memory 64M --processes 3 \
                   --output 1M --file-size 2K --priority 7 --slave s1 --retry 2 --stdin";
    let mut arguments: Vec<_> = options.split_whitespace().collect();
    arguments.extend([input.to_str().unwrap(), "--", "/bin/echo", "--json", "two words"]);
    assert_eq!(fake.ruche(&arguments).status.code(), Some(0));
    let spec = fake.last_spec();
    assert_eq!((spec.name.as_str(), spec.priority, spec.slave.as_deref()), ("n", 7, Some("s1")));
    assert_eq!(spec.retry, 2);
    assert_eq!(spec.environment, [("A".into(), "b=c".into())]);
    assert_eq!(spec.arguments, ["--json".into(), "two words".into()]);
    assert_eq!(&*spec.stdin.unwrap().0, b"data");
    assert_eq!((spec.limits.wall_time, spec.limits.cpu_time), (Duration(250_000), Some(Duration(1_000_000))));
    assert_eq!((spec.limits.memory, spec.limits.processes), (ByteSize(64 << 20), 3));
    assert_eq!((spec.limits.output, spec.limits.file_size), (ByteSize(1 << 20), ByteSize(2 << 10)));
    fake.ruche_with(&["submit", "--stdin", "-", "--", "/bin/cat"], b"piped");
    let spec = fake.last_spec();
    assert_eq!((spec.name.as_str(), &*spec.stdin.unwrap().0), ("cat", &b"piped"[..]));
}

#[test]
fn e1_copies_are_printed_in_their_order() {
    let fake = Fake::logged_in();
    let done = fake.ruche(&["run", "--count", "3", "--", "exit5"]);
    assert_eq!(done.status.code(), Some(5));
    assert_eq!(text(&done.stdout), "out 0\n\x1b[1mrawout 1\n\x1b[1mrawout 2\n\x1b[1mraw");
    let ids = fake.ruche(&["submit", "--count", "5000", "--", "exit0"]);
    let ids: Vec<ProgramId> = text(&ids.stdout).lines().map(|line| line.parse().unwrap()).collect();
    assert!(ids.len() == 5_000 && ids.is_sorted());
    assert_eq!(fake.spec_of(ids[0]), fake.last_spec());
    let many = json(&fake.ruche(&["submit", "--count", "2", "--json", "--", "exit0"]));
    assert_eq!(many.as_array().map(Vec::len), Some(2));
    let one = json(&fake.ruche(&["submit", "--json", "--", "exit0"]));
    assert_eq!((&one["name"], &one["state"]), (&Value::from("exit0"), &Value::from("done")));
    let run = fake.ruche(&["run", "--json", "--", "exit6"]);
    assert_eq!(run.status.code(), Some(6));
    let run: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(run["outcome"]["exit_code"], 6);
}

#[test]
fn e13_run_goes_on_after_the_connection_was_lost() {
    let fake = Fake::logged_in();
    fake.cut_after_submit();
    let done = fake.ruche(&["run", "--", "exit3"]);
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert_eq!(done.stdout, b"out 0\n\x1b[1mraw");
    assert_eq!(fake.programs(), 1, "it was submitted once");
}

#[test]
fn e5_ctrl_c_cancels_a_program_that_has_not_started() {
    let fake = Fake::logged_in();
    let mut child = fake.command().args(["run", "--", "never"]).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "out 0\n", "it runs");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let list = json(&fake.ruche(&["list", "--json"]));
    assert_eq!(list[0]["state"], "cancelled");
}

#[test]
fn e5_a_reader_that_goes_away_ends_the_program_as_a_pipe_would() {
    let fake = Fake::logged_in();
    let mut child = fake.command().args(["run", "--", "never"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let list = json(&fake.ruche(&["list", "--json"]));
    assert_eq!(list[0]["state"], "cancelled");
}

#[test]
fn e9_output_that_has_no_place_is_told_and_not_lost_in_silence() {
    let fake = Fake::logged_in();
    let id = text(&fake.ruche(&["submit", "--", "exit0"]).stdout).trim().to_owned();
    for (arguments, code) in [(&["run", "--", "never"][..], 125), (&["output", &id], 1)] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = fake.command().args(arguments).stdout(full).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {done:?}");
        assert!(text(&done.stderr).contains("standard output cannot be written: "), "{done:?}");
    }
    let list = json(&fake.ruche(&["list", "--json"]));
    assert_eq!(list[0]["state"], "cancelled");
}

#[test]
fn e13_a_busy_master_is_asked_again() {
    let fake = Fake::logged_in();
    fake.busy_for(3);
    let done = fake.ruche(&["run", "--", "exit3"]);
    assert_eq!((done.status.code(), &done.stdout[..]), (Some(3), &b"out 0\n\x1b[1mraw"[..]), "{done:?}");
    let id = json(&fake.ruche(&["list", "--json"]))[0]["id"].as_str().unwrap().to_owned();
    fake.busy_for(1);
    assert_eq!(fake.ruche(&["output", &id]).stdout, b"out 0\n\x1b[1mraw");
    fake.busy_for(1);
    assert_eq!(fake.ruche(&["wait", &id]).status.code(), Some(0));
}

#[test]
fn e13_wait_all_waits_for_those_that_were_alive_at_its_start() {
    let fake = Fake::logged_in();
    for command in ["never", "never", "exit0"] {
        fake.ruche(&["submit", "--", command]);
    }
    fake.renew_at_wait();
    let done = fake.ruche(&["wait", "--all"]);
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), ("2 programs have ended\n", Some(0)), "{done:?}");
    assert_eq!(json(&fake.ruche(&["list", "--state", "running", "--json"])).as_array().map(Vec::len), Some(1));
}

#[test]
fn e9_usage_mistakes_exit_with_2_and_those_of_run_with_125() {
    let fake = Fake::start();
    for (arguments, code) in [
        (&["list", "--bogus"][..], 2),
        (&["run", "--memory", "lots", "--", "x"], 125),
        (&["run"], 125),
        (&["run", "--help"], 0),
        (&["--version"], 0),
    ] {
        assert_eq!(fake.ruche(arguments).status.code(), Some(code), "{arguments:?}");
    }
    assert!(text(&fake.ruche(&["--version"]).stdout).starts_with("ruche "));
}

#[test]
fn e10_without_a_login_every_command_says_so() {
    let fake = Fake::start();
    for (arguments, code) in [
        (&["list"][..], 1),
        (&["run", "--", "true"], 125),
        (&["slaves", "--json"], 1),
        (&["wait", "--all"], 1),
        (&["whoami"], 1),
    ] {
        let done = fake.ruche(arguments);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}");
        assert!(text(&done.stderr).starts_with("E-LOGIN-NEEDED: "), "{done:?}");
        assert!(text(&done.stderr).contains("\nhint: run `ruche login"), "{done:?}");
    }
}

#[test]
fn e10_a_login_is_remembered_and_forgotten() {
    let fake = Fake::start();
    let login = |password: &str, pin: &[&str]| {
        let mut arguments = vec!["login", &fake.address, "--user", "alice", "--password-stdin"];
        arguments.extend(pin);
        fake.ruche_with(&arguments, password.as_bytes())
    };
    let no_pin = login("correct horse\n", &[]);
    assert_eq!(no_pin.status.code(), Some(1));
    assert!(text(&no_pin.stderr).starts_with("E-PIN-WRONG: ") && text(&no_pin.stderr).contains(&fake.pin));
    let other = format!("sha256:{}", "0".repeat(64));
    let wrong_pin = login("correct horse\n", &["--pin", &other]);
    assert!(text(&wrong_pin.stderr).starts_with("E-PIN-WRONG: "), "{wrong_pin:?}");
    let wrong = login("wrong horse\n", &["--pin", &fake.pin]);
    assert!(text(&wrong.stderr).starts_with("E-LOGIN-WRONG: "), "{wrong:?}");
    let empty = login("", &["--pin", &fake.pin]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(!fake.config().exists(), "nothing is remembered of a login that failed");
    let good = login("correct horse\n", &["--pin", &fake.pin]);
    assert!(text(&good.stdout).starts_with("logged in as alice (operator) at fake, "), "{good:?}");
    let kept = std::fs::read_to_string(fake.config()).unwrap();
    assert!(kept.contains("token = \"token\"") && !kept.contains("horse"));
    assert_eq!(std::fs::metadata(fake.config()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(text(&fake.ruche(&["whoami"]).stdout).starts_with("logged in as alice"));
    // The pin is known now: logging in again does not ask.
    assert_eq!(login("correct horse\n", &[]).status.code(), Some(0));
    assert_eq!(fake.ruche(&["logout"]).status.code(), Some(0));
    let after = fake.ruche(&["list"]);
    assert!(text(&after.stderr).starts_with("E-LOGIN-NEEDED: you are logged out"), "{after:?}");
}

#[test]
fn e6_the_history_is_listed_shown_and_found_by_a_part_of_an_id() {
    let fake = Fake::logged_in();
    for command in ["exit0", "exit1", "segv"] {
        fake.ruche(&["submit", "--", command]);
    }
    let all = json(&fake.ruche(&["list", "--json"]));
    let names: Vec<_> = all.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["segv", "exit1", "exit0"]);
    let failed = json(&fake.ruche(&["list", "--state", "failed", "--search", "exit", "--json"]));
    assert_eq!(failed.as_array().map(Vec::len), Some(1));
    let limited = json(&fake.ruche(&["list", "--limit", "2", "--json"]));
    assert_eq!(limited.as_array().map(Vec::len), Some(2));
    let none = json(&fake.ruche(&["list", "--limit", "0", "--json"]));
    assert_eq!(none, Value::Array(Vec::new()));
    let table = text(&fake.ruche(&["list"]).stdout);
    assert!(table.contains("✓ done") && table.contains("✗ failed") && !table.contains('\x1b'), "{table}");
    let id = all[0]["id"].as_str().unwrap();
    let shown = json(&fake.ruche(&["show", &id[28..], "--json"]));
    assert_eq!(&shown, &all[0]);
    let human = text(&fake.ruche(&["show", id]).stdout);
    assert!(human.contains("Ended by signal 11 (SIGSEGV).") && human.contains("Slave      s1 (00000000-"), "{human}");
    for unknown in ["00000000-0000-0000-0000-000000000000", "ffffffff", "nonsense"] {
        let done = fake.ruche(&["show", unknown]);
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done.stderr).starts_with("E-PROGRAM-UNKNOWN: "), "{done:?}");
    }
    assert_eq!(fake.ruche(&["output", id]).stdout, b"out 0\n\x1b[1mraw");
    assert_eq!(fake.ruche(&["output", "--follow", "--stderr", id]).stdout, b"err\xff\n");
    let why = text(&fake.ruche(&["why", id]).stdout);
    assert!(why.contains("It waits.\n2 programs come before it.") && why.contains("s\\x1b[31m1"), "{why}");
}

#[test]
fn e5_wait_cancel_again_and_set() {
    let fake = Fake::logged_in();
    let id = text(&fake.ruche(&["submit", "--", "never"]).stdout).trim().to_owned();
    let late = fake.ruche(&["wait", &id, "--timeout", "50ms"]);
    assert_eq!(late.status.code(), Some(124));
    assert!(text(&late.stderr).starts_with("E-TIMEOUT: "), "{late:?}");
    let cancelled = fake.ruche(&["cancel", &id]);
    assert!(text(&cancelled.stdout).contains("– cancelled"), "{cancelled:?}");
    assert_eq!(fake.ruche(&["cancel", &id]).status.code(), Some(1));
    assert_eq!(fake.ruche(&["wait", &id]).status.code(), Some(0));
    let again = text(&fake.ruche(&["again", &id]).stdout);
    assert!(again.trim().parse::<ProgramId>().is_ok() && again.trim() != id, "{again}");
    for (line, code, said) in [
        ("set max-processes 4", 0, ""),
        ("set max-processes 0 --slave s1", 0, ""),
        ("set max-processes 1 --slave s9", 1, "E-SLAVE-UNKNOWN: "),
        ("set max-processes 5000", 2, "error: "),
        ("set policy fifo", 0, ""),
        ("set policy priority", 1, "E-POLICY-UNAVAILABLE: "),
        ("set policy round-robin --quantum 50ms", 1, "E-POLICY-UNAVAILABLE: "),
    ] {
        let done = fake.ruche(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(done.status.code(), Some(code), "{line}: {done:?}");
        assert!(text(&done.stderr).starts_with(said), "{line}: {done:?}");
    }
}

#[test]
fn e8_slaves_clients_and_languages_are_listed() {
    let fake = Fake::logged_in();
    let slaves = json(&fake.ruche(&["slaves", "--json"]));
    assert_eq!((&slaves[0]["name"], &slaves[0]["slots"]), (&Value::from("s1"), &Value::from(4)));
    assert_eq!(slaves[0]["languages"][1]["name"], "Zig");
    let clients = json(&fake.ruche(&["clients", "--json"]));
    assert_eq!(clients[0]["kind"], "cli");
    for (command, part) in [("slaves", "✓ connected"), ("clients", "operator"), ("languages", "Zig")] {
        let done = fake.ruche(&[command]);
        assert!(text(&done.stdout).contains(part), "{command}: {done:?}");
    }
}

#[test]
fn f18_a_slave_is_set_aside_and_taken_back() {
    let fake = Fake::logged_in();
    assert_eq!(fake.ruche(&["slaves", "set-aside", "s1", "--reason", "new disk"]).status.code(), Some(0));
    let slaves = json(&fake.ruche(&["slaves", "--json"]));
    assert_eq!((&slaves[0]["state"], &slaves[0]["aside"]), (&Value::from("draining"), &Value::from("new disk")));
    let shown = fake.ruche(&["slaves"]);
    assert!(text(&shown.stdout).contains("SET ASIDE") && text(&shown.stdout).contains("new disk"), "{shown:?}");
    assert_eq!(fake.ruche(&["slaves", "take-back", "s1"]).status.code(), Some(0));
    assert_eq!(json(&fake.ruche(&["slaves", "--json"]))[0]["aside"], Value::Null);
    let unknown = fake.ruche(&["slaves", "take-back", "s9"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).starts_with("E-SLAVE-UNKNOWN"), "{unknown:?}");
}

#[test]
fn s12_completions_and_the_manual_page_are_printed() {
    let fake = Fake::start();
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&fake.ruche(&["completions", shell]).stdout).contains("max-processes"), "{shell}");
    }
    assert!(text(&fake.ruche(&["man"]).stdout).contains(".TH ruche"));
    assert!(text(&fake.ruche(&["--help"]).stdout).starts_with("Runs programs on other machines\n"));
}
