//! Attempts that are handed over: they are not running before that is known.

use super::*;

impl Bench {
    fn ahead(slots: u32) -> Self {
        let mut bench = Self::new(slots);
        bench.core = Core::new(slots, limits::SLOTS_MAX, Duration::from_secs(10)).handing_over(usize::MAX);
        bench.register(slots);
        bench
    }

    #[track_caller]
    fn expect_handed_over(&mut self, number: u128, behind: Option<u128>) {
        match self.next() {
            Action::HandOver { assignment, behind: found } => {
                assert_eq!((assignment.key, found), (key(number), behind.map(key)));
            }
            other => panic!("{number} is not handed over: {other:?}"),
        }
    }

    fn runs_on(&mut self, number: u128) {
        self.event(Event::Started { key: key(number), at: Timestamp(7) });
    }

    fn came_back(&mut self, numbers: &[u128]) {
        let spec = Arc::new(ProgramSpec::new("x", Work::Command { command: "x".into() }));
        let back = numbers.iter().map(|n| Assignment { key: key(*n), spec: spec.clone(), index: 0, fence: 1 });
        self.event(Event::NotStarted(back.collect()));
    }

    /// Both slots have had two quick programs, 1 to 4, and the next ones are handed over.
    fn quick_so_far() -> Self {
        let mut bench = Self::ahead(2);
        bench.event(assign(1..5));
        for number in 1..5 {
            bench.ended(number);
        }
        bench.actions.clear();
        bench
    }
}

#[test]
fn e13_what_is_handed_over_waits_for_all_that_anybody_is_told() {
    let mut bench = Bench::ahead(2);
    bench.event(assign(1..4));
    bench.expect_handed_over(1, None);
    bench.expect_handed_over(2, None);
    bench.nothing_more();
    assert_eq!(bench.core.counts(), (3, 0, 0));
    let holdings = bench.core.holdings();
    assert_eq!((holdings.waiting, holdings.running), (vec![key(1), key(2), key(3)], Vec::new()));
    // The one runs on; the other ends, and its start is told with its end.
    bench.runs_on(1);
    bench.expect_started(&[1]);
    assert_eq!(bench.core.holdings().running, [(key(1), Timestamp(7))]);
    assert_eq!(bench.core.counts(), (2, 1, 0));
    bench.ended(2);
    bench.expect_finished(2);
    bench.expect_handed_over(3, None);
    bench.nothing_more();
    bench.event(Event::Disconnected);
    bench.event(Event::Connected);
    let Action::Register(told) = bench.next() else { panic!("no registration") };
    assert_eq!((told.waiting, told.running), (vec![key(3)], vec![(key(1), Timestamp(7))]));
    assert_eq!(told.finished, [key(2)]);
    bench.order(Order::Registered { slots: 2, lease: limits::LEASE_SLAVE, epoch: 1 });
    bench.expect_started(&[1]);
    bench.expect_finished(2);
    bench.nothing_more();
}

#[test]
fn e13_programs_go_ahead_only_where_two_were_quick_and_no_further_than_others_wait() {
    let mut bench = Bench::ahead(1);
    bench.event(assign(1..40));
    for number in 1..3 {
        bench.expect_handed_over(number, None);
        bench.nothing_more();
        bench.ended(number);
        bench.expect_finished(number);
    }
    bench.expect_handed_over(3, None);
    for number in 4..11 {
        bench.expect_handed_over(number, Some(number - 1));
    }
    bench.nothing_more();
    // It is filled again when half of it is gone.
    for number in 3..7 {
        bench.ended(number);
        bench.expect_finished(number);
    }
    for number in 11..15 {
        bench.expect_handed_over(number, Some(number - 1));
    }
    bench.nothing_more();
    // With two slots, each has its share of what waits.
    let mut bench = Bench::quick_so_far();
    bench.event(assign(11..15));
    bench.expect_handed_over(11, None);
    bench.expect_handed_over(12, None);
    match bench.next() {
        Action::HandOver { assignment, behind: Some(behind) } => {
            assert!(assignment.key == key(13) && [key(11), key(12)].contains(&behind));
        }
        other => panic!("{other:?}"),
    }
    // The last waits for whichever slot is free first.
    bench.nothing_more();
}

#[test]
fn e4_nothing_is_put_behind_what_runs_on_and_what_comes_back_keeps_its_order() {
    let mut bench = Bench::ahead(1);
    bench.event(assign(1..30));
    for number in 1..3 {
        bench.expect_handed_over(number, None);
        bench.ended(number);
        bench.expect_finished(number);
    }
    bench.actions.clear();
    bench.runs_on(3);
    bench.expect_started(&[3]);
    // In two parts, as a keeper may tell it.
    bench.came_back(&[4, 5, 6]);
    bench.came_back(&[7, 8, 9, 10]);
    bench.nothing_more();
    assert_eq!(bench.core.counts(), (26, 1, 2));
    bench.ended(3);
    bench.expect_finished(3);
    // Not yet ahead again, and the next time later still.
    for number in 4..8 {
        bench.expect_handed_over(number, None);
        bench.nothing_more();
        bench.ended(number);
        bench.expect_finished(number);
    }
    bench.expect_handed_over(8, None);
    bench.expect_handed_over(9, Some(8));
}

#[test]
fn e13_what_the_master_wants_back_is_given_back_or_its_start_is_told() {
    let mut bench = Bench::quick_so_far();
    bench.event(assign(11..15));
    bench.actions.clear();
    bench.order(Order::Withdraw(vec![key(11), key(13), key(14)]));
    assert_eq!(bench.next(), Action::TakeBack(key(11)));
    assert_eq!(bench.next(), Action::TakeBack(key(13)));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(14)])));
    bench.runs_on(11);
    bench.expect_started(&[11]);
    bench.came_back(&[13]);
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(13)])));
    bench.nothing_more();
    assert!(!bench.core.holdings().waiting.contains(&key(13)));
    // What came back without being wanted waits and is started again.
    bench.order(Order::Withdraw(vec![key(12)]));
    assert_eq!(bench.next(), Action::TakeBack(key(12)));
    bench.event(Event::Disconnected);
    bench.event(Event::Connected);
    bench.actions.clear();
    // The registration has told it as waiting, and the master has let it be.
    bench.order(Order::Registered { slots: 2, lease: limits::LEASE_SLAVE, epoch: 1 });
    bench.expect_started(&[11]);
    bench.actions.clear();
    bench.came_back(&[12]);
    bench.expect_handed_over(12, None);
}

#[test]
fn f17_cancels_and_discards_of_what_is_handed_over_leave_one_end() {
    let mut bench = Bench::ahead(2);
    bench.event(assign(1..3));
    bench.actions.clear();
    bench.order(Order::Cancel { keys: vec![key(1)], by: "alice".into() });
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::Cancelled { by: "alice".into() }));
    bench.event(Event::Ended(Box::new(AttemptEnd {
        key: key(1),
        outcome: Outcome::Cancelled { by: "alice".into() },
        started_at: None,
        ended_at: Timestamp(2),
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
    })));
    assert_eq!(bench.expect_finished(1).end.started_at, None);
    bench.order(Order::Discard(vec![key(2)]));
    assert_eq!(bench.next(), Action::Stop(key(2), Stop::Discarded));
    // It had come back before it could be stopped.
    bench.came_back(&[2]);
    assert_eq!(bench.next(), Action::Forget(key(2)));
    bench.nothing_more();
    assert_eq!(bench.core.counts(), (0, 0, 1));
}

#[test]
fn f24_a_slave_that_stops_gives_back_what_has_not_started() {
    let mut bench = Bench::ahead(2);
    bench.event(assign(1..4));
    bench.actions.clear();
    bench.event(Event::Stop);
    assert_eq!(bench.next(), Action::TakeBack(key(1)));
    assert_eq!(bench.next(), Action::TakeBack(key(2)));
    assert_eq!(bench.next(), Action::Report(Report::Draining));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(3)])));
    bench.came_back(&[1]);
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(1)])));
    bench.ended(2);
    bench.expect_finished(2);
    bench.order(Order::Acknowledge(vec![key(2)]));
    assert_eq!(bench.next(), Action::Forget(key(2)));
    assert_eq!(bench.next(), Action::Leave);
}

/// Only whoever started it knows whether it ran: past the lease it is stopped, and what had not started waits again.
#[test]
fn f08_the_lease_stops_what_is_handed_over() {
    let mut bench = Bench::ahead(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.answers = false;
    bench.after(limits::LEASE_SLAVE.0 / 1_000 + 1);
    assert!(bench.actions.contains(&Action::Stop(key(1), Stop::LeaseEnded)));
    bench.actions.clear();
    bench.came_back(&[1]);
    bench.nothing_more();
    assert_eq!(bench.core.holdings().waiting, [key(1)]);
}

#[test]
fn e13_only_bare_commands_are_handed_over() {
    use common::program::LiveInput;
    let bare = ProgramSpec::new("x", Work::Command { command: "x".into() });
    let source = Work::Source { language: "C".into(), file_name: "a.c".into(), text: b"".as_slice().into() };
    let long = "x".repeat(40_000);
    for (spec, goes) in [
        (bare.clone(), true),
        (ProgramSpec { arguments: vec!["a".into()], ..bare.clone() }, true),
        (ProgramSpec { arguments: vec![long.as_str().into()], ..bare.clone() }, false),
        (ProgramSpec { stdin: Some(b"in".as_slice().into()), ..bare.clone() }, false),
        (ProgramSpec { live: Some(LiveInput { terminal: None }), ..bare.clone() }, false),
        (ProgramSpec { collect: vec!["*.txt".into()], ..bare.clone() }, false),
        (ProgramSpec { network: true, ..bare.clone() }, false),
        (ProgramSpec { work: source, ..bare }, false),
    ] {
        assert_eq!(lanes::is_quick(&spec), goes, "{spec:?}");
    }
}
