//! Every limit, with its outcome, its measured value and nothing left of the tree.

use crate::kit::{Keeping, Kit, command, is_running, marker, shell, source, wait_until_running};
use common::{
    Limit,
    message::Stream,
    outcome::Outcome,
    program::ProgramSpec,
    units::{ByteSize, Duration},
};
use slave::executor::Stop;
use std::time::Instant;

const BOTH: [Keeping; 2] = [Keeping::Groups, Keeping::Watching];

fn with(mut spec: ProgramSpec, change: impl FnOnce(&mut common::ResourceLimits)) -> ProgramSpec {
    change(&mut spec.limits);
    spec
}

#[test]
fn e5_wall_time_ends_a_program_that_sleeps_and_one_that_stopped_itself() {
    let mut kit = Kit::new();
    for script in ["sleep 1000", "kill -STOP $$", "trap '' TERM INT; while :; do sleep 1; done"] {
        let before = Instant::now();
        let ran = kit.run(with(shell(script), |limits| limits.wall_time = Duration::from_millis(300)));
        let detail = ran.assert_limit(Limit::WallTime);
        assert!(detail.contains("of 0.30 s"), "{detail}");
        assert!((0.3..3.0).contains(&before.elapsed().as_secs_f64()), "{script} took {:?}", before.elapsed());
    }
}

#[test]
fn e5_cpu_time_is_that_of_the_whole_tree() {
    for keeping in BOTH {
        let mut kit = Kit::keeping(keeping);
        for script in ["while :; do :; done", "(while :; do :; done) & (while :; do :; done) & wait"] {
            let ran = kit.run(with(shell(script), |limits| {
                limits.cpu_time = Some(Duration::from_millis(300));
                limits.wall_time = Duration::from_secs(30);
            }));
            ran.assert_limit(Limit::CpuTime);
            let used = ran.end.usage.cpu.as_millis();
            assert!((250..1_500).contains(&used), "{used} ms, {keeping:?}");
        }
    }
}

#[test]
fn e5_memory_is_resident_memory_of_the_whole_tree() {
    let one = "x = []\nwhile True: x.append(bytearray(1 << 20))\n";
    let many = "import os, time\nfor _ in range(4):\n  if os.fork() == 0:\n    x = bytearray(os.urandom(20 << 20))\n    time.sleep(60)\ntime.sleep(60)\n";
    for keeping in BOTH {
        let mut kit = Kit::keeping(keeping);
        if keeping == Keeping::Groups && !kit.memory_by_group() {
            continue;
        }
        for text in [one, many] {
            let ran = kit.run(with(source("Python", "m.py", text), |limits| limits.memory = ByteSize(60 << 20)));
            let detail = ran.assert_limit(Limit::Memory);
            assert!(detail.contains("of 60 MiB"), "{detail}");
            assert!(ran.end.usage.memory_peak >= ByteSize(50 << 20), "{ran:?}");
        }
        // What is reserved and not used does not count.
        let reserve = "import mmap\nm = mmap.mmap(-1, 8 << 30)\nm[0] = 1\nprint('fine')\n";
        let ran = kit.run(with(source("Python", "r.py", reserve), |limits| limits.memory = ByteSize(60 << 20)));
        ran.assert_exit(0);
        assert!(ran.end.usage.memory_peak < ByteSize(60 << 20), "{ran:?}");
    }
}

#[test]
fn e5_a_program_with_the_least_memory_ends_by_its_limit_and_the_slot_goes_on() {
    let mut kit = Kit::new();
    let ran = kit.run(with(shell("exit 0"), |limits| limits.memory = common::limits::MEMORY_MIN));
    assert!(
        matches!(ran.end.outcome, Outcome::Exited { code: 0 } | Outcome::Limit { limit: Limit::Memory, .. }),
        "{ran:?}"
    );
    kit.run(shell("exit 3")).assert_exit(3);
}

#[test]
fn i8_a_fork_bomb_is_contained_and_gone() {
    for keeping in BOTH {
        let mut kit = Kit::keeping(keeping);
        let bomb = "f() { f | f & }; f; sleep 60";
        let before = Instant::now();
        let ran = kit.run(with(command("bash", &["-c", bomb, &marker("bomb")]), |limits| {
            limits.processes = 40;
            limits.wall_time = Duration::from_secs(20);
        }));
        ran.assert_limit(Limit::Processes);
        assert!(before.elapsed().as_secs() < 15, "{keeping:?} took {:?}", before.elapsed());
        assert!(!is_running(&marker("bomb")), "{keeping:?}");
        kit.run(shell("exit 4")).assert_exit(4);
    }
}

#[test]
fn e5_threads_count_as_processes() {
    for keeping in BOTH {
        let mut kit = Kit::keeping(keeping);
        let text =
            "import threading, time\nfor _ in range(100): threading.Thread(target=time.sleep, args=(30,)).start()\n";
        let ran = kit.run(with(source("Python", "t.py", text), |limits| limits.processes = 20));
        ran.assert_limit(Limit::Processes);
    }
}

#[test]
fn e5_file_size_is_told_whether_or_not_the_program_handles_the_signal() {
    let mut kit = Kit::new();
    let small = |limits: &mut common::ResourceLimits| limits.file_size = ByteSize(64 << 10);
    let ran = kit.run(with(shell("exec head -c 1000000 /dev/zero > big"), small));
    ran.assert_limit(Limit::FileSize);
    let ran = kit.run(with(source("Python", "f.py", "open('big', 'wb').write(bytes(1000000))\n"), small));
    assert!(ran.assert_limit(Limit::FileSize).contains("big"));
    kit.run(with(shell("head -c 65536 /dev/zero > fits"), small)).assert_exit(0);
}

#[test]
fn e5_output_is_cut_exactly_at_its_limit() {
    let mut kit = Kit::new();
    let megabyte = |limits: &mut common::ResourceLimits| limits.output = ByteSize(1_000_000);
    let before = Instant::now();
    let ran = kit.run(with(shell("yes 0123456789abcde | head -c 1073741824"), megabyte));
    ran.assert_limit(Limit::Output);
    assert!(ran.end.output_truncated);
    assert_eq!(ran.output.len(), 1_000_000);
    assert!(ran.output.chunks(16).all(|line| b"0123456789abcde\n".starts_with(line)));
    assert!(before.elapsed().as_secs() < 10);
    // Both streams count together, and exactly the limit is not over it.
    let ran = kit.run(with(shell("head -c 500000 /dev/zero; head -c 500000 /dev/zero >&2"), megabyte));
    ran.assert_exit(0);
    assert!(!ran.end.output_truncated);
    assert_eq!((ran.output.len(), ran.error.len()), (500_000, 500_000));
    let ran = kit.run(with(shell("head -c 500000 /dev/zero; head -c 500001 /dev/zero >&2"), megabyte));
    ran.assert_limit(Limit::Output);
    assert_eq!(ran.output.len() + ran.error.len(), 1_000_000);
}

#[test]
fn e5_a_program_far_ahead_of_a_master_that_stores_is_read_in_steps_and_loses_no_byte() {
    // The master is always this much behind.
    const BEHIND: u64 = 17 << 20;
    let mut kit = Kit::new();
    let whole: Vec<u8> = (1..=4_000_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    let much = |limits: &mut common::ResourceLimits| limits.output = ByteSize(100 << 20);
    let key = kit.start(with(shell("seq 4000000"), much));
    let (mut stored, mut waited) = (0, false);
    kit.until("the end", |executor, event| {
        if let slave::executor::ExecutorEvent::Output { end, .. } = event {
            let until = end.saturating_sub(BEHIND).max(1);
            let count = usize::try_from(until - stored).unwrap();
            let read = executor.outputs().read(key, Stream::Stdout, stored, count).unwrap();
            let from = usize::try_from(stored).unwrap();
            assert!(read == whole[from..from + count], "other bytes from {from} on");
            stored = until;
            executor.forget_before(key, Stream::Stdout, stored);
            let soon = Instant::now() + std::time::Duration::from_millis(5);
            waited |= *end > BEHIND + 1 && executor.next_deadline().is_some_and(|at| at <= soon);
        }
        matches!(event, slave::executor::ExecutorEvent::Ended(_))
    });
    assert!(waited, "it was read as fast as it wrote");
    let rest = kit.executor().outputs().read(key, Stream::Stdout, stored, usize::MAX).unwrap();
    assert!(rest == whole[usize::try_from(stored).unwrap()..], "the end has other bytes");
}

#[test]
fn e5_cancel_is_polite_first_and_thorough_then() {
    let mut kit = Kit::new();
    let cancelled = Outcome::Cancelled { by: "alice".into() };
    let polite = kit.start(shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"));
    kit.until("the program is up", |_, event| matches!(event, slave::executor::ExecutorEvent::Output { .. }));
    kit.stop(polite, Stop::Cancelled { by: "alice".into() });
    assert_eq!(kit.end_of(polite).outcome, cancelled);
    let output = kit.executor().outputs().read(polite, common::message::Stream::Stdout, 0, 99).unwrap();
    assert_eq!(output, b"up\nbye\n");

    let stubborn =
        kit.start(command("sh", &["-c", "trap '' TERM; echo up; while :; do sleep 1; done", &marker("stubborn")]));
    kit.until("the program is up", |_, event| matches!(event, slave::executor::ExecutorEvent::Output { .. }));
    let before = Instant::now();
    kit.stop(stubborn, Stop::Cancelled { by: "alice".into() });
    assert_eq!(kit.end_of(stubborn).outcome, cancelled);
    assert!((1.9..6.0).contains(&before.elapsed().as_secs_f64()));
    assert!(!is_running(&marker("stubborn")));
}

#[test]
fn i12_a_daemon_is_gone_when_its_program_ends() {
    for keeping in BOTH {
        let mut kit = Kit::keeping(keeping);
        let text = &"import os, signal, sys\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    os.execvp('sleep', ['sleep', '4321'])\n  os._exit(0)\nos.wait()\n".replace("4321", &marker("4321"));
        let before = Instant::now();
        kit.run(source("Python", "daemon.py", text)).assert_exit(0);
        assert!(!is_running(&marker("4321")), "{keeping:?}");
        assert!(before.elapsed().as_secs() < 10);
    }
}

#[test]
fn e5_a_child_that_holds_the_pipe_does_not_delay_the_result() {
    let mut kit = Kit::new();
    let before = Instant::now();
    let ran = kit.run(shell(&format!("sleep {} & echo started", marker("1234"))));
    ran.assert_exit(0);
    assert_eq!(ran.text(), "started\n");
    assert!(before.elapsed().as_secs() < 5);
    assert!(!is_running(&marker("1234")));
}

#[test]
fn p9_programs_end_with_the_slave() {
    let mut kit = Kit::new();
    let key = kit.start(shell(&format!("echo up; trap '' TERM; sleep {0}; sleep {0}", marker("9876"))));
    kit.until("the program is up", |_, event| matches!(event, slave::executor::ExecutorEvent::Output { .. }));
    wait_until_running(&marker("9876"));
    assert_eq!(kit.executor().running(), 1, "{key}");
    drop(kit);
    assert!(!is_running(&marker("9876")));
}

#[test]
fn e5_a_keeper_that_dies_takes_its_program_with_it_and_the_slot_goes_on() {
    let mut kit = Kit::new();
    let key = kit.start(shell(&format!("echo $PPID; (setsid sleep {0} &); sleep {0}", marker("7654"))));
    kit.until("the program is up", |_, event| matches!(event, slave::executor::ExecutorEvent::Output { .. }));
    let output = kit.executor().outputs().read(key, common::message::Stream::Stdout, 0, 99).unwrap();
    let keeper: i32 = String::from_utf8_lossy(&output).trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(kit.end_of(key).outcome, Outcome::Lost { .. }));
    assert!(!is_running(&marker("7654")));
    kit.run(shell("exit 5")).assert_exit(5);
}
