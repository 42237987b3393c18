//! Steps that a keeper runs one after another by itself: their order, their ends, and what becomes of them when
//! something comes in between.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panic and names the one case that it expects"
)]

mod support;

use common::units::{ByteSize, Duration};
use launcher::{
    Wait,
    protocol::{
        Cause, Ended, FromKeeper, Guards, HeldEnd, KeeperState, Order, QUEUE_MAX, QUICK, Queue, QuickEnd, QuickResult,
        QuickState, QuickStep, StartStep, Status, Step, StepLimits, ToKeeper,
    },
};
use std::{
    fs::File,
    io::{PipeReader, Read},
    os::fd::OwnedFd,
    path::PathBuf,
};
use support::{Slot, is_running, limits, marker, step_of, wait_until};

/// What an agent hears of its queue.
struct Told {
    slot: Slot,
    descriptors: Vec<OwnedFd>,
    /// Ends that came and were not asked for yet.
    ends: std::collections::VecDeque<QuickEnd>,
}

fn slot() -> Told {
    Told { slot: Slot::with(|base| base, Guards::default()), descriptors: Vec::new(), ends: Default::default() }
}

fn shell(number: u64, script: &str, limits: StepLimits) -> QuickStep {
    QuickStep {
        number,
        step: Step { tag: vec![u8::try_from(number).unwrap()], ..step_of(&["/bin/sh", "-c", script], limits) },
    }
}

fn plain(number: u64, script: &str) -> QuickStep {
    shell(number, script, limits())
}

impl Told {
    fn queue(&self, steps: Vec<QuickStep>, kept: u64) {
        self.slot.tell(&ToKeeper::Queue(Queue { steps, folder: false, kept }));
    }

    /// With a new folder, which is old enough for every change of it to show.
    fn queue_in_folder(&self, steps: Vec<QuickStep>, kept: u64) -> PathBuf {
        let (path, folder) = self.slot.work_folder();
        let changed = nix::sys::stat::fstat(&folder).unwrap();
        wait_until("a step of the clock of files", || {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE).unwrap();
            (changed.st_ctime, changed.st_ctime_nsec) < (now.tv_sec(), now.tv_nsec())
        });
        let message = ToKeeper::Queue(Queue { steps, folder: true, kept });
        self.slot.keeper.send(&message, &[std::os::fd::AsFd::as_fd(&folder)]).unwrap();
        path
    }

    fn order(&self, number: u64, order: Order) {
        self.slot.tell(&ToKeeper::Quick { number, order });
    }

    fn hear(&mut self) -> FromKeeper {
        let received = self.slot.keeper.receive::<FromKeeper>(Wait::Yes).unwrap().unwrap();
        // Those of what outlived are for its end, which comes later.
        if matches!(received.message, FromKeeper::Outlives { .. } | FromKeeper::State { .. }) {
            self.descriptors = received.descriptors;
        }
        received.message
    }

    /// The next end. One that outlived its time has a word of its own before it: its number, and what was given back.
    #[track_caller]
    fn end(&mut self) -> (QuickEnd, Option<Vec<u64>>) {
        let mut outlived = None;
        loop {
            if let Some(end) = self.ends.pop_front() {
                return (self.drained(end), outlived);
            }
            match self.hear() {
                FromKeeper::Ends(ends) => self.ends.extend(ends),
                FromKeeper::Outlives { returned, .. } => outlived = Some(returned),
                other => panic!("expected an end, found {other:?}"),
            }
        }
    }

    /// With what lies in the pipes that came along.
    fn drained(&mut self, mut end: QuickEnd) -> QuickEnd {
        for (pipe, bytes) in self.descriptors.drain(..).zip([&mut end.output, &mut end.error]) {
            PipeReader::from(pipe).read_to_end(bytes).unwrap();
        }
        end
    }

    /// Queues steps, again and again those that were given back, until all have ended.
    #[track_caller]
    fn run_all(&mut self, scripts: &[&str], limits: StepLimits) -> Vec<QuickEnd> {
        let mut number = 1;
        let mut next = 0;
        let mut ends = Vec::new();
        let mut folder = true;
        while next < scripts.len() {
            let steps = scripts[next..].iter().zip(number..).map(|(script, number)| shell(number, script, limits));
            let steps: Vec<_> = steps.take(QUEUE_MAX).collect();
            let count = steps.len() as u64;
            if std::mem::take(&mut folder) {
                self.queue_in_folder(steps, number - 1);
            } else {
                self.queue(steps, number - 1);
            }
            let first = number;
            number += count;
            loop {
                let (end, returned) = self.end();
                next += 1;
                let (last, touched) = (end.number + 1 == first + count, end.touched);
                ends.push(end);
                if let Some(returned) = returned {
                    assert_eq!(
                        returned,
                        (first + 1..number).skip((ends.last().unwrap().number - first) as usize).collect::<Vec<_>>()
                    );
                    folder = touched;
                    break;
                }
                if touched && !last {
                    self.slot.tell(&ToKeeper::Return);
                    let FromKeeper::Returned(_) = self.hear() else { panic!("nothing was given back") };
                }
                folder = touched;
                if last || touched {
                    break;
                }
            }
        }
        ends
    }

    /// What the next agent is told, with the pipes that come along; there is a folder with them.
    #[track_caller]
    fn state(&mut self) -> QuickState {
        self.slot.tell(&ToKeeper::Tell { number: 77 });
        loop {
            if let FromKeeper::State { number: 77, state } = self.hear() {
                let KeeperState::Quick(state) = state else { panic!("{state:?}") };
                assert_eq!(self.descriptors.len(), usize::from(state.folder) + 2 * usize::from(state.pipes));
                if state.folder {
                    let folder = File::from(self.descriptors.remove(0));
                    assert!(folder.metadata().unwrap().is_dir());
                }
                return state;
            }
        }
    }
}

#[track_caller]
fn ended(end: &QuickEnd) -> &Ended {
    match &end.result {
        QuickResult::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A program that goes on until this file is there.
fn until(path: &std::path::Path) -> String {
    format!("until [ -e {} ]; do :; done", path.display())
}

#[test]
fn e13_queued_steps_run_in_their_order_and_their_ends_hold_what_they_wrote() {
    let mut told = slot();
    let scripts: Vec<String> = (0..60).map(|n| format!("echo {n}; echo {n}e >&2; exit {n}")).collect();
    let ends = told.run_all(&scripts.iter().map(String::as_str).collect::<Vec<_>>(), limits());
    assert_eq!(ends.len(), 60);
    for (n, end) in ends.iter().enumerate() {
        assert_eq!((text(&end.output), text(&end.error)), (&*format!("{n}\n"), &*format!("{n}e\n")));
        assert_eq!((ended(end).status, ended(end).cause), (Status::Exited(n as i32), None));
        assert!(!end.touched, "{end:?}");
    }
    assert!(ends.is_sorted_by_key(|end| (end.number, end.started)));
}

#[test]
fn e13_what_outlives_its_time_is_handed_over_and_what_waits_is_given_back() {
    let mut told = slot();
    let go = told.slot.folder.path().join("go");
    let script = format!("echo first; echo error >&2; {}; echo last", until(&go));
    told.queue_in_folder(vec![plain(1, &script), plain(2, "echo two"), plain(3, "echo three")], 0);
    let FromKeeper::Outlives { number: 1, returned, .. } = told.hear() else { panic!("it did not outlive") };
    assert_eq!(returned, [2, 3]);
    // What comes meanwhile is given back as well, and so is what comes before its end is kept.
    told.queue(vec![plain(4, "echo four")], 0);
    assert_eq!(told.hear(), FromKeeper::Returned(vec![4]));
    File::create(go).unwrap();
    let (end, _) = told.end();
    assert_eq!((end.number, text(&end.output), text(&end.error)), (1, "first\nlast\n", "error\n"));
    told.queue(vec![plain(5, "echo five")], 0);
    assert_eq!(told.hear(), FromKeeper::Returned(vec![5]));
    told.queue(vec![plain(6, "echo six")], 5);
    let (end, _) = told.end();
    assert_eq!((end.number, text(&end.output)), (6, "six\n"));
}

#[test]
fn e13_no_byte_of_a_full_pipe_is_lost() {
    let mut told = slot();
    let large = "import fcntl, os\nfor f in (1, 2): fcntl.fcntl(f, 1031, 1 << 20)\nos.write(1, b'x' * 300000); os.write(2, b'y' * 200000)";
    let full = "head -c 65536 /dev/zero; head -c 65536 /dev/zero >&2";
    let python = format!("exec /usr/bin/python3 -c \"{large}\"");
    let ends = told.run_all(&[full, &python, full, "echo end"], limits());
    let sizes: Vec<_> = ends.iter().map(|end| (end.output.len(), end.error.len())).collect();
    assert_eq!(sizes, [(65_536, 65_536), (300_000, 200_000), (65_536, 65_536), (4, 0)]);
}

#[test]
fn e13_an_end_holds_all_that_a_quick_program_wrote() {
    let mut told = slot();
    let tool = told.slot.tool();
    let (mut number, mut is_there, mut is_wide_there) = (0, false, false);
    wait_until("a quick program that writes much, and one that writes more than an end holds", || {
        number += 2;
        let head = step_of(&["/usr/bin/head", "-c", "60000", "/dev/zero"], limits());
        let wide = step_of(&[&tool, "write", "100000"], limits());
        for (number, step, size) in [(number - 1, head, 60_000), (number, wide, 100_000)] {
            let steps = vec![QuickStep { number, step }];
            if number == 1 {
                drop(told.queue_in_folder(steps, 0))
            } else {
                told.queue(steps, number - 1)
            };
            let (end, outlived) = told.end();
            assert_eq!(end.output.len(), size);
            is_there |= size == 60_000 && outlived.is_none();
            is_wide_there |= size == 100_000 && outlived.is_some() && ended(&end).wall < QUICK;
        }
        is_there && is_wide_there
    });
}

#[test]
fn e13_nothing_starts_in_a_folder_that_was_touched() {
    for touch in ["echo x >file", "mkdir a; rmdir a", "chmod 750 .", ": >f; rm f"] {
        let mut told = slot();
        told.queue_in_folder(vec![plain(1, touch), plain(2, "ls -A; pwd")], 0);
        let (first, returned) = told.end();
        assert!(first.touched, "{touch}");
        let kept = if returned.is_some() {
            told.queue(vec![plain(3, "ls -A; pwd")], 2);
            2
        } else {
            0
        };
        assert!(told.slot.keeper.receive::<FromKeeper>(Wait::No).unwrap().is_none(), "{touch}");
        let path = told.queue_in_folder(Vec::new(), kept);
        let (second, _) = told.end();
        assert_eq!(text(&second.output), format!("{}\n", path.display()), "{touch}");
        assert!(!second.touched);
    }
}

#[test]
fn e13_a_folder_that_is_too_young_counts_as_touched() {
    let mut told = slot();
    // A step of the clock of files may come in between, but not each time.
    let is_any_touched = (1..=100).any(|number| {
        let (_, folder) = told.slot.work_folder();
        let young = ToKeeper::Queue(Queue { steps: vec![plain(number, "true")], folder: true, kept: number - 1 });
        nix::unistd::fchown(&folder, None, None).unwrap();
        told.slot.keeper.send(&young, &[std::os::fd::AsFd::as_fd(&folder)]).unwrap();
        told.end().0.touched
    });
    assert!(is_any_touched);
}

#[test]
fn e13_one_that_waits_is_dropped_by_its_number_and_one_that_runs_is_ended() {
    let mut told = slot();
    let go = told.slot.folder.path().join("go");
    let wait = until(&go);
    // The first stands still from its start on, so that the others surely wait.
    told.queue(vec![plain(1, &wait), plain(2, "echo two"), plain(3, "echo three")], 0);
    told.order(1, Order::Suspend);
    assert_eq!(told.hear(), FromKeeper::QuickSuspended { number: 1, suspended: true });
    told.order(2, Order::Kill { note: vec![9] });
    let (end, _) = told.end();
    assert_eq!((end.number, end.result), (2, QuickResult::Dropped));
    told.order(8, Order::Kill { note: Vec::new() });
    told.queue_in_folder(Vec::new(), 0);
    let FromKeeper::Outlives { number: 1, returned, .. } = told.hear() else { panic!("it did not outlive") };
    assert_eq!(returned, [3]);
    let state = told.state();
    assert!(state.running.is_some_and(|running| running.suspended && running.number == 1));
    let held: Vec<_> = state.ends.iter().map(|held| (held.end.number, held.note.clone())).collect();
    assert_eq!(held, [(2, vec![9]), (3, Vec::new())]);
    told.order(1, Order::Resume);
    assert_eq!(told.hear(), FromKeeper::QuickSuspended { number: 1, suspended: false });
    // The orders of the other kind mean the other kind of step.
    told.slot.tell(&ToKeeper::Kill { note: Vec::new() });
    told.order(1, Order::SetWallTime(Duration::from_millis(1)));
    let (end, _) = told.end();
    assert_eq!((end.number, ended(&end).cause), (1, Some(Cause::WallTime)));
    told.queue(vec![plain(4, &wait)], 3);
    let FromKeeper::Outlives { number: 4, .. } = told.hear() else { panic!("it did not outlive") };
    told.order(4, Order::Kill { note: vec![7] });
    let (end, _) = told.end();
    assert_eq!((end.number, ended(&end).cause), (4, Some(Cause::Ordered)));
    let state = told.state();
    assert_eq!(state.ends.first().map(|held| (held.tag.clone(), held.note.clone())), Some((vec![4], vec![7])));
}

#[test]
fn e13_the_next_agent_is_told_everything() {
    let mut told = slot();
    let steps = (1..=5).map(|n| plain(n, &format!("echo {n}"))).collect();
    told.queue_in_folder(steps, 0);
    // The agent has read nothing of it. Where the machine is slow, one outlived, or was looked at too soon, and those
    // behind it were given back.
    let mut state = told.state();
    while state.running.is_some() || !state.waiting.is_empty() {
        state = told.state();
    }
    let mut numbers: Vec<_> = state.ends.iter().map(|held| held.end.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    for HeldEnd { tag, end, .. } in &state.ends {
        assert_eq!(*tag, [u8::try_from(end.number).unwrap()]);
        let is_whole = text(&end.output) == format!("{}\n", end.number);
        assert!(is_whole || state.pipes || end.result == QuickResult::Returned, "{end:?}");
    }
    assert!(state.folder && !state.wants_folder && state.last == 5 && state.running.is_none());
    // What is kept is told no more.
    told.queue(Vec::new(), 3);
    let state = told.state();
    assert!(state.ends.len() == 2 && state.ends.iter().all(|held| held.end.number > 3));
}

#[test]
fn e13_the_next_agent_gets_the_pipes_of_what_runs() {
    let mut told = slot();
    let go = told.slot.folder.path().join("go");
    told.queue_in_folder(vec![plain(1, &format!("echo before; {}; echo after", until(&go))), plain(2, "echo")], 0);
    let state = told.state();
    assert_eq!(state.running.as_ref().map(|running| running.number), Some(1));
    assert!(state.waiting.is_empty() && state.folder && state.pipes);
    let pipes = std::mem::take(&mut told.descriptors);
    File::create(go).unwrap();
    let (mut end, _) = told.end();
    told.descriptors = pipes;
    end = told.drained(end);
    assert_eq!(text(&end.output), "before\nafter\n");
    // The one after that gets them as well, as long as nobody has said to have kept it.
    let state = told.state();
    assert!(state.pipes && state.running.is_none());
    assert!(state.ends.iter().any(|held| held.end.number == 1 && held.end.output.is_empty()));
    told.queue(Vec::new(), 2);
    assert!(!told.state().pipes);
}

#[test]
fn e13_an_agent_that_does_not_listen_holds_up_nothing() {
    let mut told = slot();
    let full = "head -c 65536 /dev/zero; head -c 65536 /dev/zero >&2";
    told.queue_in_folder((1..=16).map(|n| plain(n, full)).collect(), 0);
    // More than both sockets hold; it is heard all the same.
    let mut left = 5_000;
    wait_until("that it is heard", || {
        while left > 0 && told.slot.keeper.try_send(&ToKeeper::Return, &[]).unwrap() {
            left -= 1;
        }
        left == 0
    });
    let mut numbers = Vec::new();
    while numbers.len() < 16 {
        match told.hear() {
            FromKeeper::Ends(ends) => numbers.extend(ends.iter().map(|end| end.number)),
            FromKeeper::Outlives { returned, .. } | FromKeeper::Returned(returned) => numbers.extend(returned),
            other => panic!("{other:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
}

#[test]
fn e13_more_than_fits_is_given_back() {
    let mut told = slot();
    let count = QUEUE_MAX as u64;
    told.queue((1..=count + 2).map(|n| plain(n, "true")).collect(), 0);
    assert_eq!(told.hear(), FromKeeper::Returned(vec![count + 1, count + 2]));
    told.slot.tell(&ToKeeper::Return);
    assert_eq!(told.hear(), FromKeeper::Returned((1..=count).collect()));
    told.slot.tell(&ToKeeper::Return);
    assert_eq!(told.hear(), FromKeeper::Returned(Vec::new()));
}

#[test]
fn e13_nothing_that_is_queued_starts_after_the_lease() {
    let mut told = slot();
    let mut late = plain(1, "true");
    late.step.lease_until = Some(1);
    told.queue_in_folder(vec![late, plain(2, "echo two")], 0);
    let (end, _) = told.end();
    let QuickResult::NotStarted(failure) = end.result else { panic!("{end:?}") };
    assert_eq!((failure.step, end.touched), (StartStep::Lease, false));
    let (end, _) = told.end();
    assert_eq!(text(&end.output), "two\n");
}

#[test]
fn e13_what_cannot_be_executed_is_told_and_the_next_one_runs() {
    let mut told = slot();
    let missing = QuickStep { number: 1, step: step_of(&["/no/such/program"], limits()) };
    told.queue_in_folder(vec![missing, plain(2, "echo two")], 0);
    let (end, _) = told.end();
    let QuickResult::NotStarted(failure) = &end.result else { panic!("{end:?}") };
    assert_eq!((failure.step, failure.errno), (StartStep::Execute, libc::ENOENT));
    let (end, _) = told.end();
    assert_eq!((text(&end.output), end.touched), ("two\n", false));
}

#[test]
fn e13_queued_steps_have_their_limits() {
    let narrow = StepLimits {
        memory: ByteSize(32 << 20),
        processes: 8,
        file_size: ByteSize(1 << 20),
        disk: ByteSize(4 << 20),
        wall_time: Duration::from_secs(20),
        ..limits()
    };
    let mut told = slot();
    let ends = told.run_all(
        &[
            "head -c 2000000 /dev/zero >file; exit 3",
            "exec /usr/bin/python3 -c \"x = b'x' * (256 << 20)\"",
            "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 20 & done; exit 4",
            "for i in 1 2 3 4 5 6 7; do head -c 1000000 /dev/zero >file-$i; done; exit 5",
            "echo well",
        ],
        narrow,
    );
    let told: Vec<_> = ends.iter().map(|end| (ended(end).status, ended(end).cause)).collect();
    assert_eq!(told[0].0, Status::Exited(3));
    assert!(matches!(told[1].1, Some(Cause::Memory(_))), "{told:?}");
    assert!(matches!(told[2].1, Some(Cause::Processes(_))), "{told:?}");
    assert!(matches!(told[3].1, Some(Cause::Disk(_))), "{told:?}");
    assert_eq!((told[4], text(&ends[4].output)), ((Status::Exited(0), None), "well\n"));
}

#[test]
fn i12_what_a_queued_step_does_to_its_input_is_not_there_for_the_next_one() {
    let mut told = slot();
    let ends = told.run_all(&["flock -n 0 && echo locked", "flock -n 9 9</dev/null && echo free"], limits());
    assert_eq!(ends.iter().map(|end| text(&end.output)).collect::<Vec<_>>(), ["locked\n", "free\n"]);
}

#[test]
fn i12_what_a_queued_step_leaves_behind_is_gone_before_the_next_one() {
    let mut told = slot();
    let marker = marker();
    let leave = format!("setsid sleep {marker} >/dev/null 2>&1 & exit 0");
    for _ in 0..10 {
        let ends = told.run_all(&[&leave], limits());
        assert_eq!(ended(&ends[0]).status, Status::Exited(0));
        assert!(!is_running(&marker));
        told = slot();
    }
}

#[test]
fn i12_nothing_of_a_queue_outlives_its_keeper() {
    let told = slot();
    let marker = marker();
    told.queue_in_folder(vec![plain(1, &format!("exec sleep {marker}")), plain(2, &format!("sleep {marker}"))], 0);
    wait_until("its start", || is_running(&marker));
    told.slot.kill_keeper();
    wait_until("its end", || !is_running(&marker));
}
