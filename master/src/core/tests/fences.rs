//! Nothing is given out again while it may still run: leases, other instances, other histories.

use super::*;
use crate::store::load::SlaveRow;

const OTHER: SlaveId = SlaveId(Uuid::from_u128(10));

impl Bench {
    /// Two slaves of one slot; a program that may be tried again runs on the first.
    fn two_slaves() -> (Self, ProgramId) {
        let mut bench = Self::new();
        bench.slave(1);
        let id = bench.submit_with(1, |spec| spec.retry = 1);
        bench.handle(Event::SlaveEnrolled { id: OTHER, name: "s2".into(), retired: None });
        bench.register(LinkId(2), OTHER, registration(1));
        bench.report(LINK, Report::Started(vec![(attempt(id, 1), Timestamp(5))]));
        bench.told();
        (bench, id)
    }
}

#[test]
fn f10_another_instance_without_an_attempt_does_not_prove_that_it_is_dead() {
    let (mut bench, id) = Bench::two_slaves();
    bench.handle(Event::SlaveLeft(LINK));
    bench.advance(Duration::from_secs(30));
    bench.register(LinkId(3), SLAVE, Registration { instance: 2, ..registration(1) });
    assert_eq!(bench.assigned(), []);
    let view = bench.view(id);
    assert!(view.state == State::Running && view.unknown_since.is_some(), "{view:?}");
    let why = bench.why(id);
    assert!(why.contains("not known") && why.contains("20 s"), "{why}");
    // It is never asked back, and giving it back would prove nothing.
    bench.report(LinkId(3), Report::Withdrawn(vec![attempt(id, 1)]));
    bench.advance(Duration(19_999_999));
    assert_eq!(bench.assigned(), []);
    bench.advance(Duration(1));
    assert_eq!(bench.assigned().iter().map(|(_, key)| *key).collect::<Vec<_>>(), [attempt(id, 2)]);
}

#[test]
fn f07_the_same_instance_without_an_attempt_is_a_proof() {
    let (mut bench, id) = Bench::two_slaves();
    bench.handle(Event::SlaveLeft(LINK));
    bench.register(LinkId(3), SLAVE, registration(1));
    assert_eq!(bench.assigned().iter().map(|(_, key)| *key).collect::<Vec<_>>(), [attempt(id, 2)]);
}

#[test]
fn f10_an_agent_that_finds_its_journal_again_keeps_what_it_runs() {
    let (mut bench, id) = Bench::two_slaves();
    bench.handle(Event::SlaveLeft(LINK));
    bench.register(LinkId(3), SLAVE, Registration { instance: 2, ..registration(1) });
    bench.handle(Event::SlaveLeft(LinkId(3)));
    let told = Registration { instance: 2, running: vec![(attempt(id, 1), Timestamp(5))], ..registration(1) };
    bench.register(LinkId(4), SLAVE, told);
    assert_eq!(bench.view(id).unknown_since, None);
    bench.advance(Duration::from_secs(100));
    assert_eq!(bench.assigned(), []);
    bench.records();
    bench.finish(LinkId(4), attempt(id, 1), Outcome::Exited { code: 0 });
    assert_eq!(bench.outcomes(), [Outcome::Exited { code: 0 }]);
}

#[test]
fn f09_a_master_that_was_stopped_gives_slaves_their_whole_lease() {
    let (mut bench, id) = Bench::two_slaves();
    bench.handle(Event::SlaveLeft(LINK));
    bench.advance(Duration::from_secs(10));
    // Twice the lease in one step.
    bench.leap(Duration::from_secs(100));
    assert_eq!((bench.outcomes(), bench.assigned()), (vec![], vec![]));
    bench.advance(Duration::from_secs(49));
    assert_eq!((bench.outcomes(), bench.assigned()), (vec![], vec![]));
    let mut back = Bench::two_slaves().0;
    back.handle(Event::SlaveLeft(LINK));
    back.leap(Duration::from_secs(100));
    let told = Registration { running: vec![(attempt(id, 1), Timestamp(5))], ..registration(1) };
    back.register(LinkId(3), SLAVE, told);
    back.told();
    back.advance(Duration::from_secs(100));
    assert_eq!((back.outcomes(), back.assigned()), (vec![], vec![]), "it came back with it");
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.assigned().iter().map(|(_, key)| *key).collect::<Vec<_>>(), [attempt(id, 2)]);
    // A strayed attempt has its whole lease too.
    let (mut bench, _) = Bench::two_slaves();
    bench.handle(Event::SlaveLeft(LINK));
    bench.register(LinkId(3), SLAVE, Registration { instance: 2, ..registration(1) });
    bench.leap(Duration::from_secs(100));
    assert_eq!(bench.assigned(), []);
}

#[test]
fn f09_a_quiet_master_is_no_stopped_one() {
    let (mut bench, id) = Bench::two_slaves();
    // Nothing happens for an hour: no deadline asks for a call.
    bench.leap(Duration::from_secs(3_600));
    bench.handle(Event::SlaveLeft(LINK));
    bench.advance(Duration::from_secs(50));
    assert_eq!(bench.assigned().iter().map(|(_, key)| *key).collect::<Vec<_>>(), [attempt(id, 2)]);
}

#[test]
fn f22_what_a_slave_holds_of_another_history_is_dropped() {
    let (mut bench, id) = Bench::two_slaves();
    bench.handle(Event::SlaveLeft(LINK));
    bench.told();
    let key = |number| attempt(ProgramId(Uuid::from_u128(number)), 1);
    let told = Registration {
        epoch: 7,
        waiting: vec![key(50)],
        running: vec![(attempt(id, 1), Timestamp(5)), (key(51), Timestamp(5))],
        finished: vec![key(52)],
        ..registration(1)
    };
    bench.register(LinkId(3), SLAVE, told);
    let told = bench.told();
    let discarded = Order::Discard(vec![key(50), attempt(id, 1), key(51)]);
    for order in [discarded, Order::Acknowledge(vec![key(52)])] {
        let sent = |action: &Action| matches!(action, Action::ToSlave(LinkId(3), other) if *other == order);
        assert!(told.iter().any(sent), "{order:?} in {told:?}");
    }
    let registered = |action: &Action| matches!(action, Action::ToSlave(_, Order::Registered { epoch: 1, .. }));
    assert!(told.iter().any(registered));
    // What this history sent there is not known, and nothing follows before its lease is over.
    assert!(bench.view(id).unknown_since.is_some());
    bench.advance(Duration::from_secs(49));
    assert_eq!(bench.assigned(), []);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.assigned().iter().map(|(_, key)| *key).collect::<Vec<_>>(), [attempt(id, 2)]);
}

#[test]
fn f22_a_restored_history_starts_nothing_while_the_one_before_may_run() {
    let row = |sequence: u64| AliveRow {
        sequence,
        id: ProgramId(Uuid::from_u128(sequence.into())),
        spec_key: sequence,
        spec: ProgramSpec::new("p", Work::Command { command: "true".into() }).into(),
        spec_hash: [0; 32],
        user: "ann".into(),
        client: CLIENT,
        index: 0,
        copies: 1,
        state: State::Waiting,
        attempt: 0,
        slave: None,
        submitted_at: Timestamp(5),
        started_at: None,
        cancel_by: None,
        crashes: 0,
        wall_time: None,
        suspend: false,
        entry: None,
    };
    let recovered = |served: Option<&str>| Recovered {
        alive: vec![row(1)],
        totals: BTreeMap::from([(State::Waiting, 1)]),
        settings: served.map(|epoch| ("epoch_served".to_owned(), epoch.to_owned())).into_iter().collect(),
        next_sequence: 2,
        next_spec: 2,
        ..Recovered::default()
    };
    for (served, held) in [(None, true), (Some("2"), false)] {
        let mut bench = Bench::with(recovered(served), Settings { epoch: 2, ..settings() });
        bench.slave(1);
        let id = ProgramId(Uuid::from_u128(1));
        let note = Record::Setting { name: "epoch_served".into(), value: Some("2".into()) };
        assert!(!bench.records().contains(&note), "a restart within the lease must hold back anew");
        assert_eq!(bench.assigned().is_empty(), held);
        if held {
            assert!(bench.why(id).contains("restored from a backup"));
            bench.advance(Duration::from_secs(50));
            let (noted, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut bench.actions).into_iter().partition(|action| matches!(action, Action::Record(_)));
            assert!(noted.iter().any(|action| matches!(action, Action::Record(record) if *record == note)));
            bench.actions = others;
            let told = bench.told();
            let fenced = |action: &Action| matches!(action, Action::ToSlave(_, Order::Assign(sent)) if sent[0].fence == (2 << 32) + 1);
            assert!(told.iter().any(fenced), "{told:?}");
        }
    }
}

#[test]
fn f01_output_stored_before_the_start_was_committed_is_not_waited_for() {
    let key = attempt(ProgramId(Uuid::from_u128(1)), 1);
    let row = AliveRow {
        sequence: 1,
        id: key.program,
        spec_key: 1,
        spec: ProgramSpec::new("p", Work::Command { command: "true".into() }).into(),
        spec_hash: [0; 32],
        user: "ann".into(),
        client: CLIENT,
        index: 0,
        copies: 1,
        state: State::Waiting,
        attempt: 1,
        slave: Some(SLAVE),
        submitted_at: Timestamp(5),
        started_at: None,
        cancel_by: None,
        crashes: 0,
        wall_time: None,
        suspend: false,
        entry: None,
    };
    let slave = SlaveRow {
        id: SLAVE,
        name: "s1".into(),
        instance: 1,
        slots: 1,
        languages: vec![],
        seen_at: Timestamp(5),
        aside: None,
        revoked: false,
    };
    let recovered = Recovered {
        alive: vec![row],
        slaves: vec![slave],
        totals: BTreeMap::from([(State::Waiting, 1)]),
        next_sequence: 2,
        next_spec: 2,
        ..Recovered::default()
    };
    let now = Now { wall: Timestamp(1_000_000_000), boot: BootTime(5_000_000) };
    let core = Core::recover(recovered, &BTreeMap::from([(key, [100, 0, 0, 0])]), settings(), now);
    let mut bench = Bench { core, now, actions: Vec::new(), requests: 0 };
    bench.register(LINK, SLAVE, Registration { finished: vec![key], ..registration(1) });
    let mut result = finished(key, Outcome::Exited { code: 0 });
    result.tails[0].offset = 100;
    bench.report(LINK, Report::Finished(vec![result]));
    assert_eq!(bench.outcomes(), [Outcome::Exited { code: 0 }]);
}

#[test]
fn f16_a_result_whose_output_never_comes_is_kept_and_marked() {
    let mut bench = Bench::new();
    bench.slave(1);
    let key = attempt(bench.submit(1), 1);
    bench.report(LINK, Report::Started(vec![(key, Timestamp(5))]));
    let mut result = finished(key, Outcome::Exited { code: 0 });
    result.tails[0].offset = 1_000;
    bench.report(LINK, Report::Finished(vec![result]));
    bench.advance(Duration::from_secs(59));
    assert_eq!(bench.outcomes(), []);
    // Something comes: it is worth waiting on.
    bench.handle(Event::OutputStored { key, stream: common::message::Stream::Stdout, offset: 400 });
    bench.advance(Duration::from_secs(59));
    assert_eq!(bench.outcomes(), []);
    bench.advance(Duration::from_secs(10));
    let ended = |record| if let Record::Ended(ended) = record { Some((ended.bytes, ended.truncated)) } else { None };
    assert_eq!(bench.records().into_iter().find_map(ended), Some(([400, 0, 0, 0], true)));
}

#[test]
fn l10_more_output_than_the_limit_ends_as_truncated_and_not_never() {
    let mut bench = Bench::new();
    bench.slave(1);
    let key = attempt(bench.submit_with(1, |spec| spec.limits.output = common::ByteSize(1_000)), 1);
    let stream = common::message::Stream::Stdout;
    let chunk = 64 << 10;
    let (mut sent, mut kept) = (0_u64, 0);
    bench.told();
    for _ in 0..20 {
        let bytes = vec![7; chunk];
        bench.handle(Event::SlaveOutput { link: LINK, key, stream, offset: sent, bytes, guard: Guard(None) });
        sent += chunk as u64;
        for action in bench.told() {
            match &action {
                Action::Append { offset, bytes, .. } => {
                    kept = offset + bytes.len() as u64;
                    bench.handle(Event::OutputStored { key, stream, offset: kept });
                }
                // The slave goes on.
                Action::ToSlave(_, Order::Stored(stored)) => assert!(stored.iter().all(|up_to| up_to.offset <= sent)),
                Action::Record(_)
                | Action::ToSlave(..)
                | Action::ToClient(..)
                | Action::ToClients(..)
                | Action::AlertClient(..)
                | Action::AlertSlave(..)
                | Action::CutClient(..)
                | Action::CutSlave(..)
                | Action::Ask { .. }
                | Action::RemoveOutput(_)
                | Action::SendInput { .. }
                | Action::RemoveInput(_) => panic!("{action:?}"),
            }
        }
        bench.told();
    }
    assert!(kept > 1_000 && kept < sent / 2, "{kept} of {sent}");
    bench.records();
    let mut result = finished(key, Outcome::Exited { code: 0 });
    result.tails[0].offset = sent;
    bench.report(LINK, Report::Finished(vec![result]));
    let ended = |record| if let Record::Ended(ended) = record { Some((ended.bytes, ended.truncated)) } else { None };
    assert_eq!(bench.records().into_iter().find_map(ended), Some(([kept, 0, 0, 0], true)));
}

#[test]
fn f11_a_program_of_a_slave_that_is_away_is_shown_as_not_known() {
    let (mut bench, id) = Bench::two_slaves();
    bench.request(Request::Watch { programs: true, slaves: false, clients: false });
    bench.advance(Duration::from_secs(1));
    bench.told();
    let shown = |bench: &mut Bench| {
        bench.advance(Duration::from_secs(1));
        let mut views = Vec::new();
        for action in bench.told() {
            let Action::ToClient(CLIENT, Status::Changes(changes)) = action else { continue };
            for change in changes {
                if let Change::Program(view) = change {
                    views.push((view.id, view.unknown_since));
                }
            }
        }
        views
    };
    let at = bench.now.wall;
    bench.handle(Event::SlaveLeft(LINK));
    assert_eq!(shown(&mut bench), [(id, Some(at))]);
    let told = Registration { running: vec![(attempt(id, 1), Timestamp(5))], ..registration(1) };
    bench.register(LinkId(3), SLAVE, told);
    assert_eq!(shown(&mut bench), [(id, None)]);
}

#[test]
fn f10_what_strays_goes_on_straying_over_connections_and_a_restart_of_the_master() {
    let (mut bench, id) = Bench::two_slaves();
    let sent = bench.submit_with(2, |spec| {
        spec.retry = 1;
        spec.slave = Some("s1".into());
    });
    let keys = [attempt(id, 1), attempt(sent, 1)];
    bench.handle(Event::SlaveLeft(LINK));
    bench.records();
    bench.told();
    let other = || Registration { instance: 2, ..registration(1) };
    bench.register(LinkId(3), SLAVE, other());
    let seen = |records: Vec<Record>| {
        let instance = |record| if let Record::SlaveSeen(seen) = record { Some(seen.instance) } else { None };
        records.into_iter().filter_map(instance).next_back()
    };
    // A master that starts again meets another instance again.
    assert_eq!(seen(bench.records()), Some(1));
    bench.handle(Event::SlaveLeft(LinkId(3)));
    bench.register(LinkId(4), SLAVE, other());
    assert_eq!(seen(bench.records()), Some(1));
    assert!(bench.assigned().iter().all(|(_, key)| !keys.contains(key) && key.attempt == 1));
    bench.advance(Duration::from_secs(50));
    assert_eq!(seen(bench.records()), Some(2));
    let assigned: Vec<AttemptKey> = bench.assigned().into_iter().map(|(_, key)| key).collect();
    assert!(assigned.contains(&attempt(id, 2)) && assigned.contains(&attempt(sent, 2)), "{assigned:?}");
}

#[test]
fn f16_duplicates_and_any_order_of_reports_give_one_record() {
    let stream = common::message::Stream::Stdout;
    let end = |record| if let Record::Ended(ended) = record { Some((ended.outcome, ended.bytes)) } else { None };
    // Each order of: started, output, its end, given back, output again.
    let mut orders: Vec<Vec<usize>> = vec![vec![]];
    for _ in 0..5 {
        let longer = |order: &Vec<usize>| {
            let rest = (0..5).filter(|step| !order.contains(step)).collect::<Vec<_>>();
            rest.into_iter().map(|step| [order.as_slice(), &[step]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    assert_eq!(orders.len(), 120);
    for order in orders {
        let mut bench = Bench::new();
        bench.slave(1);
        let id = bench.submit(1);
        let key = attempt(id, 1);
        bench.told();
        let mut ended = Vec::new();
        // Twice each, and what the slave would not send again after its acknowledgement.
        for step in order.iter().chain(&order) {
            match step {
                0 => bench.report(LINK, Report::Started(vec![(key, Timestamp(5))])),
                2 => {
                    let mut result = finished(key, Outcome::Exited { code: 0 });
                    result.tails[0].offset = 2;
                    bench.report(LINK, Report::Finished(vec![result]));
                }
                3 => {
                    // It says that it never started: what was told before is not taken back.
                    if bench.core.by_id.contains_key(&id) && bench.view(id).state == State::Running {
                        bench.report(LINK, Report::Withdrawn(vec![key]));
                        assert_eq!(bench.view(id).state, State::Running, "{order:?}");
                    }
                }
                _ => {
                    let (bytes, guard) = (vec![1, 2], Guard(None));
                    bench.handle(Event::SlaveOutput { link: LINK, key, stream, offset: 0, bytes, guard });
                }
            }
            let appended = bench.actions.iter().any(|action| matches!(action, Action::Append { .. }));
            ended.extend(bench.records().into_iter().filter_map(end));
            bench.told();
            if appended {
                bench.handle(Event::OutputStored { key, stream, offset: 2 });
                ended.extend(bench.records().into_iter().filter_map(end));
            }
        }
        assert_eq!(ended, [(Outcome::Exited { code: 0 }, [2, 0, 0, 0])], "{order:?}");
    }
}
