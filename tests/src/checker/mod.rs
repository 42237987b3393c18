//! Judges a run of the whole system from what its clients saw, what its programs left behind and what the
//! history shows in the end. Pure: no file, socket or clock.
//!
//! A submit whose answer never came counts as unknown, never as failed: it may be in the history or not.

mod report;
mod rules;
#[cfg(test)]
mod tests;

pub use report::{Report, Violation};

use crate::witness::Line;
use common::{ProgramId, program::State};
use std::collections::{BTreeMap, BTreeSet};

/// What a client asked or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A submit of a program that prints `bytes` bytes and may be started `retry` times more.
    Submit {
        /// The program.
        id: ProgramId,
        /// Starts after the first.
        retry: u32,
        /// Bytes that a whole run prints.
        bytes: usize,
    },
    /// A wish to stop it.
    Cancel {
        /// The program.
        id: ProgramId,
    },
    /// A look at a program that this client was told is accepted.
    Look {
        /// The program.
        id: ProgramId,
    },
    /// The client was told that it ended like this.
    Saw {
        /// The program.
        id: ProgramId,
        /// Its final state.
        state: State,
    },
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was sent.
    Invoke,
    /// It was answered with yes.
    Ok,
    /// It was refused: it had no effect.
    Fail,
    /// No answer came: it may have had an effect.
    Info,
}

/// One line of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When, in microseconds of the boot-time clock.
    pub at: u64,
    /// Which client.
    pub client: u32,
    /// What was asked.
    pub operation: Operation,
    /// How far it came.
    pub phase: Phase,
}

/// One row of the history, as far as it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The program.
    pub id: ProgramId,
    /// Its state.
    pub state: State,
    /// Its last attempt; 0 when none began.
    pub attempt: u32,
    /// When it ended, in microseconds of the boot-time clock; none when it has not, or when the wall clock that
    /// the history is written in was tampered with.
    pub ended_at: Option<u64>,
    /// How it ended, in words.
    pub detail: String,
}

/// The history and the outputs, read once.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Every row.
    pub rows: Vec<Row>,
    /// The standard output of each.
    pub outputs: BTreeMap<ProgramId, Vec<u8>>,
}

/// Everything that a run left behind.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What the clients asked and saw, in the order of time.
    pub calls: Vec<Call>,
    /// The lines of the witness file, in the order in which they were written.
    pub witness: Vec<Line>,
    /// The first reading, when everything was quiet.
    pub first: Reading,
    /// The second.
    pub second: Reading,
}

/// What this run's faults excuse.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Programs may be lost with their slave.
    pub may_be_lost: bool,
    /// Programs may fail by themselves.
    pub may_fail: bool,
    /// The least share of submits that must have been acknowledged: a run in which nothing works proves nothing.
    pub acknowledged_min: f64,
}

impl Rules {
    /// Nothing is excused, and nine of ten submits are acknowledged.
    pub const STRICT: Self = Self { may_be_lost: false, may_fail: false, acknowledged_min: 0.9 };
    /// Slaves are lost for longer than the lease.
    pub const LOSING: Self = Self { may_be_lost: true, ..Self::STRICT };
}

/// What the clients know of one program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) retry: u32,
    pub(crate) bytes: usize,
    pub(crate) acknowledged: bool,
    /// Every submit of it that was answered was refused, and none is unanswered.
    pub(crate) refused: bool,
    pub(crate) cancelled: bool,
    pub(crate) seen: Vec<(u64, State)>,
}

/// Checks every rule.
#[must_use]
pub fn check(evidence: &Evidence, rules: &Rules) -> Report {
    let asked = asked(&evidence.calls);
    let mut report = Report::default();
    rules::calls(evidence, &mut report);
    rules::history(evidence, &asked, rules, &mut report);
    rules::runs(evidence, &asked, &mut report);
    rules::outputs(evidence, &asked, &mut report);
    counts(evidence, &asked, rules, &mut report);
    report
}

fn asked(calls: &[Call]) -> BTreeMap<ProgramId, Asked> {
    let mut all: BTreeMap<ProgramId, Asked> = BTreeMap::new();
    let mut open: BTreeMap<ProgramId, (u32, u32)> = BTreeMap::new();
    for call in calls {
        match call.operation {
            Operation::Submit { id, retry, bytes } => {
                let program = all.entry(id).or_default();
                (program.retry, program.bytes) = (retry, bytes);
                let (invoked, refused) = open.entry(id).or_default();
                match call.phase {
                    Phase::Invoke => *invoked += 1,
                    Phase::Ok => program.acknowledged = true,
                    Phase::Fail => *refused += 1,
                    Phase::Info => {}
                }
                program.refused = !program.acknowledged && invoked == refused;
            }
            Operation::Cancel { id } => all.entry(id).or_default().cancelled = true,
            Operation::Saw { id, state } => all.entry(id).or_default().seen.push((call.at, state)),
            Operation::Look { .. } => {}
        }
    }
    all
}

fn counts(evidence: &Evidence, asked: &BTreeMap<ProgramId, Asked>, rules: &Rules, report: &mut Report) {
    report.submitted = asked.len();
    report.acknowledged = asked.values().filter(|program| program.acknowledged).count();
    report.refused = asked.values().filter(|program| program.refused).count();
    report.unknown = report.submitted - report.acknowledged - report.refused;
    let shown: BTreeSet<_> = evidence.first.rows.iter().map(|row| row.id).collect();
    report.recovered =
        asked.iter().filter(|(id, program)| !program.acknowledged && !program.refused && shown.contains(*id)).count();
    let of = |state: State| evidence.first.rows.iter().filter(|row| row.state == state).count();
    (report.done, report.failed) = (of(State::Done), of(State::Failed));
    (report.cancelled, report.lost) = (of(State::Cancelled), of(State::Lost));
    #[expect(clippy::cast_precision_loss, reason = "a share of thousands")]
    let share = report.acknowledged as f64 / report.submitted.max(1) as f64;
    if report.acknowledged == 0 || share < rules.acknowledged_min {
        report.violations.push(Violation::TooLittle {
            acknowledged: report.acknowledged,
            submitted: report.submitted,
            share_min: rules.acknowledged_min,
        });
    }
}
