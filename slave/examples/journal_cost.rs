//! What the journal adds to each program on the slave's one thread: a record of its start and one of its end with
//! a short output, batches as they come, results acknowledged at once.
//!
//! `cargo run --profile ci-release -p slave --example journal_cost -- FOLDER`
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement for people")]

use common::{
    Timestamp,
    id::{AttemptKey, ProgramId},
    message::Assignment,
    outcome::Outcome,
    program::{ProgramSpec, Work},
    view::Usage,
};
use slave::{
    executor::AttemptEnd,
    journal::{Journal, KeptEnd},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PROGRAMS: u128 = 100_000;

fn main() {
    let folder = std::env::args().nth(1).expect("the folder to write in");
    for batch in [1, 2, 8] {
        for acknowledged_after in [0, 64] {
            let path = std::path::Path::new(&folder).join("journal_cost");
            let (mut journal, _) = Journal::open(&path, "boot").expect("a journal");
            let (mut busy, mut worst) = (Duration::ZERO, Duration::ZERO);
            let begin = Instant::now();
            for first in (0..PROGRAMS).step_by(batch) {
                let at = Instant::now();
                turn(&mut journal, first..first + batch as u128, acknowledged_after);
                let took = at.elapsed();
                busy += took;
                worst = worst.max(took);
            }
            let rate = PROGRAMS as f64 / begin.elapsed().as_secs_f64();
            let each = busy.as_secs_f64() * 1e6 / PROGRAMS as f64;
            println!(
                "batches of {batch}, acknowledged {acknowledged_after} later: {each:.1} us a program, {:.2} ms at worst, {rate:.0} programs/s",
                worst.as_secs_f64() * 1e3
            );
            drop(journal);
            std::fs::remove_file(&path).expect("it was there");
        }
    }
}

fn key(number: u128) -> AttemptKey {
    AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 }
}

/// One batch from its start to its acknowledgement.
fn turn(journal: &mut Journal, numbers: std::ops::Range<u128>, acknowledged_after: u128) {
    let spec = Arc::new(ProgramSpec::new("true", Work::Command { command: "true".into() }));
    let assignment = |n| Assignment { key: key(n), spec: spec.clone(), index: 0, fence: 1 };
    let started: Vec<_> = numbers.clone().map(|n| (assignment(n), Timestamp(1))).collect();
    journal.start(&started).expect("room");
    let end = |n| AttemptEnd {
        key: key(n),
        outcome: Outcome::Exited { code: 0 },
        started_at: Some(Timestamp(1)),
        ended_at: Timestamp(2),
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
    };
    journal.end(numbers.clone().map(|n| (KeptEnd::new(&end(n), vec![7; 64]), Vec::new())).collect());
    for number in numbers {
        journal.forget(key(number.saturating_sub(acknowledged_after)));
    }
    if journal.next_deadline().is_some_and(|at| Instant::now() >= at) {
        journal.tick(Instant::now());
    }
}
