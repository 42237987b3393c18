//! Slaves that are given nothing new.

use super::*;
use common::{ErrorCode, limits::SLAVE_FAILURES_MAX, view::SlaveState};

impl Bench {
    fn slave_row(&mut self) -> common::view::SlaveView {
        let Reply::Slaves(rows) = self.reply(Request::Slaves).unwrap() else { panic!() };
        rows.into_iter().find(|row| row.name == "s1").unwrap()
    }
}

/// Fails what the slave is given until it is given nothing more; how many that were.
fn fail_all(bench: &mut Bench) -> u32 {
    let mut failed = 0;
    loop {
        let sent = bench.assigned();
        if sent.is_empty() {
            return failed;
        }
        for (link, key) in sent {
            bench.finish(link, key, lost());
            failed += 1;
        }
    }
}

#[test]
fn f18_a_slave_that_fails_everything_is_set_aside_and_tried_again_with_one() {
    let mut bench = Bench::new();
    bench.slave(1);
    // One after the other, so that nothing is sent ahead.
    for number in 1..=u128::from(SLAVE_FAILURES_MAX) {
        assert_eq!(bench.slave_row().state, SlaveState::Connected);
        let id = bench.submit_with(number, |_| ());
        bench.finish(LINK, attempt(id, 1), lost());
    }
    let row = bench.slave_row();
    assert_eq!(row.state, SlaveState::Draining);
    let reason = row.aside.unwrap();
    assert!(reason.contains("5 attempts in a row failed there") && reason.contains("cannot fork"), "{reason}");
    let waiting: Vec<ProgramId> = (10..14).map(|number| bench.submit_with(number, |_| ())).collect();
    assert_eq!(bench.assigned(), []);
    let why = bench.why(waiting[0]);
    assert!(why.contains("can take it"), "{why}");
    // Its trial fails, and the next one is twice as far.
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.assigned(), [(LINK, attempt(waiting[0], 1))], "one, and none ahead");
    bench.finish(LINK, attempt(waiting[0], 1), lost());
    bench.advance(Duration::from_secs(119));
    assert_eq!(bench.assigned(), []);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.assigned(), [(LINK, attempt(waiting[1], 1))]);
    // The cut does not hide what it is.
    bench.finish(LINK, attempt(waiting[1], 1), Outcome::Exited { code: 1 });
    assert_eq!(bench.assigned().len(), 2, "it takes programs as before");
    assert_eq!(bench.slave_row().aside, None);
}

#[test]
fn f18_one_body_that_fails_everywhere_is_no_slaves_fault() {
    let mut bench = Bench::new();
    bench.slave(1);
    let ids: Vec<ProgramId> = (0..20).map(|number| ProgramId(Uuid::from_u128(number))).collect();
    let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "poison".into() }));
    bench.request(Request::Submit { ids, first_index: 0, copies: 20, spec });
    assert_eq!(fail_all(&mut bench), 20);
    assert_eq!(bench.slave_row().aside, None);
}

#[test]
fn f18_a_cut_and_what_a_slave_brings_along_count_once() {
    let mut bench = Bench::new();
    bench.slave(8);
    let ids: Vec<ProgramId> = (1..=8).map(|number| bench.submit_with(number, |_| ())).collect();
    bench.handle(Event::SlaveLeft(LINK));
    // Its machine restarted: it tells so of each, in time.
    let finished = ids.iter().map(|id| attempt(*id, 1)).collect();
    bench.register(LinkId(2), SLAVE, Registration { instance: 2, finished, ..registration(8) });
    for id in &ids {
        bench.finish(LinkId(2), attempt(*id, 1), lost());
    }
    assert_eq!(bench.slave_row().aside, None);
    for number in 11..=18 {
        bench.submit_with(number, |_| ());
    }
    bench.handle(Event::SlaveLeft(LinkId(2)));
    bench.advance(Duration::from_secs(51));
    bench.register(LinkId(3), SLAVE, registration(8));
    assert_eq!(bench.slave_row().aside, None);
}

#[test]
fn f18_a_person_sets_a_slave_aside_and_takes_it_back() {
    let mut bench = Bench::new();
    bench.slave(1);
    let running = bench.submit(1);
    bench.submit(2);
    bench.report(LINK, Report::Started(vec![(attempt(running, 1), Timestamp(5))]));
    let aside = |slave: &str| Request::SetAside { slave: slave.into(), reason: " new disk ".into() };
    assert!(bench.reply(aside("s9")).unwrap_err().is(ErrorCode::SlaveUnknown));
    bench.records();
    bench.told();
    bench.request(aside("s1"));
    // What it has not started is asked back; what runs goes on.
    let records = bench.records();
    let told = bench.told();
    let asked = |action: &Action| matches!(action, Action::ToSlave(_, Order::Withdraw(keys)) if keys.len() == 1);
    assert!(told.iter().any(asked), "{told:?}");
    let kept = |record: &Record| matches!(record, Record::SlaveAside { reason: Some(reason), .. } if reason == "by `ann`: new disk");
    assert!(records.iter().any(kept));
    bench.report(LINK, Report::Withdrawn(vec![attempt(ProgramId(Uuid::from_u128(2)), 1)]));
    let row = bench.slave_row();
    assert_eq!((row.state, row.aside.as_deref(), row.running), (SlaveState::Draining, Some("by `ann`: new disk"), 1));
    // A new connection does not take it back.
    bench.handle(Event::SlaveLeft(LINK));
    let told = Registration { running: vec![(attempt(running, 1), Timestamp(5))], ..registration(1) };
    bench.register(LinkId(2), SLAVE, told);
    assert_eq!(bench.slave_row().aside.as_deref(), Some("by `ann`: new disk"));
    assert_eq!(bench.assigned(), []);
    bench.request(Request::TakeBack { slave: "s1".into() });
    assert!(bench.records().iter().any(|record| matches!(record, Record::SlaveAside { reason: None, .. })));
    assert_eq!(bench.assigned(), [(LinkId(2), attempt(ProgramId(Uuid::from_u128(2)), 1))]);
    assert_eq!(bench.slave_row().state, SlaveState::Connected);
}
