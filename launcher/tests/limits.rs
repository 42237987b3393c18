//! Every limit with each way to keep it that this machine has, the end of whole trees, and programs that stand still.

mod support;

use common::units::{ByteSize, Duration};
use launcher::protocol::{Cause, FromKeeper, GroupVersion, Guards, KeeperState, Status, StepLimits, ToKeeper};
use std::time::Instant;
use support::{Slot, is_running, limits, marker, wait_until};

/// Ways to keep limits and to end and stop programs: all groups, version 1 alone, none.
const WAYS: [&[&str]; 3] = [&[], &["cgroup-kill"], &["memory-limit", "process-limit", "cgroup-kill", "cgroup-freeze"]];

fn slot(without: &[&str]) -> Slot {
    Slot::with(|base| without.iter().fold(base, |base, guard| base.without(guard, "a test")), Guards::default())
}

fn with(change: impl FnOnce(&mut StepLimits)) -> StepLimits {
    let mut limits = limits();
    change(&mut limits);
    limits
}

const KILLED: Status = Status::Signalled(libc::SIGKILL);

#[test]
fn i12_whatever_a_program_leaves_behind_is_gone_when_it_ends() {
    for way in WAYS {
        let mut slot = slot(way);
        for leave in [
            "(sleep N &)",
            "setsid sleep N &",
            "(setsid sh -c 'trap \"\" TERM INT HUP; sleep N; sleep N' &) &",
            "sh -c 'kill -STOP $$; sleep N' N &",
            "(setsid setsid sh -c 'while :; do sleep N; done' N < /dev/null &) & (sleep N &)",
        ] {
            let marker = marker();
            // It ends once the leftover runs, which holds the pipe as well.
            let script = format!(
                "{}; until grep -qs {marker} /proc/[0-9]*/cmdline; do :; done; exit 7",
                leave.replace('N', &marker)
            );
            let script = script.replace("&;", "&");
            let (ended, _) = slot.run(&script, limits());
            assert_eq!((ended.status, ended.cause), (Status::Exited(7), None), "{leave} {way:?}");
            assert!(!is_running(&marker), "{leave} {way:?}");
        }
    }
}

#[test]
fn i12_what_forks_without_end_while_it_is_killed_dies() {
    for way in WAYS {
        let mut slot = slot(way);
        let marker = marker();
        let script = format!("f() {{ sleep {marker} & f; }}; trap '' TERM; echo up; (f) & (f) & f");
        let mut program = slot.start(&script, with(|limits| limits.processes = 300));
        program.until("up\n");
        slot.tell(&ToKeeper::Kill { note: Vec::new() });
        let ended = slot.end();
        assert_eq!(ended.status, KILLED);
        assert!(matches!(ended.cause, Some(Cause::Ordered | Cause::Processes(_))), "{ended:?}");
        assert!(!is_running(&marker), "{way:?}");
        assert_eq!(slot.run("exit 3", limits()).0.status, Status::Exited(3));
    }
}

#[test]
fn i14_a_suspended_program_stands_still_and_its_wall_time_with_it() {
    for way in WAYS {
        let mut slot = slot(way);
        // Its child is in a session of its own, and counts.
        let count = "n=0; while [ $n -lt 20 ]; do n=$((n+1)); sleep 0.02; done; echo done";
        let script = format!("echo up; setsid sh -c '{count}' & wait; exit 5");
        let mut program = slot.start(&script, with(|limits| limits.wall_time = Duration::from_secs(3)));
        program.until("up\n");
        let begun = Instant::now();
        slot.tell(&ToKeeper::Suspend);
        assert_eq!(slot.hear(), FromKeeper::Suspended(true), "{way:?}");
        slot.tell(&ToKeeper::Tell { number: 8 });
        let FromKeeper::State { number: 8, state: KeeperState::Running { suspended: true, .. } } = slot.hear() else {
            panic!("it is not told that it stands still");
        };
        wait_until("its wall time is long over", || begun.elapsed().as_secs_f64() > 3.5);
        slot.tell(&ToKeeper::Resume);
        assert_eq!(slot.hear(), FromKeeper::Suspended(false));
        assert_eq!(program.rest(), "done\n");
        let ended = slot.end();
        assert_eq!((ended.status, ended.cause), (Status::Exited(5), None), "{way:?}");
        assert!(ended.wall < Duration::from_secs(3), "{ended:?}");
    }
}

#[test]
fn i12_a_program_that_stands_still_is_ended_and_the_next_one_runs() {
    for way in WAYS {
        let mut slot = slot(way);
        for last in
            [ToKeeper::Kill { note: Vec::new() }, ToKeeper::Cancel { grace: Duration::from_secs(30), note: Vec::new() }]
        {
            let marker = marker();
            let script = format!("trap 'exit 9' TERM; setsid sleep {marker} & echo up; while :; do sleep 0.01; done");
            let mut program = slot.start(&script, limits());
            program.until("up\n");
            slot.tell(&ToKeeper::Suspend);
            assert_eq!(slot.hear(), FromKeeper::Suspended(true));
            let polite = matches!(last, ToKeeper::Cancel { .. });
            slot.tell(&last);
            let ended = slot.end();
            assert_eq!(ended.status, if polite { Status::Exited(9) } else { KILLED }, "{way:?}");
            assert!(!is_running(&marker), "{way:?}");
            assert_eq!(slot.run("exit 3", limits()).0.status, Status::Exited(3), "{way:?}");
        }
    }
}

#[test]
fn e5_the_wall_time_of_a_running_program_is_changed_both_ways() {
    let mut slot = slot(&[]);
    let mut program =
        slot.start("echo up; sleep 0.6; exit 4", with(|limits| limits.wall_time = Duration::from_millis(300)));
    program.until("up\n");
    slot.tell(&ToKeeper::SetWallTime(Duration::from_secs(60)));
    assert_eq!(slot.end().status, Status::Exited(4));

    let mut program = slot.start("echo up; sleep 1000", limits());
    program.until("up\n");
    slot.tell(&ToKeeper::SetWallTime(Duration::from_millis(10)));
    let ended = slot.end();
    assert_eq!(ended.cause, Some(Cause::WallTime));
    assert!(ended.wall < Duration::from_secs(50), "{ended:?}");
}

#[test]
fn e5_a_signal_goes_to_the_programs_group() {
    let mut slot = slot(&[]);
    let mut program = slot.start("trap 'echo heard; exit 6' INT; echo up; while :; do sleep 0.01; done", limits());
    program.until("up\n");
    for nonsense in [0, -1, 65, i32::MAX, i32::MIN] {
        slot.tell(&ToKeeper::Signal(nonsense));
    }
    slot.tell(&ToKeeper::Signal(libc::SIGINT));
    assert_eq!(program.rest(), "heard\n");
    assert_eq!(slot.end().status, Status::Exited(6));
    // For a program that ended meanwhile.
    slot.tell(&ToKeeper::Signal(libc::SIGINT));
    slot.tell(&ToKeeper::Suspend);
    assert_eq!(slot.hear(), FromKeeper::Suspended(false));
}

#[test]
fn i13_the_memory_of_a_tree_is_told_with_its_peak() {
    for way in WAYS {
        let mut slot = slot(way);
        let tool = slot.tool();
        let script = format!("{tool} eat 40 & {tool} eat 40 & wait");
        let (ended, _) = slot.run(&script, with(|limits| limits.memory = ByteSize(64 << 20)));
        let Some(Cause::Memory(used)) = ended.cause else { panic!("{ended:?} {way:?}") };
        assert!((56 << 20..120 << 20).contains(&used.0), "{used} {way:?}");
        assert!(ended.memory_peak >= ByteSize(56 << 20), "{ended:?}");
        // The next program's figures are its own.
        let (ended, _) = slot.run("exit 0", limits());
        assert!(ended.memory_peak < ByteSize(30 << 20), "{ended:?} {way:?}");
    }
}

#[test]
fn i14_processor_time_is_that_of_the_tree() {
    for way in WAYS {
        let mut slot = slot(way);
        let spin = "(while :; do :; done) & (while :; do :; done) & wait";
        let (ended, _) = slot.run(spin, with(|limits| limits.cpu_time = Some(Duration::from_millis(400))));
        let Some(Cause::CpuTime(used)) = ended.cause else { panic!("{ended:?} {way:?}") };
        assert!((400..1_000).contains(&used.as_millis()), "{used} {way:?}");
    }
}

#[test]
fn i8_a_fork_bomb_stays_within_its_processes() {
    for way in WAYS {
        let mut slot = slot(way);
        let (ended, _) = slot.run(
            "f() { f | f & }; f; sleep 60",
            with(|limits| (limits.processes, limits.wall_time) = (40, Duration::from_secs(5))),
        );
        // One that is only watched may have broken down by itself, between two looks, at the bound of its user.
        let watched = !slot.groups.limits_processes();
        let contained = matches!(ended.cause, Some(Cause::Processes(40..)));
        assert!(contained || watched && ended.cause == Some(Cause::WallTime), "{ended:?} {way:?}");
        assert_eq!(slot.run("exit 3", limits()).0.status, Status::Exited(3));
        // What stays is seen in any case.
        let many = "n=0; while [ $n -lt 100 ]; do n=$((n+1)); sleep 60 & done; wait";
        let (ended, _) = slot.run(many, with(|limits| limits.processes = 40));
        assert!(matches!(ended.cause, Some(Cause::Processes(40..))), "{ended:?} {way:?}");
    }
}

#[test]
fn i15_the_disk_limit_ends_whatever_fills_it() {
    let mut slot = slot(&[]);
    let small = || with(|limits| limits.disk = ByteSize(16 << 20));
    for (what, script) in [
        ("one file", "head -c 1000000000 /dev/zero > big; sleep 60"),
        ("many files", "mkdir a; n=0; while :; do n=$((n+1)); head -c 300000 /dev/zero > a/$n; done"),
        ("files without bytes", "n=0; while :; do n=$((n+1)); : > $n; done"),
        ("a file without a name", "exec 3> x; rm x; head -c 300000000 /dev/zero >&3; sleep 60"),
        ("a folder that nobody may read", "mkdir d; cd d; chmod 333 .; head -c 300000000 /dev/zero > x; sleep 60"),
        ("what ends at once", "head -c 20000000 /dev/zero > big"),
    ] {
        let (ended, _) = slot.run(script, small());
        let Some(Cause::Disk(used)) = ended.cause else { panic!("{what}: {ended:?}") };
        assert!(used > ByteSize(16 << 20), "{what}: {used}");
    }
    for (what, script) in [
        ("a sparse file", "truncate -s 100G big; exit 3"),
        ("less than the limit", "head -c 15000000 /dev/zero > big; sleep 0.3; exit 3"),
        (
            "one file with many names",
            "head -c 9000000 /dev/zero > a; for n in 1 2 3 4; do ln a $n; done; sleep 0.3; exit 3",
        ),
        ("a link to the outside", "ln -s /usr here; ln -s / there; sleep 0.3; exit 3"),
    ] {
        let (ended, _) =
            slot.run(script, with(|limits| (limits.disk, limits.file_size) = (ByteSize(16 << 20), ByteSize(1 << 40))));
        assert_eq!((ended.status, ended.cause), (Status::Exited(3), None), "{what}");
    }
}

/// Whatever else would end it is far away: only what has no name is over the limit.
#[test]
fn i15_files_without_a_name_count() {
    let mut slot = slot(&[]);
    let tool = slot.tool();
    let unlinked = "exec 3> x; rm x; head -c 300000000 /dev/zero >&3; exec sleep 60".to_owned();
    let mut scripts = vec![("open", unlinked)];
    // The size of what is only mapped is told to root.
    if nix::unistd::geteuid().is_root() {
        scripts.push(("mapped", format!("exec {tool} map 100")));
    }
    for (what, script) in scripts {
        let (ended, _) = slot.run(&script, with(|limits| limits.disk = ByteSize(32 << 20)));
        let Some(Cause::Disk(used)) = ended.cause else { panic!("{what}: {ended:?}") };
        assert!(used > ByteSize(32 << 20), "{what}: {used}");
    }
}

#[test]
fn i15_a_file_that_is_moved_about_is_not_counted_twice() {
    let mut slot = slot(&[]);
    let script = format!("exec {} move 300000", slot.tool());
    let (ended, _) = slot.run(&script, with(|limits| limits.disk = ByteSize(16 << 20)));
    assert_eq!((ended.status, ended.cause), (Status::Exited(3), None));
}

#[test]
fn i16_open_files_are_bounded_and_a_program_that_fails_of_it_is_told_why() {
    let mut slot = slot(&[]);
    let tool = slot.tool();
    for (code, cause) in [("1", Some(Cause::OpenFiles(40))), ("0", None)] {
        let words = [tool.as_str(), "open", code];
        let mut program = slot.start_command(&words, with(|limits| limits.open_files = 40));
        let opened: u32 = program.rest().trim().parse().unwrap();
        assert!((30..40).contains(&opened), "{opened}");
        let ended = slot.end();
        assert_eq!(ended.cause, cause, "{ended:?}");
    }
}

#[test]
fn i20_every_way_to_end_is_told_as_it_was() {
    let mut slot = slot(&[]);
    for code in [0, 1, 2, 42, 126, 127, 128, 137, 255] {
        assert_eq!(slot.run(&format!("exit {code}"), limits()).0.status, Status::Exited(code));
    }
    for signal in [1, 2, 3, 6, 9, 11, 13, 14, 15, 25, 31, 34, 64] {
        let (ended, _) = slot.run(&format!("kill -{signal} $$"), limits());
        assert_eq!((ended.status, ended.cause), (Status::Signalled(signal), None));
    }
}

/// In the guest of `cargo xtask guest` everything is one group of version 2, which few machines of developers have.
#[test]
fn i19_the_way_that_limits_are_kept_is_the_one_that_is_expected() {
    let slot = slot(&[]);
    let expected = match std::env::var("RUCHE_TEST_GROUPS").as_deref() {
        Ok("v2") => Some(GroupVersion::V2),
        Ok(other) => panic!("what is `{other}`?"),
        Err(_) => slot.groups.memory_version(),
    };
    assert_eq!(slot.groups.memory_version(), expected, "{}", slot.groups.problem);
    assert_eq!(slot.groups.limits_processes(), expected.is_some(), "{:?}", slot.groups.guards());
}

#[test]
fn i19_what_a_machine_lacks_is_told_with_the_reason() {
    for (without, off) in [("memory-limit", 1), ("process-limit", 1), ("cgroup-kill", 1), ("cgroup-freeze", 2)] {
        let mut slot = Slot::with(|base| base.without(without, "the configuration says so"), Guards::default());
        let guards = slot.groups.guards();
        let names: Vec<&str> = guards.iter().map(|guard| guard.name.as_str()).collect();
        assert_eq!(names, ["memory-limit", "process-limit", "cgroup-kill", "cgroup-freeze"]);
        let weaker: Vec<_> = guards.iter().filter(|guard| !guard.on).collect();
        assert!(weaker.iter().any(|guard| guard.name == without), "{guards:?}");
        assert!(weaker.len() >= off && guards.iter().all(|guard| !guard.detail.is_empty()), "{guards:?}");
        assert_eq!(slot.run("exit 3", limits()).0.status, Status::Exited(3));
    }
}

#[test]
fn e5_when_memory_runs_out_a_program_ends_before_its_keeper() {
    let mut slot = slot(&[]);
    if slot.groups.memory_version().is_none() {
        return eprintln!("not exercised: no group limits memory here");
    }
    for _ in 0..2 {
        let (_, told) = slot.run("cat /proc/self/oom_score_adj", limits());
        assert_eq!(told, "1000\n");
        let keeper = slot.keeper_process();
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(std::fs::read_to_string(format!("/proc/{keeper}/oom_score_adj")).unwrap(), own);
    }
}
