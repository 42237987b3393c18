//! The rules. Each function reads the evidence once and adds what it finds.

use super::{Asked, Evidence, Operation, Phase, Report, Row, Rules, Violation};
use crate::witness::{Line, Mark, output_of};
use common::{ProgramId, program::State};
use std::collections::BTreeMap;

/// How exact the history's times are: milliseconds, cut.
const CLOCK_STEP_MICROS: u64 = 2_000;

/// What clients must be able to see of their own.
pub(super) fn calls(evidence: &Evidence, report: &mut Report) {
    for call in &evidence.calls {
        if let (Operation::Look { id }, Phase::Fail) = (&call.operation, call.phase) {
            report.violations.push(Violation::NotVisible(*id));
        }
    }
}

/// The history against what was asked: lost, phantom, once, final, immutable, excused.
pub(super) fn history(evidence: &Evidence, asked: &BTreeMap<ProgramId, Asked>, rules: &Rules, report: &mut Report) {
    let mut shown: BTreeMap<ProgramId, &Row> = BTreeMap::new();
    for row in &evidence.first.rows {
        if shown.insert(row.id, row).is_some() {
            report.violations.push(Violation::Twice(row.id));
        }
    }
    let again: BTreeMap<ProgramId, &Row> = evidence.second.rows.iter().map(|row| (row.id, row)).collect();
    for (id, program) in asked {
        if program.acknowledged && !shown.contains_key(id) {
            report.violations.push(Violation::Lost(*id));
        }
    }
    for id in again.keys().filter(|id| !shown.contains_key(*id)) {
        report.violations.push(Violation::Phantom(*id));
    }
    for (id, row) in &shown {
        match asked.get(id) {
            None => report.violations.push(Violation::Phantom(*id)),
            Some(program) if program.refused => report.violations.push(Violation::AcceptedThoughRefused(*id)),
            Some(program) => ending(row, program, rules, report),
        }
        match again.get(id) {
            None => report.violations.push(Violation::Changed(*id, "it is gone".to_owned())),
            Some(second) if second != row => {
                report.violations.push(Violation::Changed(*id, format!("{row:?} became {second:?}")));
            }
            Some(_) => {}
        }
        let (first, second) = (evidence.first.outputs.get(id), evidence.second.outputs.get(id));
        if first != second {
            report.violations.push(Violation::Changed(*id, "its output".to_owned()));
        }
    }
}

/// Whether one row may have ended as it did.
fn ending(row: &Row, program: &Asked, rules: &Rules, report: &mut Report) {
    let id = row.id;
    for (_, state) in program.seen.iter().filter(|(_, state)| *state != row.state) {
        report.violations.push(Violation::Changed(id, format!("{state} became {}", row.state)));
    }
    let excused = match row.state {
        State::Waiting | State::Running | State::Suspended => {
            report.violations.push(Violation::NotEnded(id, row.state));
            return;
        }
        State::Done => true,
        State::Failed => rules.may_fail,
        State::Cancelled => program.cancelled,
        State::Lost => rules.may_be_lost,
    };
    if !excused {
        report.violations.push(Violation::Unexpected(id, row.state, row.detail.clone()));
    }
    if row.state == State::Lost && row.attempt <= program.retry && !program.cancelled {
        report.violations.push(Violation::GaveUp { id, attempts: row.attempt, allowed: program.retry + 1 });
    }
}

/// One attempt as its witness tells it.
struct Run {
    attempt: u32,
    fence: u64,
    begin: u64,
    last: u64,
    ended: bool,
}

/// The witness against what was asked and shown: starts, overlaps, fences, life after the end.
pub(super) fn runs(evidence: &Evidence, asked: &BTreeMap<ProgramId, Asked>, report: &mut Report) {
    let mut lines: BTreeMap<ProgramId, Vec<&Line>> = BTreeMap::new();
    for line in &evidence.witness {
        lines.entry(line.id).or_default().push(line);
    }
    let rows: BTreeMap<ProgramId, &Row> = evidence.first.rows.iter().map(|row| (row.id, row)).collect();
    for (id, lines) in &lines {
        let runs = runs_of(lines, report);
        let Some(program) = asked.get(id).filter(|program| !program.refused) else {
            report.violations.push(Violation::RanUnasked(*id));
            continue;
        };
        report.reruns += runs.len().saturating_sub(1);
        if runs.len() > program.retry as usize + 1 {
            report.violations.push(Violation::TooManyStarts {
                id: *id,
                starts: runs.len(),
                allowed: program.retry + 1,
            });
        }
        one_after_the_other(*id, &runs, report);
        let last = runs.iter().map(|run| run.last).max().unwrap_or(0);
        if let Some(row) = rows.get(id) {
            silent_after_end(row, program, last, report);
            let ended = |run: &Run| run.attempt == row.attempt && run.ended;
            if row.state == State::Done && !runs.iter().any(ended) {
                report.violations.push(Violation::NotWitnessed(*id, row.attempt));
            }
        }
    }
    for row in evidence.first.rows.iter().filter(|row| row.state == State::Done && !lines.contains_key(&row.id)) {
        report.violations.push(Violation::NotWitnessed(row.id, row.attempt));
    }
}

/// The runs of one program in the order of their begins. An attempt that begins twice is two runs.
fn runs_of(lines: &[&Line], report: &mut Report) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in lines {
        match line.mark {
            Mark::Begin => {
                runs.push(Run { attempt: line.attempt, fence: line.fence, begin: line.at, last: line.at, ended: false })
            }
            Mark::Alive | Mark::End => {
                match runs.iter_mut().rev().find(|run| run.attempt == line.attempt && run.fence == line.fence) {
                    Some(run) => {
                        run.last = line.at;
                        run.ended |= line.mark == Mark::End;
                    }
                    None => report.violations.push(Violation::RanUnasked(line.id)),
                }
            }
        }
    }
    runs.sort_by_key(|run| run.begin);
    runs
}

fn one_after_the_other(id: ProgramId, runs: &[Run], report: &mut Report) {
    let mut latest: Option<&Run> = None;
    for run in runs {
        if let Some(earlier) = latest {
            if earlier.last >= run.begin {
                report.violations.push(Violation::Overlap {
                    id,
                    first: earlier.attempt,
                    second: run.attempt,
                    micros: earlier.last - run.begin,
                });
            }
            if run.fence <= earlier.fence {
                report.violations.push(Violation::FenceBack(id, earlier.fence, run.fence));
            }
        }
        if latest.is_none_or(|earlier| run.last > earlier.last) {
            latest = Some(run);
        }
    }
}

/// Whatever the state: when it is shown as ended, nothing of it lives.
fn silent_after_end(row: &Row, program: &Asked, last: u64, report: &mut Report) {
    let shown = row.ended_at.map(|at| at + CLOCK_STEP_MICROS);
    let seen = program.seen.iter().map(|(at, _)| *at);
    if let Some(ended) = seen.chain(shown).min()
        && last > ended
    {
        report.violations.push(Violation::AliveAfterEnd { id: row.id, state: row.state, micros: last - ended });
    }
}

/// Output: whole where a program is done, else a beginning of what its last attempt printed.
pub(super) fn outputs(evidence: &Evidence, asked: &BTreeMap<ProgramId, Asked>, report: &mut Report) {
    for row in &evidence.first.rows {
        let (Some(program), Some(stored)) = (asked.get(&row.id), evidence.first.outputs.get(&row.id)) else {
            continue;
        };
        let printed = output_of(row.id, row.attempt, program.bytes);
        let same = stored.iter().zip(&printed).take_while(|(a, b)| a == b).count();
        let whole = same == stored.len() && (row.state != State::Done || stored.len() == printed.len());
        if !whole {
            report.violations.push(Violation::WrongOutput {
                id: row.id,
                place: same,
                stored: stored.len(),
                printed: printed.len(),
            });
        }
    }
}
