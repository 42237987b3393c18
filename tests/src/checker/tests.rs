//! A good history is green, and each rule flags the history that breaks it and no other.

use super::*;
use crate::witness::{Mark, output_of};
use uuid::Uuid;

const BYTES: usize = 40;

fn id(n: u128) -> ProgramId {
    ProgramId(Uuid::from_u128(n))
}

fn call(at: u64, operation: Operation, phase: Phase) -> Call {
    Call { at, client: 1, operation, phase }
}

fn submit(n: u128, retry: u32) -> Operation {
    Operation::Submit { id: id(n), retry, bytes: BYTES }
}

fn line(n: u128, attempt: u32, mark: Mark, at: u64) -> Line {
    Line { id: id(n), attempt, fence: (1 << 32) + u64::from(attempt), node: "pc-01".into(), mark, at }
}

/// Three programs: one done, one cancelled while it ran, one done by its second attempt.
fn good() -> Evidence {
    let mut calls = Vec::new();
    for (n, retry) in [(1, 0), (2, 0), (3, 2)] {
        calls.push(call(100, submit(n, retry), Phase::Invoke));
        calls.push(call(200, submit(n, retry), Phase::Ok));
        calls.push(call(250, Operation::Look { id: id(n) }, Phase::Ok));
    }
    calls.push(call(1_000, Operation::Cancel { id: id(2) }, Phase::Ok));
    calls.push(call(90_000, Operation::Saw { id: id(1), state: State::Done }, Phase::Ok));
    let witness = vec![
        line(1, 1, Mark::Begin, 300),
        line(1, 1, Mark::Alive, 400),
        line(1, 1, Mark::End, 500),
        line(2, 1, Mark::Begin, 300),
        line(2, 1, Mark::Alive, 1_100),
        line(3, 1, Mark::Begin, 300),
        line(3, 1, Mark::Alive, 2_000),
        line(3, 2, Mark::Begin, 9_000),
        line(3, 2, Mark::End, 9_500),
    ];
    let row =
        |n, state, attempt, ended: u64| Row { id: id(n), state, attempt, ended_at: Some(ended), detail: String::new() };
    let rows = vec![row(1, State::Done, 1, 600), row(2, State::Cancelled, 1, 1_200), row(3, State::Done, 2, 9_600)];
    let outputs = BTreeMap::from([
        (id(1), output_of(id(1), 1, BYTES)),
        (id(2), output_of(id(2), 1, BYTES / 2)),
        (id(3), output_of(id(3), 2, BYTES)),
    ]);
    let reading = Reading { rows, outputs };
    Evidence { calls, witness, first: reading.clone(), second: reading }
}

/// Changes both readings alike.
fn both(evidence: &mut Evidence, change: impl Fn(&mut Reading)) {
    change(&mut evidence.first);
    change(&mut evidence.second);
}

#[track_caller]
fn check_flags(rules: Rules, spoil: impl FnOnce(&mut Evidence), expected: &str) {
    let mut evidence = good();
    spoil(&mut evidence);
    let report = check(&evidence, &rules);
    let words: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), 1, "one violation and no other: {report}");
    assert!(words[0].contains(expected), "`{}` does not say `{expected}`", words[0]);
}

#[test]
fn a_good_history_is_green_and_counted() {
    let report = check(&good(), &Rules::STRICT);
    assert!(report.is_green(), "{report}");
    assert_eq!((report.submitted, report.acknowledged, report.done, report.cancelled), (3, 3, 2, 1));
    assert_eq!(report.reruns, 1);
}

#[test]
fn an_unknown_submit_may_be_there_or_not() {
    for there in [true, false] {
        let mut evidence = good();
        evidence.calls.push(call(300, submit(4, 0), Phase::Invoke));
        evidence.calls.push(call(400, submit(4, 0), Phase::Info));
        if there {
            let mut row = evidence.first.rows[0].clone();
            row.id = id(4);
            both(&mut evidence, |reading| {
                reading.rows.push(row.clone());
                reading.outputs.insert(id(4), output_of(id(4), 1, BYTES));
            });
            evidence.witness.extend([line(4, 1, Mark::Begin, 500), line(4, 1, Mark::End, 550)]);
        }
        let report = check(&evidence, &Rules { acknowledged_min: 0.7, ..Rules::STRICT });
        assert!(report.is_green(), "{report}");
        assert_eq!((report.unknown, report.recovered), (1, usize::from(there)));
    }
}

#[test]
fn what_the_history_must_hold() {
    let strict = Rules::STRICT;
    // The witness of a program that is not in the history says nothing by itself.
    check_flags(strict, |e| both(e, |r| drop(r.rows.remove(0))), "not in the history");
    check_flags(
        strict,
        |e| {
            let mut row = e.first.rows[1].clone();
            (row.id, row.state) = (id(9), State::Lost);
            both(e, |r| r.rows.push(row.clone()));
        },
        "nobody submitted it",
    );
    check_flags(
        strict,
        |e| {
            let row = e.first.rows[0].clone();
            e.first.rows.push(row);
        },
        "twice",
    );
    check_flags(strict, |e| e.second.rows[0].attempt = 7, "changed after its end");
    check_flags(strict, |e| drop(e.second.rows.remove(0)), "it is gone");
    check_flags(strict, |e| drop(e.second.outputs.insert(id(1), b"x".to_vec())), "its output");
    let seen = Operation::Saw { id: id(3), state: State::Lost };
    check_flags(strict, |e| e.calls.push(call(99_000, seen, Phase::Ok)), "lost became done");
    let look = Operation::Look { id: id(1) };
    check_flags(strict, |e| e.calls.push(call(260, look, Phase::Fail)), "did not find it");
}

#[test]
fn how_a_program_may_end() {
    let strict = Rules::STRICT;
    let end = |e: &mut Evidence, n: usize, state: State| both(e, |r| r.rows[n].state = state);
    check_flags(strict, |e| end(e, 1, State::Running), "still running");
    check_flags(strict, |e| end(e, 1, State::Lost), "lost without a reason");
    check_flags(strict, |e| end(e, 1, State::Failed), "failed without a reason");
    check_flags(Rules::LOSING, |e| end(e, 2, State::Lost), "though 3 are allowed");
}

#[test]
fn a_cancelled_program_that_nobody_cancelled_is_flagged() {
    check_flags(
        Rules::STRICT,
        |e| e.calls.retain(|call| !matches!(call.operation, Operation::Cancel { .. })),
        "cancelled without a reason",
    );
}

#[test]
fn a_refused_submit_has_no_effect() {
    let refused = [call(300, submit(4, 0), Phase::Invoke), call(400, submit(4, 0), Phase::Fail)];
    let rules = Rules { acknowledged_min: 0.7, ..Rules::STRICT };
    let ran = refused.clone();
    check_flags(
        rules,
        |e| {
            e.calls.extend(ran);
            e.witness.push(line(4, 1, Mark::Begin, 500));
        },
        "no submit of it was accepted",
    );
    check_flags(
        rules,
        |e| {
            e.calls.extend(refused);
            let mut row = e.first.rows[1].clone();
            row.id = id(4);
            both(e, |r| r.rows.push(row.clone()));
        },
        "though its submit was refused",
    );
}

#[test]
fn what_the_witness_must_tell() {
    let strict = Rules::STRICT;
    let forget = |e: &mut Evidence, n: u128, mark: Mark| e.witness.retain(|l| l.id != id(n) || l.mark != mark);
    check_flags(strict, |e| forget(e, 1, Mark::End), "never came to its end");
    check_flags(strict, |e| e.witness.retain(|l| l.id != id(1)), "never came to its end");
    check_flags(strict, |e| e.witness.push(line(9, 1, Mark::Begin, 500)), "no submit of it was accepted");
    // Attempt 2 of a program that may start once; before its end is shown.
    check_flags(strict, |e| e.witness.extend([line(2, 2, Mark::Begin, 1_150)]), "started 2 times, 1 are allowed");
    // Attempt 1 still writes when attempt 2 has begun.
    check_flags(strict, |e| e.witness.push(line(3, 1, Mark::Alive, 9_100)), "attempts 1 and 2 ran at once");
    check_flags(
        strict,
        |e| e.witness.iter_mut().filter(|l| l.attempt == 2).for_each(|l| l.fence = 5),
        "the fence went",
    );
    check_flags(strict, |e| e.witness.push(line(2, 1, Mark::Alive, 1_300 + 2_000)), "wrote 100 µs after it was shown");
}

#[test]
fn output_is_whole_and_of_the_attempt_that_is_shown() {
    let strict = Rules::STRICT;
    let set = |e: &mut Evidence, n: u128, bytes: Vec<u8>| both(e, |r| drop(r.outputs.insert(id(n), bytes.clone())));
    check_flags(strict, |e| set(e, 1, output_of(id(1), 1, BYTES - 1)), "differs at byte 39");
    check_flags(strict, |e| set(e, 3, output_of(id(3), 1, BYTES)), "differs at byte 0");
    check_flags(strict, |e| set(e, 2, b"x".to_vec()), "differs at byte 0");
    let mut twice = output_of(id(1), 1, 20);
    twice.extend(output_of(id(1), 1, 20));
    check_flags(strict, |e| set(e, 1, twice), "differs at byte 20");
}

#[test]
fn a_run_in_which_nothing_works_is_not_green() {
    let report = check(&Evidence::default(), &Rules { acknowledged_min: 0.0, ..Rules::LOSING });
    assert_eq!(report.violations.len(), 1, "{report}");
    check_flags(
        Rules::STRICT,
        |e| {
            e.calls.push(call(300, submit(4, 0), Phase::Invoke));
            e.calls.push(call(400, submit(4, 0), Phase::Info));
        },
        "3 of 4 submits",
    );
}
