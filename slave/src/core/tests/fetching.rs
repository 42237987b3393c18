//! Input files: asked for once, in windows, again after a cut; nobody is held up by the files of another.

use super::*;
use crate::files::Held;
use common::{id::Digest, limits::INPUT_WINDOW_BYTES, program::InputFile, units::ByteSize};

const SIZE: u64 = 3 * INPUT_WINDOW_BYTES - 7;

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

fn assign_with(number: u128, digests: &[u8]) -> Event {
    let mut spec = ProgramSpec::new("x", Work::Command { command: "x".into() });
    let input = |number: &u8| InputFile {
        name: format!("in-{number}").as_str().into(),
        digest: digest(*number),
        size: ByteSize(SIZE),
        executable: false,
    };
    spec.inputs = digests.iter().map(input).collect();
    Event::Order(Order::Assign(vec![Assignment { key: key(number), spec: spec.into(), index: 0, fence: 1 }]))
}

fn held(number: u8, held: Held) -> Event {
    Event::InputHeld { digest: digest(number), result: Ok(held) }
}

fn fetch(number: u128, file: u8, offset: u64) -> Action {
    Action::Report(Report::Fetch { key: key(number), digest: digest(file), offset })
}

fn look(file: u8) -> Action {
    Action::LookForInput { digest: digest(file), size: SIZE }
}

impl Bench {
    fn take(&mut self) -> Vec<Action> {
        self.actions.drain(..).collect()
    }

    /// The attempts that were started; other actions are dropped.
    fn started(&mut self) -> Vec<AttemptKey> {
        let started = |action| if let Action::Start(assignment) = action { Some(assignment.key) } else { None };
        self.take().into_iter().filter_map(started).collect()
    }
}

#[test]
fn e5_a_file_is_fetched_once_for_all_and_holds_up_nobody_else() {
    let mut bench = Bench::connected(4);
    bench.take();
    bench.event(assign_with(1, &[7]));
    assert_eq!(bench.take(), [look(7)]);
    bench.event(assign_with(2, &[7]));
    assert_eq!(bench.take(), []);
    bench.event(assign_with(3, &[]));
    assert_eq!(bench.started(), [key(3)], "who needs nothing starts before those who wait");
    bench.event(held(7, Held::Part(0)));
    assert_eq!(bench.take(), [fetch(1, 7, 0)]);
    bench.event(held(7, Held::Part(64 << 10)));
    assert_eq!(bench.take(), [], "the window is on its way");
    bench.event(held(7, Held::Part(INPUT_WINDOW_BYTES)));
    assert_eq!(bench.take(), [fetch(1, 7, INPUT_WINDOW_BYTES)]);
    bench.event(held(7, Held::Part(2 * INPUT_WINDOW_BYTES)));
    assert_eq!(bench.take(), [fetch(1, 7, 2 * INPUT_WINDOW_BYTES)]);
    bench.event(held(7, Held::Whole));
    assert_eq!(bench.started(), [key(1), key(2)]);
    // It is kept until both have ended.
    bench.ended(1);
    assert!(!bench.take().contains(&Action::ReleaseInput(digest(7))));
    bench.ended(2);
    assert!(bench.take().contains(&Action::ReleaseInput(digest(7))));
}

#[test]
fn s7_after_a_cut_only_what_is_missing_is_asked_for_again() {
    let mut bench = Bench::connected(1);
    bench.event(assign_with(1, &[7]));
    bench.event(held(7, Held::Part(0)));
    bench.event(held(7, Held::Part(100)));
    bench.take();
    bench.event(Event::Disconnected);
    bench.event(held(7, Held::Part(200)));
    assert_eq!(bench.take(), []);
    bench.register(1);
    assert!(bench.take().contains(&fetch(1, 7, 200)));
    // What does not come is asked for again.
    bench.millis += 19_000;
    bench.event(Event::Tick);
    assert_eq!(bench.take(), []);
    let (at, why) = bench.core.next_deadline().unwrap();
    assert!(at.0 > bench.millis * 1_000, "{why}");
    bench.millis += 1_500;
    bench.event(Event::Tick);
    assert_eq!(bench.take(), [fetch(1, 7, 200)]);
}

#[test]
fn s5_a_fetch_goes_on_in_the_name_of_an_attempt_that_is_still_here() {
    let mut bench = Bench::connected(1);
    bench.event(assign_with(1, &[7]));
    bench.event(assign_with(2, &[7]));
    bench.event(held(7, Held::Part(0)));
    bench.take();
    bench.order(Order::Withdraw(vec![key(1)]));
    let told = bench.take();
    assert!(told.contains(&fetch(2, 7, 0)), "{told:?}");
    bench.order(Order::Cancel { keys: vec![key(2)], by: "ann".into() });
    assert!(bench.take().contains(&Action::ReleaseInput(digest(7))));
}

#[test]
fn e9_a_file_that_the_master_does_not_have_ends_those_who_wait_for_it_with_a_reason() {
    let mut bench = Bench::connected(4);
    bench.event(assign_with(1, &[7]));
    bench.event(assign_with(2, &[8]));
    bench.event(held(7, Held::Part(0)));
    bench.event(held(8, Held::Part(0)));
    bench.take();
    bench.order(Order::InputMissing(digest(9)));
    assert_eq!(bench.take(), [], "nobody asked for that");
    bench.order(Order::InputMissing(digest(7)));
    let outcome = |bench: &mut Bench, number| {
        bench.take().into_iter().find_map(|action| match action {
            Action::ReportFinished(head) if head.end.key == key(number) => Some(head.end.outcome),
            _ => None,
        })
    };
    let Some(Outcome::NotSupported { detail }) = outcome(&mut bench, 1) else { panic!() };
    assert!(detail.contains("E-INPUT-MISSING") && detail.contains("in-7"), "{detail}");
    // Another content twice, and a disk that takes nothing.
    bench.event(held(8, Held::Damaged));
    assert_eq!(bench.take(), [look(8)]);
    bench.event(held(8, Held::Part(0)));
    bench.event(held(8, Held::Damaged));
    assert!(matches!(outcome(&mut bench, 2), Some(Outcome::Lost { .. })));
    bench.event(assign_with(3, &[9]));
    let result = Err("no space left".to_owned());
    bench.event(Event::InputHeld { digest: digest(9), result });
    let Some(Outcome::Lost { detail }) = outcome(&mut bench, 3) else { panic!() };
    assert!(detail.contains("no space left") && detail.contains("in-9"), "{detail}");
}

#[test]
fn p7_few_files_are_fetched_at_once() {
    let mut bench = Bench::connected(1);
    bench.event(assign_with(1, &[1, 2, 3, 4, 5, 6]));
    for number in 1..=6 {
        bench.event(held(number, Held::Part(0)));
    }
    let fetches = |actions: Vec<Action>| {
        actions.iter().filter(|action| matches!(action, Action::Report(Report::Fetch { .. }))).count()
    };
    assert_eq!(fetches(bench.take()), 4);
    bench.event(held(1, Held::Whole));
    assert_eq!(fetches(bench.take()), 1);
    for number in 2..=5 {
        bench.event(held(number, Held::Whole));
    }
    assert_eq!(bench.started(), []);
    bench.event(held(6, Held::Whole));
    assert_eq!(bench.started(), [key(1)]);
    // Damage that is found while it runs is fetched for those who wait.
    bench.event(assign_with(2, &[6]));
    bench.take();
    bench.event(held(6, Held::Damaged));
    assert_eq!(bench.take(), [look(6)]);
}

#[test]
fn s3_only_what_was_asked_for_is_taken() {
    let (piece, window) = (65_536, INPUT_WINDOW_BYTES);
    let mut bench = Bench::connected(4);
    let taken = |bench: &Bench, offset, bytes| bench.core.asked_for(digest(7), offset, SIZE, bytes);
    assert!(!taken(&bench, 0, piece), "of no program");
    bench.event(assign_with(1, &[7]));
    assert!(!taken(&bench, 0, piece), "nobody knows how much is here");
    bench.event(held(7, Held::Part(window)));
    assert!(taken(&bench, window, piece));
    assert!(taken(&bench, 2 * window - 1, 1));
    assert!(!taken(&bench, window, piece + 1), "a piece that is too long");
    assert!(!taken(&bench, window, 0), "nothing at all");
    assert!(!taken(&bench, window - 1, 1), "before what was asked for");
    assert!(!taken(&bench, 2 * window - 1, 2), "beyond what was asked for");
    assert!(!taken(&bench, u64::MAX, piece));
    assert!(!bench.core.asked_for(digest(7), window, SIZE + 1, piece), "of another size");
    assert!(!bench.core.asked_for(digest(8), window, SIZE, piece), "another file");
    bench.event(held(7, Held::Whole));
    assert!(!taken(&bench, window, piece), "it is here");
}
