//! Input files: what is needed stays, what nothing needs makes room, and slaves see only what is theirs.

use super::*;
use common::{id::Digest, program::InputFile, units::ByteSize};

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

fn kept(bench: &mut Bench, number: u8, size: u64) {
    bench.handle(Event::InputKept { digest: digest(number), size });
}

fn with_inputs(numbers: &'static [u8]) -> impl FnOnce(&mut ProgramSpec) {
    |spec: &mut ProgramSpec| {
        let input = |number: &u8| InputFile {
            name: format!("in-{number}").as_str().into(),
            digest: digest(*number),
            size: ByteSize(10),
            executable: false,
        };
        spec.inputs = numbers.iter().map(input).collect();
    }
}

fn removed(bench: &mut Bench) -> Vec<Digest> {
    bench.handle(Event::Tick);
    let removed = |action| if let Action::RemoveInput(digest) = action { Some(digest) } else { None };
    bench.told().into_iter().filter_map(removed).collect()
}

fn refusal(bench: &mut Bench) -> common::UserError {
    let told = bench.told();
    let [Action::ToClient(_, Status::Reply { result: Err(error), .. })] = told.as_slice() else { panic!("{told:?}") };
    error.clone()
}

#[test]
fn e9_a_submit_without_its_input_files_is_refused_by_name_and_leaves_nothing() {
    let mut bench = Bench::new();
    kept(&mut bench, 1, 10);
    bench.submit_with(1, with_inputs(&[1, 2]));
    assert!(bench.records().is_empty());
    let error = refusal(&mut bench);
    assert!(error.is(common::ErrorCode::InputMissing) && error.sentence.contains("in-2"), "{error}");
    kept(&mut bench, 2, 11);
    bench.submit_with(1, with_inputs(&[1, 2]));
    assert!(refusal(&mut bench).is(common::ErrorCode::InputDamaged), "another size than was said");
    bench.submit_with(2, with_inputs(&[1]));
    assert!(!bench.records().is_empty());
}

#[test]
fn e9_what_is_needed_is_never_removed_and_the_longest_unused_goes_first() {
    let mut bench = Bench::new();
    bench.core.inputs_found(vec![(digest(9), 10)], 40);
    for number in [1, 2, 3] {
        kept(&mut bench, number, 10);
    }
    let id = bench.submit_with(1, with_inputs(&[1]));
    // Copies share a body, and it is counted once.
    let other = bench.submit_with(2, with_inputs(&[1, 9]));
    bench.told();
    bench.core.room_for_input(10).unwrap();
    assert_eq!(removed(&mut bench), [digest(2)]);
    bench.core.room_for_input(20).unwrap();
    assert_eq!(removed(&mut bench), [digest(3)]);
    let error = bench.core.room_for_input(21).unwrap_err();
    assert!(error.is(common::ErrorCode::StorageFull), "{error}");
    assert_eq!(removed(&mut bench), []);
    bench.request(Request::Cancel { ids: vec![id] });
    assert!(bench.core.room_for_input(30).is_err(), "the other one needs it still");
    bench.request(Request::Cancel { ids: vec![other] });
    bench.told();
    bench.core.room_for_input(30).unwrap();
    assert_eq!(removed(&mut bench).len(), 1);
    // A submit of what has gone says so.
    bench.submit_with(3, with_inputs(&[2]));
    assert!(refusal(&mut bench).is(common::ErrorCode::InputMissing));
}

#[test]
fn s5_a_slave_gets_only_the_inputs_of_its_own_attempts() {
    let mut bench = Bench::new();
    kept(&mut bench, 1, 10);
    kept(&mut bench, 2, 10);
    bench.slave(1);
    let other = LinkId(2);
    let second = SlaveId(Uuid::from_u128(10));
    bench.handle(Event::SlaveEnrolled { id: second, name: "s2".into(), retired: None });
    bench.register(other, second, registration(0));
    let id = bench.submit_with(1, with_inputs(&[1]));
    assert_eq!(bench.assigned(), [(LINK, attempt(id, 1))]);
    let fetch = |key, number| Report::Fetch { key, digest: digest(number), offset: 5 };
    for (link, key, number) in [
        (other, attempt(id, 1), 1),
        (LINK, attempt(id, 1), 2),
        (LINK, attempt(id, 2), 1),
        (LINK, attempt(ProgramId(Uuid::nil()), 1), 1),
        (LinkId(77), attempt(id, 1), 1),
    ] {
        bench.report(link, fetch(key, number));
        bench.assert_no_more_actions();
    }
    bench.report(LINK, fetch(attempt(id, 1), 1));
    let told = bench.told();
    assert!(
        matches!(told.as_slice(), [Action::SendInput { link: LINK, digest: sent, offset: 5 }] if *sent == digest(1)),
        "{told:?}"
    );
    bench.finish(LINK, attempt(id, 1), Outcome::Exited { code: 0 });
    bench.told();
    bench.report(LINK, fetch(attempt(id, 1), 1));
    bench.assert_no_more_actions();
}

#[test]
fn e13_after_a_restart_what_was_needed_is_needed() {
    let mut spec = ProgramSpec::new("p", Work::Command { command: "true".into() });
    with_inputs(&[1])(&mut spec);
    let row = AliveRow {
        sequence: 1,
        id: ProgramId(Uuid::from_u128(1)),
        spec_key: 1,
        spec: spec.into(),
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
    let recovered = Recovered {
        alive: vec![row],
        totals: BTreeMap::from([(State::Waiting, 1)]),
        next_sequence: 2,
        next_spec: 2,
        ..Recovered::default()
    };
    let mut bench = Bench::recovered(recovered);
    bench.core.inputs_found(vec![(digest(1), 10), (digest(2), 10)], 20);
    bench.told();
    bench.core.room_for_input(10).unwrap();
    assert_eq!(removed(&mut bench), [digest(2)]);
    assert!(bench.core.room_for_input(20).is_err());
    bench.core.check_invariants();
}

#[test]
fn e13_collected_files_are_a_stream_like_the_others_and_only_where_they_are_wanted() {
    let mut bench = Bench::new();
    bench.slave(2);
    let plain = attempt(bench.submit_with(1, |_| ()), 1);
    let collects = attempt(bench.submit_with(2, |spec| spec.collect = vec!["out".into()]), 1);
    bench.report(LINK, Report::Started(vec![(plain, Timestamp(5)), (collects, Timestamp(5))]));
    bench.told();
    let stream = common::message::Stream::Files;
    let bytes = vec![7; common::limits::OUTPUT_CHUNK_BYTES_MAX];
    let output =
        |key, offset| Event::SlaveOutput { link: LINK, key, stream, offset, bytes: bytes.clone(), guard: Guard(None) };
    bench.handle(output(collects, 0));
    let told = bench.told();
    assert!(matches!(told.as_slice(), [Action::Append { stream: common::message::Stream::Files, .. }]), "{told:?}");
    // A result is not complete before the files are stored.
    let mut result = finished(collects, Outcome::Exited { code: 0 });
    result.tails[stream as usize].offset = bytes.len() as u64;
    bench.report(LINK, Report::Finished(vec![result]));
    assert_eq!(bench.outcomes(), []);
    bench.handle(Event::OutputStored { key: collects, stream, offset: bytes.len() as u64 });
    assert_eq!(bench.outcomes(), [Outcome::Exited { code: 0 }]);
    bench.told();
    // Nobody asked for files of this one: a little is stored as with any limit, then no more.
    bench.handle(output(plain, 0));
    bench.told();
    bench.handle(output(plain, bytes.len() as u64));
    let told = bench.told();
    assert!(matches!(told.as_slice(), [Action::ToSlave(LINK, Order::Stored(_))]), "{told:?}");
}
