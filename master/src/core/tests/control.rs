//! Programs that are suspended, signalled, given another wall time and live input; and a slave or master that is
//! away meanwhile.

use super::*;
use crate::store::Changed;
use common::{
    ErrorCode, UserError,
    program::{LiveInput, ProgramSignal, TerminalSize},
};

const OTHER_LINK: LinkId = LinkId(2);

impl Bench {
    /// A program that runs on the slave.
    fn running(&mut self, change: impl FnOnce(&mut ProgramSpec)) -> (ProgramId, AttemptKey) {
        self.slave(1);
        let id = self.submit_with(1, change);
        let key = attempt(id, 1);
        self.report(LINK, Report::Started(vec![(key, Timestamp(5))]));
        self.told();
        self.records();
        (id, key)
    }

    fn live(&mut self) -> (ProgramId, AttemptKey) {
        self.running(|spec| spec.live = Some(LiveInput { terminal: None }))
    }

    fn comes_back(&mut self, link: LinkId, key: AttemptKey, suspended: bool) {
        let suspended = if suspended { vec![key] } else { vec![] };
        let told = Registration { running: vec![(key, Timestamp(5))], suspended, ..registration(1) };
        self.register(link, SLAVE, told);
    }

    fn give(&mut self, id: ProgramId, offset: u64, bytes: &[u8], end: bool) {
        self.request(Request::Input { id, offset, bytes: bytes.to_vec(), end });
    }

    /// Answers to inputs, in this order; everything else is dropped.
    fn taken(&mut self) -> Vec<Result<u64, &'static str>> {
        let answer = |action| {
            let Action::ToClient(_, Status::Reply { result, .. }) = action else { return None };
            match result {
                Ok(reply) => {
                    if let Reply::InputTaken { offset } = reply {
                        Some(Ok(offset))
                    } else {
                        None
                    }
                }
                Err(error) => {
                    let codes = [ErrorCode::Busy, ErrorCode::NotLive, ErrorCode::ProgramEnded, ErrorCode::NotRunning];
                    Some(Err(codes.iter().find(|code| error.is(**code)).map_or("other", |code| code.code())))
                }
            }
        };
        self.told().into_iter().filter_map(answer).collect()
    }

    /// Inputs that were sent to the slave: place, bytes and end.
    fn inputs(&mut self) -> Vec<(u64, Vec<u8>, bool)> {
        let (inputs, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition(|action| matches!(action, Action::ToSlave(_, Order::Input { .. })));
        self.actions = others;
        let part = |action| {
            let Action::ToSlave(_, Order::Input { offset, bytes, end, .. }) = action else { return None };
            Some((offset, bytes, end))
        };
        inputs.into_iter().filter_map(part).collect()
    }

    fn refused(&mut self, request: Request) -> UserError {
        self.reply(request).unwrap_err()
    }
}

fn changed(record: &Record) -> Option<Changed> {
    if let Record::Changed(changed) = record { Some(*changed) } else { None }
}

#[test]
fn i12_a_program_is_shown_suspended_when_its_slave_says_so() {
    let mut bench = Bench::new();
    let (id, key) = bench.running(|_| ());
    bench.request(Request::Suspend { ids: vec![id] });
    let wish = bench.records().iter().find_map(changed).unwrap();
    assert_eq!(bench.order(), Order::Suspend(vec![key]));
    let Reply::Changed { results } = bench.reply(Request::Suspend { ids: vec![id] }).unwrap() else { panic!() };
    assert_eq!(results, [Ok(State::Running)]);
    assert!(wish.suspend && wish.wall_time.is_none());
    assert_eq!(bench.view(id).state, State::Running);
    bench.report(LINK, Report::Suspended(vec![key]));
    assert_eq!(bench.view(id).state, State::Suspended);
    assert_eq!(bench.core.summary().running, 1);
    bench.request(Request::Resume { ids: vec![id] });
    assert_eq!(bench.order(), Order::Resume(vec![key]));
    bench.report(LINK, Report::Resumed(vec![key]));
    assert_eq!(bench.view(id).state, State::Running);
    // What is suspended can be cancelled, and can end.
    bench.report(LINK, Report::Suspended(vec![key]));
    bench.told();
    bench.request(Request::Cancel { ids: vec![id] });
    assert!(matches!(bench.order(), Order::Cancel { .. }));
    bench.records();
    bench.finish(LINK, key, Outcome::Cancelled { by: "ann".into() });
    assert_eq!(bench.outcomes(), [Outcome::Cancelled { by: "ann".into() }]);
}

#[test]
fn i12_only_what_runs_is_suspended_and_only_by_those_who_may() {
    let mut bench = Bench::new();
    let waiting = bench.submit(3);
    let (running, _) = bench.running(|spec| spec.priority = 1);
    let other = ClientId(Uuid::from_u128(8));
    bench.join_as(other, "bob", Role::Submitter);
    let unknown = ProgramId(Uuid::from_u128(77));
    let state = |bench: &mut Bench, id| {
        let Reply::Changed { results } = bench.core.suspend(CLIENT, &[id], true, &BTreeMap::new()) else { panic!() };
        results[0].clone()
    };
    // The slave has one slot, and the first in line has it.
    let (waits, runs) =
        if bench.view(waiting).state == State::Waiting { (waiting, running) } else { (running, waiting) };
    assert!(state(&mut bench, waits).unwrap_err().is(ErrorCode::NotRunning));
    assert!(state(&mut bench, unknown).unwrap_err().is(ErrorCode::ProgramUnknown));
    let _ = runs;
    let Reply::Changed { results } = bench.core.suspend(other, &[running], true, &BTreeMap::new()) else { panic!() };
    assert!(results[0].as_ref().unwrap_err().is(ErrorCode::ProgramUnknown));
    let error = bench.refused(Request::Signal { id: waits, signal: ProgramSignal::Interrupt });
    assert!(error.is(ErrorCode::NotRunning), "{error}");
}

#[test]
fn i12_what_was_wanted_while_a_slave_was_away_is_told_when_it_comes_back() {
    let mut bench = Bench::new();
    let (id, key) = bench.running(|_| ());
    bench.handle(Event::SlaveLeft(LINK));
    bench.request(Request::Suspend { ids: vec![id] });
    bench.request(Request::SetWallTime { id, wall_time: Duration::from_secs(90) });
    bench.told();
    bench.comes_back(OTHER_LINK, key, false);
    let told = bench.told();
    let orders: Vec<_> = told
        .iter()
        .filter_map(|action| if let Action::ToSlave(_, order) = action { Some(order.clone()) } else { None })
        .collect();
    assert!(orders.contains(&Order::Suspend(vec![key])), "{orders:?}");
    assert!(orders.contains(&Order::SetWallTime { key, wall_time: Duration::from_secs(90) }), "{orders:?}");
    // One that stands still and shall not is told to go on.
    bench.report(OTHER_LINK, Report::Suspended(vec![key]));
    bench.handle(Event::SlaveLeft(OTHER_LINK));
    assert_eq!(bench.view(id).state, State::Suspended);
    bench.request(Request::Resume { ids: vec![id] });
    bench.told();
    bench.comes_back(LINK, key, true);
    assert_eq!(bench.view(id).state, State::Suspended);
    let (id_of, wanted) = (id, Order::Resume(vec![key]));
    bench.handle(Event::SlaveLeft(LINK));
    bench.told();
    bench.comes_back(OTHER_LINK, key, true);
    assert!(bench.told().iter().any(|action| matches!(action, Action::ToSlave(_, order) if *order == wanted)));
    // A slave that is lost takes what stands still with it.
    bench.handle(Event::SlaveLeft(OTHER_LINK));
    bench.records();
    bench.advance(Duration::from_secs(51));
    assert!(matches!(bench.outcomes().as_slice(), [Outcome::Lost { .. }]), "{id_of}");
}

#[test]
fn i12_a_new_attempt_does_not_stand_still_and_has_the_new_wall_time() {
    let mut bench = Bench::new();
    let (id, key) = bench.running(|spec| spec.retry = 1);
    bench.request(Request::SetWallTime { id, wall_time: Duration::from_secs(90) });
    bench.request(Request::Suspend { ids: vec![id] });
    bench.report(LINK, Report::Suspended(vec![key]));
    bench.records();
    bench.told();
    bench.finish(LINK, key, Outcome::Lost { detail: "x".into() });
    let last = bench.records().iter().filter_map(changed).next_back().unwrap();
    assert!(!last.suspend && last.wall_time == Some(Duration::from_secs(90)));
    let again = bench.told().into_iter().find_map(|action| {
        let Action::ToSlave(_, Order::Assign(assignments)) = action else { return None };
        Some(assignments[0].clone())
    });
    let again = again.unwrap();
    assert_eq!((again.key.attempt, again.spec.limits.wall_time), (2, Duration::from_secs(90)));
}

#[test]
fn i12_a_wall_time_is_recorded_and_told_and_bounded() {
    let mut bench = Bench::new();
    let (id, key) = bench.running(|_| ());
    bench.request(Request::SetWallTime { id, wall_time: Duration::from_secs(7) });
    let recorded = bench.actions.iter().position(|action| matches!(action, Action::Record(Record::Changed(_))));
    let replied = bench.actions.iter().position(|action| matches!(action, Action::ToClient(..)));
    assert!(recorded.unwrap() < replied.unwrap());
    assert_eq!(bench.order(), Order::SetWallTime { key, wall_time: Duration::from_secs(7) });
    let Reply::Spec(spec) = bench.reply(Request::Spec { id }).unwrap() else { panic!() };
    assert_eq!(spec.limits.wall_time, Duration::from_secs(7));
    // The repeat of the submit is still the same submit.
    bench.submit_with(1, |_| ());
    let replies = |action: &Action| matches!(action, Action::ToClient(_, Status::Reply { result: Ok(_), .. }));
    assert!(bench.told().iter().any(replies));
    for wall_time in [Duration(0), Duration(u64::MAX)] {
        assert!(bench.refused(Request::SetWallTime { id, wall_time }).is(ErrorCode::RequestInvalid));
    }
    bench.handle(Event::SlaveLeft(LINK));
    let mut told = Registration { running: vec![(key, Timestamp(5))], ..registration(1) };
    told.ceiling.limits.wall_time = Duration::from_secs(60);
    bench.register(OTHER_LINK, SLAVE, told);
    let error = bench.refused(Request::SetWallTime { id, wall_time: Duration::from_secs(61) });
    assert!(error.is(ErrorCode::BeyondCeiling) && error.sentence.contains("1 min"), "{error}");
}

#[test]
fn i12_signals_and_sizes_go_to_what_runs() {
    let mut bench = Bench::new();
    let terminal = Some(TerminalSize { columns: 80, rows: 24 });
    let (id, key) = bench.running(|spec| spec.live = Some(LiveInput { terminal }));
    bench.request(Request::Signal { id, signal: ProgramSignal::Interrupt });
    assert_eq!(bench.order(), Order::Signal { key, signal: ProgramSignal::Interrupt });
    let size = TerminalSize { columns: 100, rows: 30 };
    bench.request(Request::Resize { id, size });
    assert_eq!(bench.order(), Order::Resize { key, size });
    let none = TerminalSize { columns: 0, rows: 30 };
    assert!(bench.refused(Request::Resize { id, size: none }).is(ErrorCode::RequestInvalid));
    bench.handle(Event::SlaveLeft(LINK));
    assert!(bench.refused(Request::Signal { id, signal: ProgramSignal::Quit }).is(ErrorCode::NotRunning));
}

#[test]
fn i13_input_is_answered_when_the_program_has_it() {
    let mut bench = Bench::new();
    let (id, key) = bench.live();
    bench.give(id, 0, b"one\n", false);
    assert_eq!(bench.inputs(), [(0, b"one\n".to_vec(), false)]);
    bench.assert_no_more_actions();
    bench.give(id, 4, b"two\n", true);
    assert_eq!(bench.inputs(), [(4, b"two\n".to_vec(), true)]);
    bench.report(LINK, Report::InputTaken { key, offset: 2 });
    bench.assert_no_more_actions();
    bench.report(LINK, Report::InputTaken { key, offset: 8 });
    // The end is not taken yet.
    assert_eq!(bench.taken(), [Ok(4)]);
    bench.report(LINK, Report::InputTaken { key, offset: u64::MAX });
    assert_eq!(bench.taken(), [Ok(8)]);
    // A repeat is harmless, and nothing comes behind the end.
    bench.give(id, 4, b"two\n", true);
    assert_eq!(bench.taken(), [Ok(8)]);
    bench.give(id, 0, b"", false);
    assert_eq!(bench.taken(), [Err("E-NOT-LIVE")]);
    bench.assert_no_more_actions();
}

#[test]
fn i13_input_comes_in_order_without_gaps_and_within_bounds() {
    let mut bench = Bench::new();
    let (id, key) = bench.live();
    // Where to go on is told at once.
    bench.give(id, 9, b"late", false);
    assert_eq!(bench.taken(), [Ok(0)]);
    bench.give(id, 0, b"abc", false);
    bench.give(id, 1, b"bcde", false);
    assert_eq!(bench.inputs(), [(0, b"abc".to_vec(), false), (3, b"de".to_vec(), false)]);
    bench.give(id, 0, b"", false);
    assert_eq!(bench.taken(), [Ok(5)]);
    let chunk = vec![7; common::limits::INPUT_CHUNK_BYTES_MAX];
    let mut offset = 5;
    for _ in 0..3 {
        bench.give(id, offset, &chunk, false);
        offset += chunk.len() as u64;
    }
    assert_eq!(bench.inputs().len(), 3);
    assert_eq!(bench.taken(), []);
    bench.give(id, offset, &chunk, false);
    assert_eq!(bench.taken(), [Err("E-BUSY")]);
    bench.report(LINK, Report::InputTaken { key, offset: 5 });
    bench.told();
    bench.give(id, offset, &chunk, false);
    assert_eq!((bench.inputs().len(), bench.taken()), (1, vec![]));
    let long = vec![0; common::limits::INPUT_CHUNK_BYTES_MAX + 1];
    bench.give(id, offset, &long, false);
    bench.give(id, u64::MAX, b"x", false);
    assert_eq!(bench.taken(), [Err("other"), Err("other")]);
}

#[test]
fn i13_input_outlives_connections_of_slave_and_client() {
    let mut bench = Bench::new();
    let (id, key) = bench.live();
    bench.give(id, 0, b"abcdef", false);
    bench.inputs();
    bench.handle(Event::SlaveLeft(LINK));
    bench.give(id, 6, b"gh", true);
    assert_eq!(bench.inputs(), []);
    bench.comes_back(OTHER_LINK, key, false);
    bench.told();
    // The slave says how far it is: what it lacks is sent again, and it skips what it has.
    bench.report(OTHER_LINK, Report::InputTaken { key, offset: 2 });
    assert_eq!(bench.inputs(), [(0, b"abcdef".to_vec(), false), (6, b"gh".to_vec(), true)]);
    // The client comes again over another connection and repeats what was not answered.
    bench.handle(Event::ClientLeft(CLIENT));
    bench.join(CLIENT, Role::Operator);
    bench.give(id, 0, b"abcdef", false);
    assert_eq!(bench.inputs(), []);
    bench.report(OTHER_LINK, Report::InputTaken { key, offset: u64::MAX });
    assert_eq!(bench.taken(), [Ok(6)]);
}

#[test]
fn i13_a_master_that_starts_again_asks_the_slave_how_far_input_is() {
    let mut spec = ProgramSpec::new("p", Work::Command { command: "cat".into() });
    spec.live = Some(LiveInput { terminal: None });
    let id = ProgramId(Uuid::from_u128(1));
    let row = AliveRow {
        sequence: 1,
        id,
        spec_key: 1,
        spec: spec.into(),
        spec_hash: [0; 32],
        user: "ann".into(),
        client: CLIENT,
        index: 0,
        copies: 1,
        state: State::Suspended,
        attempt: 1,
        slave: Some(SLAVE),
        submitted_at: Timestamp(5),
        started_at: Some(Timestamp(6)),
        cancel_by: None,
        crashes: 0,
        wall_time: Some(Duration::from_secs(8)),
        suspend: true,
        entry: None,
    };
    let slave = crate::store::load::SlaveRow {
        id: SLAVE,
        name: "s1".into(),
        instance: 1,
        slots: 1,
        languages: vec![],
        seen_at: Timestamp(999_999_999),
        aside: None,
        revoked: false,
    };
    let totals = BTreeMap::from([(State::Suspended, 1)]);
    let recovered = Recovered {
        alive: vec![row],
        slaves: vec![slave],
        totals,
        next_sequence: 2,
        next_spec: 2,
        ..Recovered::default()
    };
    let mut bench = Bench::recovered(recovered);
    let key = attempt(id, 1);
    assert_eq!(bench.view(id).state, State::Suspended);
    bench.give(id, 4, b"efgh", false);
    // Where the program's input is, nobody here knows yet: nothing goes out.
    assert_eq!((bench.inputs(), bench.taken()), (vec![], vec![]));
    bench.give(id, 0, b"", false);
    assert_eq!(bench.taken(), [Ok(8)]);
    bench.comes_back(LINK, key, true);
    let told = bench.told();
    let wall_time = Duration::from_secs(8);
    let again = |action: &Action| matches!(action, Action::ToSlave(_, order) if *order == Order::SetWallTime { key, wall_time });
    assert!(told.iter().any(again), "{told:?}");
    bench.report(LINK, Report::InputTaken { key, offset: 6 });
    assert_eq!(bench.inputs(), [(4, b"efgh".to_vec(), false)]);
    bench.report(LINK, Report::InputTaken { key, offset: 8 });
    assert!(bench.taken().contains(&Ok(8)));
}

#[test]
fn i13_whoever_gave_input_that_was_lost_with_a_master_is_told_where_to_go_on() {
    let mut bench = Bench::new();
    let (id, key) = bench.live();
    bench.core.inputs_live.recovered(bench.core.by_id[&id]);
    bench.give(id, 9, b"later", false);
    bench.report(LINK, Report::InputTaken { key, offset: 6 });
    assert_eq!((bench.inputs(), bench.taken()), (vec![], vec![Ok(6)]));
    bench.give(id, 6, b"and later", false);
    assert_eq!(bench.inputs(), [(6, b"and later".to_vec(), false)]);
}

#[test]
fn i13_input_of_a_program_that_ends_or_takes_none_is_refused() {
    let mut bench = Bench::new();
    let (id, key) = bench.live();
    bench.give(id, 0, b"abc", false);
    bench.inputs();
    bench.finish(LINK, key, Outcome::Exited { code: 0 });
    assert_eq!(bench.taken(), [Err("E-PROGRAM-ENDED")]);
    let plain = bench.submit(9);
    bench.told();
    bench.give(plain, 0, b"abc", false);
    assert_eq!(bench.taken(), [Err("E-NOT-LIVE")]);
}
