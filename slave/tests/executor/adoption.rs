//! Agents that are killed and followed by another: programs go on, no byte is lost, nothing runs twice.

use crate::{
    agent::{Dies, House, is_gone},
    kit::{Kit, command, is_running, marker, shell, source, wait_until, wait_until_running},
};
use std::{collections::BTreeSet, fs, io::Write, path::Path, time::Duration};

/// What `seq` prints.
fn numbers(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

/// Large outputs are not printed when they differ.
fn assert_same(found: &[u8], expected: &[u8]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!((differs, found.len()), (None, expected.len()), "place of the first wrong byte, and the length");
}

/// A program writes without pause while its agent is killed again and again.
#[test]
fn f07_output_is_byte_exact_over_agents_that_are_killed_while_a_program_writes() {
    let house = House::new();
    let gate = house.open("gate");
    // Batches larger than a pipe, so that the writer waits while there is no agent; the last ones wait for the test.
    let script = format!(
        "i=0; while [ $i -lt 120 ]; do i=$((i+1)); seq $((i*10000)) $((i*10000+9999)); echo $i >&2; \
         [ $i -lt 60 ] || while [ ! -e {} ]; do sleep 0.01; done; done; exit 3",
        gate.display()
    );
    let mut agent = house.agent();
    let mut spec = shell(&script);
    spec.limits.output = common::ByteSize(64 << 20);
    agent.start(&house, spec, "writer");
    for _ in 0..6 {
        agent.wait_for("output writer 0");
        agent.kill();
        agent = house.agent();
    }
    fs::write(&gate, b"").unwrap();
    let told = house.told("writer");
    assert_eq!(told.outcome, "Exited { code: 3 }");
    assert_same(&told.output, &numbers(10_000..1_210_000));
    assert_same(&told.error, &numbers(1..121));
    assert!(!told.truncated);
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f07_the_next_agent_says_at_once_how_much_there_is() {
    let house = House::new();
    let gate = house.open("gate");
    let mut agent = house.agent();
    let script = format!("seq 1 5000; while [ ! -e {} ]; do sleep 0.01; done; echo end", gate.display());
    agent.start(&house, shell(&script), "waits");
    let length = numbers(1..5_001).len();
    agent.wait_for(&format!("output waits 0 {length}"));
    agent.kill();
    let next = house.start_unready();
    assert_eq!(next.wait_for("adopted waits"), format!("{length} 0 0 0"));
    fs::write(&gate, b"").unwrap();
    assert_same(&house.told("waits").output, &[numbers(1..5_001), b"end\n".to_vec()].concat());
    next.stop();
    house.assert_all_gone();
}

/// The compile step is done again, and the program runs once.
#[test]
fn f07_an_agent_that_is_killed_while_a_program_is_compiled() {
    let house = House::new();
    let (header, witness) = (house.open("header.h"), house.open("witness"));
    nix::unistd::mkfifo(&header, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    open_to_all(&header);
    // The compiler waits for whoever writes the header.
    let text = format!(
        "#include <stdio.h>\n#include \"{}\"\nint main(void) {{ FILE *f = fopen(\"{}\", \"a\"); fputs(\"ran\\n\", f); \
         puts(TEXT); return 0; }}\n",
        header.display(),
        witness.display()
    );
    let mut agent = house.agent();
    let name = format!("{}.c", marker("adopted"));
    agent.start(&house, source("C", &name, &text), "compiled");
    // The driver and the compiler proper, which waits for the header.
    wait_until("the compiler", || pids_with(&name).len() >= 2);
    agent.kill();
    let first = pids_with(&name);
    let agent = house.start_unready();
    agent.wait_for("adopted compiled");
    // It begins when nothing is left of the first.
    wait_until("the second compiler", || pids_with(&name).difference(&first).next().is_some());
    let mut writer = fs::OpenOptions::new().write(true).open(&header).unwrap();
    // Only one that is not being ended can still be heard.
    writer.write_all(b"#define TEXT \"compiled\"\n").unwrap();
    drop(writer);
    let told = house.told("compiled");
    assert_eq!((told.outcome.as_str(), told.output.as_slice()), ("Exited { code: 0 }", b"compiled\n".as_slice()));
    assert_eq!(fs::read_to_string(witness).unwrap(), "ran\n");
    agent.stop();
    house.assert_all_gone();
}

/// The next agent has no lease of its own yet: a step that it begins is bound by that of the one before.
#[test]
fn f08_a_compile_step_that_is_begun_anew_ends_with_the_lease_of_the_agent_before() {
    let house = House::new();
    let header = house.open("header.h");
    nix::unistd::mkfifo(&header, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    open_to_all(&header);
    let text = format!("#include \"{}\"\nint main(void) {{ return 0; }}\n", header.display());
    let name = format!("{}.c", marker("leased"));
    let mut agent = house.agent();
    agent.lease(common::Duration::from_secs(6));
    agent.start(&house, source("C", &name, &text), "leased");
    wait_until("the compiler", || pids_with(&name).len() >= 2);
    agent.kill();
    let first = pids_with(&name);
    let agent = house.start_unready();
    agent.wait_for("adopted leased");
    wait_until("the second compiler", || pids_with(&name).difference(&first).next().is_some());
    // Nobody ever writes the header.
    let told = house.told("leased");
    assert!(told.outcome.contains("longer than its lease"), "{told:?}");
    assert!(pids_with(&name).is_empty());
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f07_a_program_that_ends_while_there_is_no_agent() {
    let house = House::new();
    let gate = house.open("gate");
    let mut agent = house.agent();
    let waits = marker("301");
    let script =
        format!("sleep {waits} & while [ ! -e {} ]; do sleep 0.01; done; kill $!; seq 1 3000; exit 7", gate.display());
    agent.start(&house, shell(&script), "ends-alone");
    agent.start(&house, command("true", &[]), "before");
    house.told("before");
    wait_until_running(&waits);
    agent.kill();
    fs::write(&gate, b"").unwrap();
    wait_until("the end of the program", || !is_running(&waits));
    let mut agent = house.agent();
    let told = house.told("ends-alone");
    assert_eq!(told.outcome, "Exited { code: 7 }");
    assert_same(&told.output, &numbers(1..3_001));
    assert!(told.error.is_empty());
    // The slot is of use again, and what is told now is not what was told then.
    for name in ["one", "two", "three"] {
        agent.start(&house, command("echo", &[name]), name);
        assert_eq!(house.told(name).output, format!("{name}\n").into_bytes());
    }
    agent.stop();
    house.assert_all_gone();
}

/// The agent dies after it took the report and before it wrote it down.
#[test]
fn e13_an_end_that_was_heard_and_not_written_down_is_told_again() {
    for dies in [Dies::Hearing, Dies::Sealed] {
        for (script, expected) in [
            ("exit 5", Vec::new()),
            ("echo short; exit 5", b"short\n".to_vec()),
            ("sleep 0.1; seq 1 60000; sleep 0.1; exit 5", numbers(1..60_001)),
            ("seq 1 2000 >&2; seq 1 9000; exit 5", numbers(1..9_001)),
        ] {
            let house = House::new();
            let mut agent = house.agent_that_dies(dies);
            agent.start(&house, shell(script), "heard");
            agent.dies();
            // Twice, to see that telling does not use it up.
            house.agent_that_dies(dies).dies();
            let mut agent = house.agent();
            let told = house.told("heard");
            assert_eq!(told.outcome, "Exited { code: 5 }", "{dies:?}, {script}");
            assert_same(&told.output, &expected);
            assert_eq!(told.error.is_empty(), !script.contains(">&2"));
            assert!(!told.truncated);
            agent.start(&house, shell("echo next"), "next");
            assert_eq!(house.told("next").output, b"next\n");
            agent.stop();
            house.assert_all_gone();
        }
    }
}

/// What the disk took is exact, and the program ends with a reason.
#[test]
fn f04_output_that_the_disk_does_not_take_ends_its_program() {
    let house = House::new();
    let mut agent = house.agent();
    agent.limit_files(300_000);
    agent.start(&house, shell("echo before; sleep 0.05; yes 0123456789abcde"), "much");
    let told = house.told("much");
    assert!(told.outcome.starts_with("Lost") && told.outcome.contains("could not keep its output"), "{}", told.outcome);
    assert!(told.truncated);
    let expected = [b"before\n".to_vec(), b"0123456789abcde\n".repeat(20_000)].concat();
    assert_same(&told.output, &expected[..told.output.len()]);
    agent.start(&house, shell("echo short"), "short");
    assert_eq!(house.told("short").output, b"short\n");
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f07_an_idle_agent_is_killed() {
    let house = House::new();
    let mut agent = house.agent();
    agent.start(&house, shell("echo first"), "first");
    assert_eq!(house.told("first").output, b"first\n");
    agent.kill();
    let mut agent = house.agent();
    agent.start(&house, shell("echo second; sleep 0.1"), "second");
    assert_eq!(house.told("second").output, b"second\n");
    agent.kill();
    let agent = house.agent();
    assert_eq!(fs::read_dir(house.data().join("journal/ended")).unwrap().count(), 2);
    agent.stop();
    house.assert_all_gone();
}

/// Agents are killed one after another while programs of all lengths run on several slots.
#[test]
fn f07_many_programs_over_many_agents_each_end_once() {
    let house = House::new();
    let witness = house.open("witness");
    fs::write(&witness, b"").unwrap();
    open_to_all(&witness);
    let mut agent = house.agent();
    let mut names = Vec::new();
    for round in 0..8 {
        for number in 0..4 {
            let name = format!("p{round}-{number}");
            let script = format!(
                "echo {name} >> {}; seq 1 {}; sleep 0.0{}; echo {name}",
                witness.display(),
                200 * (round + number) + 1,
                number * 2
            );
            agent.start(&house, shell(&script), &name);
            names.push((name, 200 * (round + number) + 1));
        }
        agent.kill();
        agent = house.agent();
    }
    for (name, count) in &names {
        let told = house.told(name);
        assert_eq!(told.outcome, "Exited { code: 0 }", "{name}");
        assert_same(&told.output, &[numbers(1..count + 1), format!("{name}\n").into_bytes()].concat());
    }
    let mut ran: Vec<String> = fs::read_to_string(witness).unwrap().lines().map(str::to_owned).collect();
    ran.sort_unstable();
    let mut expected: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    expected.sort_unstable();
    assert_eq!(ran, expected, "each ran once");
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f07_what_the_journal_does_not_know_is_ended() {
    let house = House::new();
    let mut agent = house.agent();
    let unwanted = marker("302");
    agent.start(&house, shell(&format!("sleep {unwanted} & setsid sleep {unwanted} & wait")), "unwanted");
    wait_until_running(&unwanted);
    agent.kill();
    fs::remove_file(house.data().join("journal/started/unwanted")).unwrap();
    let mut agent = house.agent();
    wait_until("the end of what nobody wants", || !is_running(&unwanted));
    agent.start(&house, shell("ls; echo free"), "next");
    assert_eq!(house.told("next").output, b"free\n");
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f07_a_cancel_is_remembered_over_agents() {
    let house = House::new();
    let mut agent = house.agent();
    let deaf = marker("303");
    agent.start(&house, shell(&format!("trap '' TERM; sleep {deaf}; sleep {deaf}")), "cancelled");
    wait_until_running(&deaf);
    agent.cancel("cancelled", "alice");
    agent.kill();
    let agent = house.agent();
    assert_eq!(house.told("cancelled").outcome, "Cancelled { by: \"alice\" }");
    assert!(!is_running(&deaf));
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn e13_the_output_limit_holds_over_agents() {
    let house = House::new();
    let mut agent = house.agent();
    let mut spec = command("yes", &["0123456789abcde"]);
    spec.limits.output = common::ByteSize(3_000_000);
    agent.start(&house, spec, "much");
    agent.wait_for("output much");
    agent.kill();
    let agent = house.agent();
    let told = house.told("much");
    assert!(told.outcome.contains("limit: Output"), "{}", told.outcome);
    assert!(told.truncated);
    assert_same(&told.output, &b"0123456789abcde\n".repeat(187_500));
    agent.stop();
    house.assert_all_gone();
}

/// Warnings are printed by a compiler that is gone while the program runs.
#[test]
fn e13_what_a_compiler_warned_of_survives_its_agent() {
    let house = House::new();
    let gate = house.open("gate");
    let text = format!(
        "#include <stdio.h>\n#include <unistd.h>\nint main(void) {{ int unused; puts(\"runs\"); fflush(stdout); \
         while (access(\"{}\", F_OK)) usleep(1000); return 0; }}\n",
        gate.display()
    );
    let mut agent = house.agent();
    agent.start(&house, source("C", "warns.c", &text), "warns");
    agent.wait_for("output warns 0");
    agent.kill();
    let agent = house.agent();
    fs::write(&gate, b"").unwrap();
    let told = house.told("warns");
    assert_eq!(told.outcome, "Exited { code: 0 }");
    assert!(String::from_utf8_lossy(&told.compile).contains("unused"), "{told:?}");
    agent.stop();
    house.assert_all_gone();
}

/// kill -9 of agent, launcher and keepers together: what they leave is ended before the next agent starts anything.
#[test]
fn f07_nothing_goes_on_when_all_that_watch_are_killed() {
    let house = House::new();
    let mut agent = house.agent();
    let left = marker("304");
    // Without a user of its own and without a group, one that takes its mark off cannot be told from others.
    let hides = if crate::kit::is_root() { "env -i" } else { "" };
    let script = format!("{hides} setsid sleep {left} & sleep {left} & wait");
    agent.start(&house, shell(&script), "watched");
    wait_until_running(&left);
    let launcher = house.launcher();
    let keepers = launcher::tree::children(launcher);
    assert_eq!(keepers.len(), 1);
    let all: Vec<i32> = std::iter::once(launcher).chain(keepers).collect();
    // All stand still first, so that none sees another's end.
    for pid in &all {
        send(*pid, nix::sys::signal::Signal::SIGSTOP);
    }
    agent.kill();
    for pid in &all {
        send(*pid, nix::sys::signal::Signal::SIGKILL);
    }
    for pid in &all {
        wait_until("the end of those who watch", || is_gone(*pid));
    }
    let mut agent = house.agent();
    assert!(!is_running(&left), "the next agent is ready when nothing is left");
    fs::remove_file(house.data().join("journal/started/watched")).unwrap();
    agent.start(&house, shell("ls; echo clean"), "next");
    assert_eq!(house.told("next").output, b"clean\n");
    agent.stop();
    house.assert_all_gone();
}

/// What its keeper held is gone with it; what its program left is ended before anybody is told.
#[test]
fn f07_a_keeper_that_dies_while_there_is_no_agent() {
    let house = House::new();
    let mut agent = house.agent();
    let left = marker("305");
    agent.start(&house, shell(&format!("setsid sleep {left} & sleep {left} & wait")), "kept");
    wait_until_running(&left);
    let launcher = house.launcher();
    let [keeper] = <[i32; 1]>::try_from(launcher::tree::children(launcher)).unwrap();
    agent.kill();
    send(keeper, nix::sys::signal::Signal::SIGKILL);
    wait_until("the end of the keeper", || is_gone(keeper));
    let mut agent = house.start_unready();
    assert_eq!(agent.wait_for_either("adopted", "ready"), "ready", "nothing is left to be taken over");
    assert!(!is_running(&left));
    fs::remove_file(house.data().join("journal/started/kept")).unwrap();
    agent.start(&house, shell("ls; echo next"), "next");
    assert_eq!(house.told("next").output, b"next\n");
    agent.stop();
    house.assert_all_gone();
}

/// Nobody but the slave's own user may take a launcher over.
#[test]
fn i3_a_program_cannot_call_the_launcher() {
    if !crate::kit::is_root() {
        return;
    }
    let house = House::new();
    let mut agent = house.agent();
    let socket = house.data().join("launcher.sock");
    assert!(socket.exists());
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ntry:\n    s.connect({:?})\n    \
         print('connected')\nexcept PermissionError:\n    print('refused')\n",
        socket.display().to_string()
    );
    agent.start(&house, source("Python", "call.py", &script), "calls");
    assert_eq!(house.told("calls").output, b"refused\n");
    agent.stop();
    house.assert_all_gone();
}

/// What is kept of ended programs must not wake the agent for ever.
#[test]
fn e5_an_executor_with_nothing_to_do_sleeps() {
    let mut kit = Kit::new();
    for script in ["echo word; sleep 0.05; echo word; exit 0", "exec >&- 2>&-; sleep 0.05", "seq 1 100000; sleep 0.05"]
    {
        kit.run(shell(script)).assert_exit(0);
        // What is on its way, the keeper's first words for one, comes to an end.
        wait_until("a turn without anything to do", || {
            kit.executor().turn(Duration::from_millis(20), crate::kit::now).unwrap().is_empty()
                && kit.executor().is_idle()
        });
        for _ in 0..5 {
            kit.executor().turn(Duration::from_millis(5), crate::kit::now).unwrap();
            assert!(kit.executor().is_idle(), "woken after `{script}`");
        }
    }
    // A program that has closed its output and runs on is no reason either.
    let key = kit.start(shell("exec >&- 2>&-; sleep 30"));
    wait_until("a turn without anything to do", || {
        kit.executor().turn(Duration::from_millis(20), crate::kit::now).unwrap().is_empty() && kit.executor().is_idle()
    });
    kit.stop(key, slave::executor::Stop::Discarded);
    kit.end_of(key);
}

fn send(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
}

/// The processes that have this among their arguments.
fn pids_with(argument: &str) -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|found| found.ends_with(argument.as_bytes()))
    })
    .collect()
}
