//! Commands that a keeper starts by itself, one after another in one slot.

use crate::{
    agent::{Dies, House},
    kit::{Kit, command, is_root, now, shell, wait_until},
};
use common::{
    ByteSize, Limit,
    id::{AttemptKey, ProgramId},
    message::{Assignment, Stream},
    outcome::Outcome,
    program::ProgramSpec,
};
use slave::executor::{AttemptEnd, ExecutorEvent, Kept, Stop};
use std::{collections::VecDeque, fs, sync::Arc, time::Duration};

fn assignment(spec: ProgramSpec) -> Assignment {
    let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
    Assignment { key, spec: Arc::new(spec), index: 0, fence: 1 }
}

/// What became of programs that were handed over together.
#[derive(Debug, Default)]
struct Ran {
    ends: Vec<AttemptEnd>,
    /// Those that came back were handed over again.
    backs: usize,
}

/// Hands programs over behind each other, and what comes back again, until all have ended.
#[track_caller]
fn run_queue(kit: &mut Kit, programs: impl IntoIterator<Item = Assignment>) -> Ran {
    let mut waiting: VecDeque<Assignment> = programs.into_iter().collect();
    let count = waiting.len();
    let (mut ran, mut given, mut runs) = (Ran::default(), Vec::new(), None);
    wait_until("the end of every program", || {
        while runs.is_none()
            && given.len() < 8
            && let Some(next) = waiting.pop_front()
        {
            let behind = given.last().copied();
            given.push(next.key);
            kit.executor().hand_over(next, behind, now());
        }
        kit.executor().send_steps();
        for event in kit.executor().turn(Duration::from_millis(20), now).unwrap() {
            match event {
                ExecutorEvent::Started { key, .. } => {
                    given.retain(|other| *other != key);
                    runs = Some(key);
                }
                ExecutorEvent::NotStarted(back) => {
                    ran.backs += back.len();
                    given.retain(|key| back.iter().all(|assignment| assignment.key != *key));
                    waiting.extend(back);
                    waiting.make_contiguous().sort_by_key(|assignment| assignment.key);
                }
                ExecutorEvent::Ended(end) => {
                    given.retain(|key| *key != end.key);
                    runs.take_if(|key| *key == end.key);
                    ran.ends.push(*end);
                }
                _ => {}
            }
        }
        kit.executor().all_is_kept();
        ran.ends.len() == count
    });
    ran
}

fn read(kit: &mut Kit, key: AttemptKey, stream: Stream) -> Vec<u8> {
    kit.executor().outputs().read(key, stream, 0, usize::MAX).unwrap()
}

#[test]
fn e13_programs_of_a_queue_end_in_order_with_their_own_output() {
    let mut kit = Kit::new();
    let script = |number: u32| format!("echo out {number}; echo error {number} >&2; exit {number}");
    let programs: Vec<Assignment> = (0..40).map(|number| assignment(shell(&script(number)))).collect();
    let ran = run_queue(&mut kit, programs.clone());
    for end in &ran.ends {
        let number = programs.iter().position(|program| program.key == end.key).unwrap();
        assert_eq!(end.outcome, Outcome::Exited { code: i32::try_from(number).unwrap() });
        assert_eq!(read(&mut kit, end.key, Stream::Stdout), format!("out {number}\n").into_bytes());
        assert_eq!(read(&mut kit, end.key, Stream::Stderr), format!("error {number}\n").into_bytes());
        assert_eq!(end.last_line, format!("{} {number}", if number == 0 { "out" } else { "error" }));
    }
    // They are told in the order in which they ran, one after another; what came back may have been overtaken.
    let times = |end: &AttemptEnd| (end.started_at.unwrap(), end.ended_at);
    let pairs = || ran.ends.iter().zip(ran.ends.iter().skip(1));
    assert!(pairs().all(|(one, next)| times(one).0 <= times(one).1 && times(one).1 <= times(next).0));
    assert!(ran.backs > 0 || pairs().all(|(one, next)| one.key < next.key));
}

#[test]
fn e5_a_command_that_cannot_be_started_is_told_like_any_other() {
    let mut kit = Kit::new();
    for (name, text) in [("no-such-command", "was not found in"), ("/no/such", "was not found (or"), ("/etc", "denied")]
    {
        let ran = run_queue(&mut kit, [assignment(command("true", &[])), assignment(command(name, &[]))]);
        assert_eq!(ran.ends[0].outcome, Outcome::Exited { code: 0 });
        match &ran.ends[1].outcome {
            Outcome::NotFound { detail } => assert!(detail.contains(text), "{detail}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn e10_the_output_limit_holds_for_quick_programs_to_the_byte() {
    let mut kit = Kit::new();
    for (limit, bytes, cut) in [(1_000, 1_000, false), (1_000, 1_001, true), (40_000, 60_000, true), (0, 1, true)] {
        let mut spec = shell(&format!("head -c {bytes} /dev/zero"));
        spec.limits.output = ByteSize(limit);
        let ran = run_queue(&mut kit, [assignment(command("true", &[])), assignment(spec)]);
        let end = &ran.ends[1];
        assert_eq!(end.output_truncated, cut, "{limit} {bytes}: {end:?}");
        assert_eq!(matches!(end.outcome, Outcome::Limit { limit: Limit::Output, .. }), cut, "{:?}", end.outcome);
        let kept = usize::try_from(limit).unwrap().min(bytes);
        assert_eq!(read(&mut kit, end.key, Stream::Stdout).len(), kept);
    }
}

/// What is too much for a record of the journal is a file, as of every program.
#[test]
fn p5_what_a_quick_program_wrote_is_sealed_like_all_output() {
    let mut kit = Kit::new();
    let programs = [shell("echo short"), shell("seq 1 9000; echo end")].map(assignment);
    let ran = run_queue(&mut kit, programs);
    let (short, _) = kit.executor().outputs().seal(ran.ends[0].key).unwrap();
    assert_eq!(short.streams[0].kept, Kept::Inline(b"short\n".to_vec()));
    let long = ran.ends[1].key;
    let before = read(&mut kit, long, Stream::Stdout);
    let (sealed, files) = kit.executor().outputs().seal(long).unwrap();
    assert!(matches!(&sealed.streams[0].kept, Kept::File(_)) && files.len() == 2, "{sealed:?}");
    assert_eq!(read(&mut kit, long, Stream::Stdout), before);
    assert!(before.ends_with(b"9000\nend\n"));
    let outbox = kit.data.join("outbox");
    assert_eq!(fs::read_dir(&outbox).unwrap().count(), 1);
    kit.executor().outputs().remove(long);
    assert_eq!(fs::read_dir(&outbox).unwrap().count(), 0);
}

#[test]
fn i9_a_quick_program_finds_nothing_of_those_before_it() {
    let mut kit = Kit::new();
    let script = "ls -A . ..; test \"$HOME\" = \"$PWD\" && test -w . || echo wrong; ";
    let mut programs = Vec::new();
    for round in 0..6 {
        programs.push(assignment(shell("true")));
        programs.push(assignment(shell(&format!("{script} echo left > file-{round}; mkdir -p deep/er"))));
        programs.push(assignment(shell(script)));
        programs.push(assignment(shell(&format!("{script} chmod 700 ."))));
    }
    let ran = run_queue(&mut kit, programs);
    for end in &ran.ends {
        assert_eq!(end.outcome, Outcome::Exited { code: 0 }, "{end:?}");
        let text = String::from_utf8(read(&mut kit, end.key, Stream::Stdout)).unwrap();
        assert!(!text.contains("file-") && !text.contains("deep") && !text.contains("wrong"), "{text}");
    }
}

/// What is queued behind a long program comes back at once, and runs elsewhere.
/// The folders beside this one, as nobody but the slave can list them.
fn beside(folder: &str) -> String {
    let entries = fs::read_dir(std::path::Path::new(folder.trim()).parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Does this in all these folders, of which it was told, but its own, and lists that.
fn in_others(folders: &str, what: &str) -> ProgramSpec {
    shell(&format!("for n in {folders}; do if ! [ $n -ef . ]; then {what}; fi; done 2>/dev/null; ls -A"))
}

#[test]
fn i9_the_name_of_a_working_folder_says_nothing_of_another() {
    if !is_root() {
        return println!("not exercised here: programs have no users of their own");
    }
    let mut kit = Kit::new();
    let program = assignment(shell("pwd; ls .. 2>/dev/null"));
    let key = program.key;
    run_queue(&mut kit, [program]);
    let told = String::from_utf8(read(&mut kit, key, Stream::Stdout)).unwrap();
    assert_eq!(told.lines().count(), 1, "what is beside it cannot be listed: {told}");
    let folder = told.trim().rsplit('/').next().unwrap();
    assert!(folder.len() >= 18 && folder.parse::<u64>().is_ok(), "{folder}");
}

/// What is lent to the keeper is in reach of whatever else runs in its slot.
#[test]
fn i9_a_program_finds_nothing_that_one_with_input_left_in_its_folder() {
    let mut kit = Kit::new();
    run_queue(&mut kit, [assignment(command("true", &[])), assignment(command("true", &[]))]);
    // The folder stays the same from here on.
    std::thread::sleep(Duration::from_millis(20));
    let quick = assignment(shell("pwd"));
    let key = quick.key;
    run_queue(&mut kit, [quick]);
    let folders = beside(&String::from_utf8(read(&mut kit, key, Stream::Stdout)).unwrap());
    let mut writer = in_others(&folders, "echo left > $n/left");
    writer.stdin = Some(common::program::SourceText(b"input".to_vec().into()));
    let writer = assignment(writer);
    let key = writer.key;
    kit.executor().start(writer, now());
    let mut ended = false;
    wait_until("the end of the one with input", || {
        let events = kit.executor().turn(Duration::from_millis(20), now).unwrap();
        ended |= events.iter().any(|event| matches!(event, ExecutorEvent::Ended(end) if end.key == key));
        kit.executor().all_is_kept();
        ended
    });
    let reader = assignment(in_others(&folders, "cat $n/left"));
    let key = reader.key;
    run_queue(&mut kit, [reader]);
    assert_eq!(String::from_utf8(read(&mut kit, key, Stream::Stdout)).unwrap(), "");
}

#[test]
fn e4_a_long_program_holds_up_nothing_that_is_queued_behind_it() {
    let mut kit = Kit::new();
    let long = assignment(command("sleep", &["600"]));
    let key = long.key;
    kit.executor().hand_over(long, None, now());
    let mut behind = key;
    for _ in 0..5 {
        let next = assignment(command("true", &[]));
        let before = std::mem::replace(&mut behind, next.key);
        kit.executor().hand_over(next, Some(before), now());
    }
    kit.executor().send_steps();
    let (mut back, mut started) = (Vec::new(), false);
    kit.until("the return of those behind it", |_, event| {
        match event {
            ExecutorEvent::Started { key: found, .. } => started = *found == key,
            ExecutorEvent::NotStarted(found) => back.clone_from(found),
            other => panic!("{other:?}"),
        }
        !back.is_empty()
    });
    assert!(started, "that it runs is told first");
    assert_eq!(back.len(), 5);
    let ran = run_queue(&mut kit, back);
    assert!(ran.ends.iter().all(|end| end.outcome == Outcome::Exited { code: 0 }));
    kit.stop(key, Stop::Cancelled { by: "alice".to_owned() });
    let end = kit.end_of(key);
    assert_eq!(end.outcome, Outcome::Cancelled { by: "alice".to_owned() });
    // Its slot is of use again.
    run_queue(&mut kit, [assignment(command("true", &[]))]);
}

fn programs(house: &House, count: u32) -> Vec<(String, ProgramSpec)> {
    let program = |number| {
        let name = format!("q{number:03}");
        let script = format!("echo {name} >> {}; echo {name}", house.open("witness").display());
        (name, shell(&script))
    };
    (0..count).map(program).collect()
}

fn witness(house: &House) -> Vec<String> {
    fs::read_to_string(house.open("witness")).unwrap().lines().map(str::to_owned).collect()
}

fn house() -> House {
    let house = House::new();
    fs::write(house.open("witness"), b"").unwrap();
    fs::set_permissions(house.open("witness"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    house
}

/// Agents are killed at any moment while their keeper has a full queue.
#[test]
fn f07_an_agent_that_is_killed_with_a_full_queue_loses_and_repeats_nothing() {
    let house = house();
    let mut agent = house.agent();
    let programs = programs(&house, 120);
    for (round, part) in programs.chunks(10).enumerate() {
        agent.queue(&house, part.to_vec());
        let seen = witness(&house).len();
        // At another moment each time.
        wait_until("some programs", || witness(&house).len() >= (seen + round % 7).min((round + 1) * 10));
        agent.kill();
        agent = house.agent();
    }
    for (name, _) in &programs {
        let told = house.told(name);
        assert_eq!(told.outcome, "Exited { code: 0 }", "{name}");
        assert_eq!(told.output, format!("{name}\n").into_bytes());
    }
    let mut ran = witness(&house);
    ran.sort_unstable();
    assert_eq!(ran, programs.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), "each ran once");
    agent.stop();
    house.assert_all_gone();
}

/// The agent dies after it took ends and before it wrote them down.
#[test]
fn e13_ends_of_a_queue_that_were_heard_and_not_written_down_are_told_again() {
    for dies in [Dies::Hearing, Dies::Sealed] {
        let house = house();
        let mut agent = house.agent_that_dies(dies);
        let programs = programs(&house, 6);
        agent.queue(&house, programs.clone());
        agent.dies();
        house.agent_that_dies(dies).dies();
        let agent = house.agent();
        for (name, _) in &programs {
            assert_eq!(house.told(name).output, format!("{name}\n").into_bytes(), "{dies:?}");
        }
        assert_eq!(witness(&house).len(), programs.len(), "each ran once");
        agent.stop();
        house.assert_all_gone();
    }
}

/// The agent is killed while its keeper has a queue, of which one leaves files and the others wait for another folder.
#[test]
fn i9_what_a_queue_left_before_its_agent_died_is_found_by_nobody() {
    let house = house();
    let mut agent = house.agent();
    agent.queue(&house, [("a-first".to_owned(), shell("pwd"))]);
    let folder = String::from_utf8(house.told("a-first").output).unwrap();
    let [keeper] = <[i32; 1]>::try_from(launcher::tree::children(house.launcher())).unwrap();
    let send = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), signal).unwrap();
    send(nix::sys::signal::Signal::SIGSTOP);
    let leaves = shell(&format!("echo left > left; echo q000 >> {}", house.open("witness").display()));
    let behind = programs(&house, 3).split_off(1);
    agent.queue(&house, [("q000".to_owned(), leaves)].into_iter().chain(behind.clone()));
    agent.wait_for("handed q002");
    // It does this in the turn after it sent them off.
    agent.lease(common::units::Duration::from_secs(600));
    agent.kill();
    send(nix::sys::signal::Signal::SIGCONT);
    wait_until("the one that leaves a file", || !witness(&house).is_empty());
    let folders = beside(&folder);
    let mut agent = house.agent();
    for (name, _) in &behind {
        assert_eq!(house.told(name).outcome, "Exited { code: 0 }", "{name}");
    }
    assert_eq!(witness(&house), ["q000", "q001", "q002"], "each ran once");
    agent.queue(&house, [("z-last".to_owned(), in_others(&folders, "cat $n/left"))]);
    assert_eq!(String::from_utf8(house.told("z-last").output).unwrap(), "");
    agent.stop();
    house.assert_all_gone();
}

/// A program that runs on while the agent is gone, with its output, and what waits behind it.
#[test]
fn f07_the_next_agent_takes_over_what_runs_and_what_waits() {
    let house = house();
    let mut agent = house.agent();
    let gate = house.open("gate");
    let long = format!("echo before; while [ ! -e {} ]; do sleep 0.01; done; echo after", gate.display());
    let behind = programs(&house, 5);
    agent.queue(&house, [("a-long".to_owned(), shell(&long))].into_iter().chain(behind.clone()));
    agent.wait_for("runs a-long");
    agent.kill();
    let mut agent = house.start_unready();
    agent.wait_for("adopted a-long");
    agent.wait_for("ready");
    fs::write(&gate, b"").unwrap();
    assert_eq!(house.told("a-long").output, b"before\nafter\n");
    for (name, _) in &behind {
        assert_eq!(house.told(name).outcome, "Exited { code: 0 }", "{name}");
    }
    assert_eq!(witness(&house).len(), 5);
    agent.queue(&house, [("z-next".to_owned(), shell("echo next"))]);
    assert_eq!(house.told("z-next").output, b"next\n");
    agent.stop();
    house.assert_all_gone();
}

/// A keeper that stands still has not started what it was handed over: it is taken out by name, and no other is.
#[test]
fn f17_a_cancel_takes_one_out_of_a_queue() {
    let house = house();
    let mut agent = house.agent();
    agent.queue(&house, [("a-first".to_owned(), shell("true"))]);
    house.told("a-first");
    let [keeper] = <[i32; 1]>::try_from(launcher::tree::children(house.launcher())).unwrap();
    let send = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), signal).unwrap();
    send(nix::sys::signal::Signal::SIGSTOP);
    agent.queue(&house, programs(&house, 5));
    agent.wait_for("handed q004");
    agent.cancel("q002", "alice");
    send(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(house.told("q002").outcome, "Cancelled { by: \"alice\" }");
    for name in ["q000", "q001", "q003", "q004"] {
        assert_eq!(house.told(name).outcome, "Exited { code: 0 }");
    }
    assert_eq!(witness(&house), ["q000", "q001", "q003", "q004"]);
    // And all together come back without having started.
    send(nix::sys::signal::Signal::SIGSTOP);
    let later = programs(&house, 9).split_off(5);
    agent.queue(&house, later.clone());
    agent.wait_for("handed q008");
    agent.take_back("q006");
    // It has asked the keeper by the time that it does this.
    agent.lease(common::units::Duration::from_secs(600));
    send(nix::sys::signal::Signal::SIGCONT);
    agent.wait_for("back q008");
    for (name, _) in &later {
        assert_eq!(house.told(name).outcome, "Exited { code: 0 }");
    }
    assert_eq!(witness(&house).len(), 8, "each ran once");
    agent.stop();
    house.assert_all_gone();
}
