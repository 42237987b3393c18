//! Many programs with one request: copies that are kept together, and one program for each entry.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one action among many")]

use super::*;
use crate::store::{load::ArrayRow, query::KnownProgram};
use common::{
    ErrorCode, UserError,
    escape::RawText,
    limits::{ENTRY_BYTES_MAX, FRAME_DATA_BYTES_MAX},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const FIRST: ProgramId = ProgramId(Uuid::from_u128(0x0197_0000_0000_7abc_8000_0000_0000_0100));

fn nth(n: u64) -> ProgramId {
    FIRST.nth(n).unwrap()
}

fn spec(name: &str) -> Box<ProgramSpec> {
    Box::new(ProgramSpec::new(name, Work::Command { command: "true".into() }))
}

fn copies(first: ProgramId, copies: u32, name: &str) -> Request {
    Request::SubmitCopies { first, copies, spec: spec(name) }
}

fn entries(first_index: u32, entries: &[&str]) -> Request {
    let entries = entries.iter().map(|entry| RawText::from(*entry)).collect();
    Request::SubmitEntries { first: FIRST, first_index, copies: 0, spec: spec("each"), entries }
}

/// The answer to a request, with nothing known to the store.
fn ask(bench: &mut Bench, request: Request) -> Result<Reply, UserError> {
    bench.request(request);
    let reply = |action| match action {
        Action::ToClient(CLIENT, Status::Reply { result, .. }) => Some(result),
        _ => None,
    };
    bench.told().into_iter().filter_map(reply).last().expect("an answer")
}

fn sequences(result: Result<Reply, UserError>) -> Vec<u64> {
    let Ok(Reply::Submitted { sequences }) = result else { panic!("{result:?}") };
    sequences
}

fn conflicts(result: &Result<Reply, UserError>) -> bool {
    result.as_ref().is_err_and(|error| error.is(ErrorCode::ProgramConflict))
}

#[test]
fn p1_copies_are_one_record_and_a_repeat_of_the_whole_is_harmless() {
    let mut bench = Bench::new();
    assert_eq!(sequences(ask(&mut bench, copies(FIRST, 1_000_000, "a"))), [1]);
    let again = ask(&mut bench, copies(FIRST, 1_000_000, "a"));
    assert_eq!(sequences(again), [1]);
    assert_eq!(bench.core.alive_count(), 1_000_000);
    assert_eq!(bench.core.programs.len(), 0, "nobody touched one");
    assert_eq!(sequences(ask(&mut bench, copies(nth(2_000_000), 2, "a"))), [1_000_001]);
    let Ok(Reply::Summary(summary)) = ask(&mut bench, Request::Summary) else { panic!() };
    assert_eq!((summary.waiting, summary.programs), (1_000_002, 1_000_002));
    // A single one of them, as any client may send it again.
    let one = Request::Submit { ids: vec![nth(5)], first_index: 5, copies: 1_000_000, spec: spec("a") };
    assert_eq!(sequences(ask(&mut bench, one)), [6]);
}

#[test]
fn p1_whatever_has_an_id_of_other_copies_is_refused() {
    let mut bench = Bench::new();
    let single = |id, name: &str| Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec: spec(name) };
    sequences(ask(&mut bench, copies(nth(100), 50, "a")));
    sequences(ask(&mut bench, single(nth(200), "a")));
    for request in [
        // Another body, another count, before, inside, behind, around; and around a single program.
        copies(nth(100), 50, "b"),
        copies(nth(100), 49, "a"),
        copies(nth(100), 51, "a"),
        copies(nth(51), 50, "a"),
        copies(nth(120), 10, "a"),
        copies(nth(149), 5, "a"),
        copies(nth(90), 80, "a"),
        copies(nth(190), 20, "a"),
        copies(nth(200), 1, "b"),
        single(nth(120), "a"),
        Request::Submit { ids: vec![nth(300), nth(110)], first_index: 0, copies: 2, spec: spec("a") },
    ] {
        let told = format!("{request:?}");
        assert!(conflicts(&ask(&mut bench, request)), "{told}");
    }
    sequences(ask(&mut bench, copies(nth(50), 50, "a")));
    sequences(ask(&mut bench, copies(nth(150), 50, "a")));
    // One that was touched, and one that ended, are known still.
    ask(&mut bench, Request::Cancel { ids: vec![nth(100), nth(120)] }).unwrap();
    assert_eq!(sequences(ask(&mut bench, copies(nth(100), 50, "a"))), [1]);
    for request in [copies(nth(120), 1, "a"), copies(nth(100), 1, "a"), copies(nth(100), 50, "b")] {
        assert!(conflicts(&ask(&mut bench, request)));
    }
    assert_eq!(bench.core.alive_count(), 50 + 1 + 100 - 2);
}

#[test]
fn p1_what_the_store_knows_of_copies_counts_too() {
    let mut bench = Bench::new();
    let hash = *blake3::hash(&common::frame::encode_record(&*spec("a"))).as_bytes();
    let known = |place: u64, sequence: u64| KnownProgram {
        id: nth(place),
        sequence,
        owner: "bob".into(),
        identity: hash,
        index: u32::try_from(place).unwrap(),
        copies: 10,
    };
    let owner = bench.core.clients[&CLIENT].user.to_string();
    let own = |mut known: KnownProgram| {
        known.owner.clone_from(&owner);
        known
    };
    let mut accept =
        |known: &[KnownProgram], copies: u32| bench.core.accept_copies(CLIENT, FIRST, copies, *spec("a"), known);
    let ends = [own(known(0, 5)), own(known(9, 14))];
    assert_eq!(sequences(accept(&ends, 10)), [5], "all of it ended before a restart");
    assert!(conflicts(&accept(&[known(0, 5), known(9, 14)], 10)), "somebody else's");
    assert!(conflicts(&accept(&[own(known(0, 5)), own(known(9, 15))], 10)), "two submits");
    assert!(conflicts(&accept(&[own(known(4, 9))], 10)), "one in the middle");
    assert!(conflicts(&accept(&[own(known(0, 5))], 11)));
}

#[test]
fn e9_counts_and_ids_that_do_not_fit_are_refused_by_name() {
    let mut bench = Bench::new();
    let last = ProgramId(Uuid::from_u128(0x0197_0000_0000_7abc_bfff_ffff_ffff_fff0));
    for (request, words) in [
        (copies(FIRST, 0, "a"), "a submit of 0 copies"),
        (copies(FIRST, 1_000_001, "a"), "1 to 1000000 are accepted"),
        (copies(last, 17, "a"), "has no room for 17 programs"),
        (entries(0, &[]), "a submit of 0 programs"),
        (entries(0, &["x"; 1_001]), "1 to 1000 are accepted at once"),
        (entries(u32::MAX, &["x"]), "runs over"),
        (entries(7, &["x", "a\0"]), "entry 8 holds a NUL byte"),
    ] {
        let error = ask(&mut bench, request).unwrap_err();
        assert!(error.is(ErrorCode::SubmitInvalid) && error.sentence.contains(words), "{error}");
    }
    assert_eq!(sequences(ask(&mut bench, copies(last, 16, "a"))), [1]);
    bench.core.settings.programs_per_user = 20;
    assert!(ask(&mut bench, copies(FIRST, 5, "a")).unwrap_err().is(ErrorCode::QuotaReached));
    assert_eq!(sequences(ask(&mut bench, copies(FIRST, 4, "a"))), [17]);
}

#[test]
fn e1_each_entry_is_a_program_of_its_own_with_its_arguments() {
    let mut bench = Bench::new();
    assert_eq!(sequences(ask(&mut bench, entries(0, &["a b", ""]))), [1, 2]);
    assert_eq!(sequences(ask(&mut bench, entries(2, &["c"]))), [3]);
    // A part that was sent again; another text at its place; a part that overlaps.
    assert_eq!(sequences(ask(&mut bench, entries(0, &["a b", ""]))), [1, 2]);
    assert_eq!(sequences(ask(&mut bench, entries(1, &["", "c", "d"]))), [2, 3, 4]);
    assert!(conflicts(&ask(&mut bench, entries(0, &["a b", "x"]))));
    assert!(conflicts(&ask(&mut bench, entries(3, &["c"]))));
    let arguments = |bench: &mut Bench, place| {
        let Ok(Reply::Spec(spec)) = ask(bench, Request::Spec { id: nth(place) }) else { panic!() };
        spec.arguments
    };
    assert_eq!(arguments(&mut bench, 0), ["a b".into()]);
    bench.slave(3);
    let sent: Vec<_> = bench
        .told()
        .into_iter()
        .filter_map(|action| match action {
            Action::ToSlave(_, Order::Assign(sent)) => Some(sent),
            _ => None,
        })
        .flatten()
        .map(|sent| (sent.key.program, sent.index, sent.spec.arguments.clone()))
        .collect();
    let expected = [(0, "a b"), (1, ""), (2, "c"), (3, "d")];
    assert_eq!(sent, expected.map(|(place, text)| (nth(place.into()), place, vec![text.into()])));
}

#[test]
fn p7_an_entry_that_stands_in_many_arguments_makes_no_order_that_is_too_large() {
    let mut bench = Bench::new();
    let mut spec = spec("each");
    spec.arguments = vec!["{}".into(); 15];
    let entries = vec![RawText(vec![b'x'; ENTRY_BYTES_MAX]); 40];
    let submit = Request::SubmitEntries { first: FIRST, first_index: 0, copies: 0, spec, entries };
    assert_eq!(sequences(ask(&mut bench, submit)).len(), 40);
    bench.slave(40);
    let orders: Vec<_> = bench
        .told()
        .into_iter()
        .filter_map(|action| match action {
            Action::ToSlave(_, Order::Assign(sent)) => Some(sent),
            _ => None,
        })
        .collect();
    assert_eq!(orders.iter().map(Vec::len).sum::<usize>(), 40);
    for order in orders {
        let bytes: usize = order.iter().flat_map(|sent| &sent.spec.arguments).map(|argument| argument.0.len()).sum();
        assert!(bytes < FRAME_DATA_BYTES_MAX / 2, "{bytes} bytes in one order");
    }
}

#[test]
fn e9_copies_that_no_slave_can_run_end_part_by_part() {
    let mut bench = Bench::new();
    bench.slave(1);
    let work = Work::Source { language: "Nothing".into(), file_name: "a.x".into(), text: b"xxxxxxxx"[..].into() };
    let spec = Box::new(ProgramSpec::new("p", work));
    bench.request(Request::SubmitCopies { first: FIRST, copies: 10_000, spec });
    let mut ended = 0;
    for batch in 1..=3 {
        ended += bench.records().iter().filter(|record| matches!(record, Record::Ended(_))).count();
        assert_eq!(ended, (4_096 * batch).min(10_000), "one part a commit, so that memory stays bounded");
        let mark = bench.core.mark();
        bench.handle(Event::Committed(mark));
    }
    assert_eq!((bench.core.alive_count(), bench.core.impossible_left), (0, false));
}

#[test]
fn e7_a_copy_is_shown_without_being_touched_and_explained_like_any_other() {
    let mut bench = Bench::new();
    ask(&mut bench, copies(FIRST, 5_000, "a")).unwrap();
    let Ok(Reply::Program(view)) = ask(&mut bench, Request::Show { id: nth(4_321) }) else { panic!() };
    assert_eq!((view.sequence, view.index, view.copies, view.state), (4_322, 4_321, 5_000, State::Waiting));
    assert_eq!(bench.core.programs.len(), 0);
    let Ok(Reply::Why(why)) = ask(&mut bench, Request::Why { id: nth(4_321) }) else { panic!() };
    assert_eq!(why.ahead, Some(4_321));
    assert_eq!(bench.core.programs.len(), 1);
    assert!(ask(&mut bench, Request::Show { id: nth(4_321) }).is_ok());
}

#[test]
fn e8_watchers_hear_of_few_copies_one_by_one_and_of_many_at_once() {
    for (count, many) in [(3, false), (100_000, true)] {
        let mut bench = Bench::new();
        ask(&mut bench, Request::Watch { programs: true, slaves: false, clients: false }).unwrap();
        bench.advance(Duration::from_secs(1));
        bench.told();
        bench.request(copies(FIRST, count, "a"));
        bench.advance(Duration::from_secs(1));
        let changes: Vec<Change> = bench
            .told()
            .into_iter()
            .filter_map(|action| match action {
                Action::ToClient(CLIENT, Status::Changes(changes)) => Some(changes),
                _ => None,
            })
            .flatten()
            .collect();
        let rows = changes.iter().filter(|change| matches!(change, Change::Program(_))).count();
        let told_many = changes.iter().any(|change| matches!(change, Change::ManyPrograms));
        assert_eq!((rows, told_many), (if many { 0 } else { 3 }, many));
    }
}

/// A history of five copies that wait, the third of them touched before.
fn recovered() -> Recovered {
    let spec: std::sync::Arc<ProgramSpec> = (*spec("a")).into();
    let hash = *blake3::hash(&common::frame::encode_record(&*spec)).as_bytes();
    let array = |first: u64, count: u64| ArrayRow {
        first,
        id: nth(first),
        index: u32::try_from(first - 1).unwrap(),
        count,
        copies: 5,
        spec_key: 1,
        spec: spec.clone(),
        spec_hash: hash,
        user: "ann".into(),
        client: CLIENT,
        submitted_at: Timestamp(5),
    };
    let touched = AliveRow {
        sequence: 3,
        id: nth(3),
        spec_key: 1,
        spec: spec.clone(),
        spec_hash: hash,
        user: "ann".into(),
        client: CLIENT,
        index: 2,
        copies: 5,
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
    Recovered {
        alive: vec![touched],
        arrays: vec![array(1, 2), array(4, 2)],
        totals: BTreeMap::from([(State::Waiting, 5)]),
        next_sequence: 6,
        next_spec: 2,
        ..Recovered::default()
    }
}

#[test]
fn e13_copies_of_a_history_go_on_in_their_order() {
    let mut bench = Bench::recovered(recovered());
    bench.core.check_invariants();
    bench.slave(5);
    let sent: Vec<ProgramId> = bench.assigned().into_iter().map(|(_, key)| key.program).collect();
    assert_eq!(sent, (1..=5).map(nth).collect::<Vec<_>>());
    // The submit is known still, and what follows does not take its places.
    assert_eq!(sequences(ask(&mut bench, copies(nth(1), 5, "a"))), [1]);
    assert_eq!(sequences(ask(&mut bench, copies(nth(10), 2, "a"))), [6]);
}

#[test]
fn p3_copies_of_a_restored_history_wait_until_nothing_of_the_one_before_can_run() {
    let mut bench = Bench::with(recovered(), Settings { epoch: 2, ..settings() });
    bench.slave(5);
    bench.advance(Duration::from_secs(20));
    assert_eq!(bench.assigned(), []);
    // One that somebody touches meanwhile waits with the others.
    let sentence = bench.why(nth(5));
    assert!(sentence.contains("restored from a backup"), "{sentence}");
    ask(&mut bench, Request::Cancel { ids: vec![nth(2)] }).unwrap();
    bench.advance(Duration::from_secs(29));
    assert_eq!(bench.assigned(), []);
    bench.advance(Duration::from_secs(2));
    let sent: Vec<ProgramId> = bench.assigned().into_iter().map(|(_, key)| key.program).collect();
    assert_eq!(sent, [1, 3, 4, 5].map(nth));
}

#[test]
fn e13_a_result_without_a_word_of_its_start_is_a_start_and_an_end() {
    let mut bench = Bench::new();
    ask(&mut bench, copies(FIRST, 2, "a")).unwrap();
    bench.slave(1);
    let key = bench.assigned()[0].1;
    bench.records();
    // A program that is handed over and not known to run.
    assert_eq!(bench.view(key.program).state, State::Waiting);
    let mut finished = finished(key, Outcome::Exited { code: 0 });
    let (started, ended) = (bench.now.wall, Timestamp(bench.now.wall.0 + 700));
    bench.advance(Duration::from_secs(1));
    (finished.started_at, finished.ended_at) = (Some(started), ended);
    bench.records();
    bench.report(LINK, Report::Finished(vec![finished]));
    let records = bench.records();
    let starts = |record: &&Record| matches!(record, Record::Moved(moved) if moved.state == State::Running);
    let start = records.iter().position(|record| starts(&record)).expect("a start");
    let Some(Record::Ended(end)) = records.get(start + 1) else { panic!("{records:?}") };
    assert_eq!((end.was, end.started_at, end.ended_at), (State::Running, Some(started), ended));
    let Ok(Reply::Summary(summary)) = ask(&mut bench, Request::Summary) else { panic!() };
    assert_eq!((summary.running, summary.done, summary.waiting), (0, 1, 1));
}

/// What people and slaves may do to copies.
#[derive(Clone, Copy, Debug)]
enum Step {
    Cancel(u64),
    Wait(u64),
    Show(u64),
    Resubmit(u64),
    Slots(u32),
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..40).prop_map(Step::Cancel),
        (0_u64..40).prop_map(Step::Wait),
        (0_u64..40).prop_map(Step::Show),
        (0_u64..40).prop_map(Step::Resubmit),
        (0_u32..4).prop_map(Step::Slots),
        Just(Step::End),
    ]
}

/// Everything that a core says and records, but for how it keeps what nobody touched.
fn outcome_of(together: bool, steps: &[Step]) -> (Vec<String>, u64, BTreeSet<ProgramId>) {
    let mut bench = Bench::new();
    if together {
        bench.request(copies(FIRST, 40, "a"));
    } else {
        let ids = (0..40).map(nth).collect();
        bench.request(Request::Submit { ids, first_index: 0, copies: 40, spec: spec("a") });
    }
    // Only this answer differs.
    bench.told();
    bench.slave(2);
    let mut said = Vec::new();
    let mut held: Vec<AttemptKey> = Vec::new();
    for step in std::iter::once(Step::Show(0)).chain(steps.iter().copied()) {
        match step {
            Step::Cancel(n) => bench.request(Request::Cancel { ids: vec![nth(n)] }),
            Step::Wait(n) => bench.request(Request::Wait { ids: vec![nth(n), nth((n + 7) % 40)] }),
            Step::Show(n) => bench.request(Request::Show { id: nth(n) }),
            Step::Resubmit(n) => {
                let index = u32::try_from(n).unwrap();
                bench.request(Request::Submit { ids: vec![nth(n)], first_index: index, copies: 40, spec: spec("a") });
            }
            Step::Slots(slots) => bench.request(Request::SetMaxProcesses { slave: None, slots }),
            Step::End => {
                if !held.is_empty() {
                    let key = held.remove(0);
                    let report = Report::Finished(vec![finished(key, Outcome::Exited { code: 0 })]);
                    bench.handle(Event::SlaveReported { link: LINK, report });
                }
            }
        }
        bench.core.check_invariants();
        for action in bench.told() {
            match action {
                Action::ToSlave(_, Order::Assign(sent)) => held.extend(sent.iter().map(|sent| sent.key)),
                Action::ToSlave(_, Order::Withdraw(keys)) => {
                    // What is asked back is given back at once.
                    held.retain(|key| !keys.contains(key));
                    bench.handle(Event::SlaveReported { link: LINK, report: Report::Withdrawn(keys) });
                }
                Action::ToSlave(_, Order::Cancel { keys, .. }) => {
                    held.retain(|key| !keys.contains(key));
                    bench.handle(Event::SlaveReported { link: LINK, report: Report::Withdrawn(keys) });
                }
                other => said.push(format!("{other:?}")),
            }
        }
    }
    let alive = bench.core.alive_count();
    let ids = (0..40).map(nth).filter(|id| bench.core.sequence_of(*id).is_some()).collect();
    (said, alive, ids)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn e3_copies_that_are_kept_together_behave_like_programs_that_are_not(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        let (together, alone) = (outcome_of(true, &steps), outcome_of(false, &steps));
        prop_assert_eq!(together, alone);
    }
}
