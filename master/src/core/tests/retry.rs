//! When a program is tried again, and when it is not.

use super::*;
use common::limits::CRASHES_MAX;

fn failed() -> Outcome {
    Outcome::Exited { code: 3 }
}

#[test]
fn p4_attempts_follow_after_growing_pauses_that_hold_up_nobody() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit_with(1, |spec| spec.retry = 4);
    assert_eq!(bench.assigned(), [(LINK, attempt(id, 1))]);
    bench.finish(LINK, attempt(id, 1), failed());
    assert_eq!(bench.assigned(), [(LINK, attempt(id, 2))], "the second at once");
    for (tried, pause) in [(2, 1), (3, 2), (4, 4)] {
        bench.finish(LINK, attempt(id, tried), failed());
        assert_eq!(bench.assigned(), []);
        assert_eq!(bench.why(id), format!("Tried {tried} times; the next start is due in {pause} s."));
        let other = bench.submit(100 + u128::from(tried));
        assert_eq!(bench.assigned(), [(LINK, attempt(other, 1))], "others are not held up");
        bench.finish(LINK, attempt(other, 1), Outcome::Exited { code: 0 });
        bench.advance(Duration(pause * 1_000_000 - 1));
        assert_eq!(bench.assigned(), []);
        bench.advance(Duration(1));
        assert_eq!(bench.assigned(), [(LINK, attempt(id, tried + 1))]);
    }
    bench.records();
    bench.finish(LINK, attempt(id, 5), failed());
    assert_eq!(bench.outcomes(), [failed()], "four more starts than one, and no fifth");
    bench.told();
    bench.advance(Duration::from_secs(100));
    bench.assert_no_more_actions();
}

#[test]
fn p4_a_cancel_in_the_pause_ends_it() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit_with(1, |spec| spec.retry = 9);
    for tried in 1..=3 {
        bench.advance(Duration::from_secs(60));
        bench.finish(LINK, attempt(id, tried), failed());
    }
    bench.records();
    bench.request(Request::Cancel { ids: vec![id] });
    assert_eq!(bench.outcomes(), [Outcome::Cancelled { by: "ann".into() }]);
    bench.told();
    bench.advance(Duration::from_secs(100));
    bench.assert_no_more_actions();
}

#[test]
fn f18_a_program_that_brings_down_its_slaves_is_tried_five_times_at_most() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit_with(1, |spec| spec.retry = 100);
    let mut starts = 0;
    while bench.core.by_id.contains_key(&id) {
        starts += bench.assigned().len();
        bench.report(LINK, Report::Started(vec![(attempt(id, starts as u32), Timestamp(5))]));
        bench.handle(Event::SlaveLeft(LINK));
        bench.advance(Duration::from_secs(51));
        // It comes back under the same number with nothing.
        bench.register(LINK, SLAVE, registration(1));
        bench.advance(Duration::from_secs(20));
    }
    assert_eq!(starts, CRASHES_MAX as usize);
    let records = bench.records();
    let crashes: Vec<u32> = records
        .iter()
        .filter_map(|record| if let Record::Moved(moved) = record { Some(moved.crashes) } else { None })
        .collect();
    assert!(crashes.is_sorted() && crashes.last() == Some(&(CRASHES_MAX - 1)), "{crashes:?}");
    let told = |record: &Record| matches!(record, Record::Event(event) if event.subject == "ann" && event.text.contains("not tried again"));
    assert!(records.iter().any(told));
    let ended =
        records.into_iter().find_map(|record| if let Record::Ended(ended) = record { Some(ended) } else { None });
    let Outcome::Lost { detail } = ended.unwrap().outcome else { panic!() };
    assert!(detail.contains("5 times"), "{detail}");
    // Everybody else goes on.
    let other = bench.submit(2);
    assert_eq!(bench.assigned(), [(LINK, attempt(other, 1))]);
}

#[test]
fn f17_a_cancel_at_each_step_leaves_one_final_state() {
    // Before it is sent, sent, started, its end on the way, and after its end.
    for step in 0..5 {
        let mut bench = Bench::new();
        if step > 0 {
            bench.slave(1);
        }
        let id = bench.submit_with(1, |spec| spec.retry = 3);
        let key = attempt(id, 1);
        if step > 1 {
            bench.report(LINK, Report::Started(vec![(key, Timestamp(5))]));
        }
        let ended = Outcome::Exited { code: 0 };
        if step > 3 {
            bench.finish(LINK, key, ended.clone());
        }
        let mut outcomes = bench.outcomes();
        bench.told();
        bench.request(Request::Cancel { ids: vec![id] });
        // Twice is once.
        bench.request(Request::Cancel { ids: vec![id] });
        outcomes.extend(bench.outcomes());
        let cancels = bench
            .told()
            .into_iter()
            .filter(|action| matches!(action, Action::ToSlave(_, Order::Cancel { .. })))
            .count();
        assert_eq!(cancels > 0, (1..4).contains(&step), "step {step}");
        let cancelled = Outcome::Cancelled { by: "ann".into() };
        // Until the slave says so, what may run is not called cancelled.
        assert_eq!(outcomes.is_empty(), (1..4).contains(&step), "step {step}");
        match step {
            1 => bench.report(LINK, Report::Withdrawn(vec![key])),
            2 => bench.finish(LINK, key, cancelled.clone()),
            _ => bench.finish(LINK, key, ended.clone()),
        }
        // A repeated report and a lost slave change nothing any more.
        bench.finish(LINK, key, Outcome::Exited { code: 9 });
        bench.handle(Event::SlaveLeft(LINK));
        bench.advance(Duration::from_secs(60));
        outcomes.extend(bench.outcomes());
        assert_eq!(outcomes, [if step < 3 { cancelled } else { ended }], "step {step}");
        assert_eq!(bench.assigned(), []);
    }
}

#[test]
fn f17_a_cancel_while_its_slave_is_away_is_told_when_it_is_back_and_holds_when_it_is_not() {
    for back in [true, false] {
        let mut bench = Bench::new();
        bench.slave(1);
        let id = bench.submit_with(1, |spec| spec.retry = 3);
        let key = attempt(id, 1);
        bench.report(LINK, Report::Started(vec![(key, Timestamp(5))]));
        bench.handle(Event::SlaveLeft(LINK));
        bench.request(Request::Cancel { ids: vec![id] });
        bench.told();
        if back {
            let told = Registration { running: vec![(key, Timestamp(5))], ..registration(1) };
            bench.register(LinkId(2), SLAVE, told);
            let cancels = |action: &Action| matches!(action, Action::ToSlave(LinkId(2), Order::Cancel { .. }));
            assert!(bench.told().iter().any(cancels));
        } else {
            bench.advance(Duration::from_secs(51));
            assert_eq!(bench.outcomes(), [Outcome::Cancelled { by: "ann".into() }]);
        }
    }
}

#[test]
fn l05_a_user_may_have_so_many_programs_and_no_more() {
    let limited = Settings { programs_per_user: 2, ..settings() };
    let mut bench = Bench::with(Recovered { next_sequence: 1, next_spec: 1, ..Recovered::default() }, limited);
    bench.slave(1);
    let first = bench.submit(1);
    bench.submit(2);
    let spec = || Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    let third = |number| Request::Submit {
        ids: vec![ProgramId(Uuid::from_u128(number))],
        first_index: 0,
        copies: 1,
        spec: spec(),
    };
    let error = bench.reply(third(3)).unwrap_err();
    assert!(error.is(common::ErrorCode::QuotaReached) && error.sentence.contains("`ann`"), "{error}");
    // A repeat of what was accepted is no new program.
    assert!(bench.reply(third(2)).is_ok());
    let other = ClientId(Uuid::from_u128(20));
    bench.join_as(other, "bob", Role::Submitter);
    let request = Box::new(third(4));
    bench.handle(Event::Request {
        client: other,
        id: RequestId(1),
        request,
        known: vec![],
        received: bench.now.boot,
        guard: Guard(None),
    });
    assert_eq!(bench.core.programs.len(), 3);
    bench.finish(LINK, attempt(first, 1), Outcome::Exited { code: 0 });
    assert!(bench.reply(third(3)).is_ok());
}

#[test]
fn l08_a_submit_that_waited_too_long_is_refused_as_busy_and_nothing_else_is() {
    let mut bench = Bench::new();
    let received = bench.now.boot;
    bench.leap(Duration::from_millis(501));
    let id = ProgramId(Uuid::from_u128(1));
    let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    let ask = |bench: &mut Bench, request: Request| {
        bench.told();
        let request = Box::new(request);
        let id = RequestId(1_000);
        bench.handle(Event::Request { client: CLIENT, id, request, known: vec![], received, guard: Guard(None) });
        let told = bench.told();
        let [Action::ToClient(_, Status::Reply { result, .. })] = told.as_slice() else { panic!("{told:?}") };
        result.clone()
    };
    let error = ask(&mut bench, Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec }).unwrap_err();
    assert!(error.is(common::ErrorCode::Busy) && error.retry_after == Some(Duration::from_secs(2)), "{error}");
    assert!(bench.core.programs.is_empty());
    assert!(ask(&mut bench, Request::Summary).is_ok());
    assert!(ask(&mut bench, Request::Cancel { ids: vec![] }).is_ok());
}

#[test]
fn p2_a_wait_for_what_ended_while_the_store_was_asked_asks_again() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit(1);
    bench.finish(LINK, attempt(id, 1), Outcome::Exited { code: 0 });
    let mark = bench.core.mark();
    bench.handle(Event::Committed(mark));
    bench.told();
    let rows = BTreeMap::from([(id, ("ann".to_owned(), None))]);
    let answer = crate::store::query::Answer::Outcomes(rows);
    let then = super::super::action::Then::Wait(vec![id]);
    bench.handle(Event::Answered { client: CLIENT, id: RequestId(9), then: then.clone(), answer, known: vec![] });
    let told = bench.told();
    assert!(matches!(told.as_slice(), [Action::Ask { then: again, .. }] if *again == then), "{told:?}");
}

#[test]
fn b06_a_second_wait_under_an_open_number_is_refused() {
    let mut bench = Bench::new();
    let id = bench.submit(1);
    bench.told();
    for (round, request) in [Request::Wait { ids: vec![id] }, Request::Wait { ids: vec![] }].into_iter().enumerate() {
        let (received, request) = (bench.now.boot, Box::new(request));
        let id = RequestId(500);
        bench.handle(Event::Request { client: CLIENT, id, request, known: vec![], received, guard: Guard(None) });
        assert_eq!(bench.told().len(), round, "the first waits, the second is refused");
    }
}

#[test]
fn f24_a_stop_is_announced_to_all_and_takes_nothing_new() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit(1);
    bench.told();
    bench.handle(Event::Stopping);
    let told = bench.told();
    assert!(told.iter().any(|action| matches!(action, Action::AlertClient(CLIENT, _))), "{told:?}");
    assert!(told.iter().any(|action| matches!(action, Action::AlertSlave(LINK, _))), "{told:?}");
    // A result that arrives meanwhile is taken, and nothing new is sent.
    bench.submit(2);
    bench.records();
    bench.finish(LINK, attempt(id, 1), Outcome::Exited { code: 0 });
    assert_eq!(bench.outcomes(), [Outcome::Exited { code: 0 }]);
    assert_eq!(bench.assigned(), []);
}

#[test]
fn s3_the_state_is_told_to_operators_and_in_the_event_log() {
    let mut bench = Bench::new();
    let submitter = ClientId(Uuid::from_u128(20));
    bench.join_as(submitter, "sue", Role::Submitter);
    bench.told();
    bench.core.tell_state();
    bench.handle(Event::Tick);
    assert!(bench.records().iter().any(|record| matches!(record, Record::Event(event) if event.subject == "master")));
    let told = bench.told();
    let [Action::AlertClient(CLIENT, common::message::Alert::Notice { text })] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(text.contains("queue 0"), "{text}");
}
