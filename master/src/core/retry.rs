//! What follows when an attempt did not end well: another one after a pause, or the end.
//!
//! The second attempt starts at once, later ones after 1 s, 2 s, 4 s … up to a minute. A pause is a deadline
//! here and nowhere else: after a restart of the master the next attempt starts at once.

use super::{Core, action::Action, change::End, program::ProgramState};
use common::{Duration, Outcome, limits::CRASHES_MAX, message::Finished, units::BootTime, view::Explanation};
use std::collections::{BTreeMap, BTreeSet};

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a program waits for an instant rather than for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// It was tried, and the next attempt has its time.
    Retry,
    /// The history was restored from a backup: what the slaves run of the one before must have ended.
    Restored,
}

/// Programs that wait for an instant. They are in no line of the scheduler.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    programs: BTreeMap<u64, (BootTime, Pause)>,
    due: BTreeSet<(BootTime, u64)>,
}

impl Pauses {
    fn insert(&mut self, sequence: u64, until: BootTime, why: Pause) {
        self.remove(sequence);
        self.programs.insert(sequence, (until, why));
        self.due.insert((until, sequence));
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        if let Some((until, _)) = self.programs.remove(&sequence) {
            self.due.remove(&(until, sequence));
        }
    }

    pub(super) fn next(&self) -> Option<BootTime> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.programs.len()
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self, waits: impl Fn(u64) -> bool) {
        assert_eq!(self.programs.len(), self.due.len());
        assert!(self.programs.keys().all(|sequence| waits(*sequence)), "what pauses, waits");
    }
}

/// How long to wait after this many attempts.
const fn pause_after(attempts: u32) -> Duration {
    match attempts {
        0 | 1 => Duration(0),
        2..=7 => Duration::from_secs(1 << (attempts - 2)),
        _ => PAUSE_MAX,
    }
}

impl Core {
    /// An attempt is gone and how it ended is not known.
    pub(super) fn lose(&mut self, sequence: u64, why: &str) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let slave = program.slave().and_then(|id| self.slaves.get(&id)).map(|slave| slave.name.clone());
        let slave = slave.unwrap_or_else(|| "?".into());
        let mut outcome = match program.cancel_by() {
            Some(by) => Outcome::Cancelled { by: by.to_string() },
            None => {
                Outcome::Lost { detail: format!("Lost: the slave `{slave}` {why}. Whether it ended is not known.") }
            }
        };
        if !self.try_again(sequence, &mut outcome) {
            self.end_without_report(sequence, outcome);
        }
    }

    /// A result whose output is all there: another attempt, or the end.
    pub(super) fn conclude(&mut self, sequence: u64, mut finished: Finished) {
        if !self.try_again(sequence, &mut finished.outcome) {
            self.end(sequence, End::reported(finished));
        }
    }

    /// Whether another attempt follows one that ended like this. The crash limit may add its words to the outcome.
    fn try_again(&mut self, sequence: u64, outcome: &mut Outcome) -> bool {
        let Some(program) = self.programs.get_mut(&sequence) else { return false };
        if matches!(outcome, Outcome::Lost { .. }) {
            program.rare_mut().crashes += 1;
        }
        if !program.may_try_again(outcome) {
            return false;
        }
        let (crashes, user) = (program.crashes(), program.lot.user.clone());
        if let Outcome::Lost { detail } = outcome
            && crashes >= CRASHES_MAX
        {
            detail.push_str(&format!(
                " It lost its slave {crashes} times and is not tried again, whatever `--retry` says."
            ));
            let text = format!("Program {} lost its slave {crashes} times; it is not tried again.", program.id);
            self.log(&user, text);
            return false;
        }
        let key = program.key();
        self.wait_again(sequence, false);
        self.actions.push(Action::RemoveOutput(key));
        true
    }

    /// A program that waits comes into its line, now or when its pause is over.
    pub(super) fn line_up(&mut self, sequence: u64, attempts: u32) {
        let pause = pause_after(attempts);
        if pause == Duration(0) {
            self.enqueue(sequence);
        } else {
            self.pauses.insert(sequence, self.now.boot.plus(pause), Pause::Retry);
        }
    }

    /// A program of a restored history waits until nothing of the one before can run any more.
    pub(super) fn hold_back(&mut self, sequence: u64) {
        let until = self.epoch_safe_at.unwrap_or(self.now.boot);
        self.pauses.insert(sequence, until, Pause::Restored);
    }

    pub(super) fn enqueue(&mut self, sequence: u64) {
        let Some(program) = self.programs.get(&sequence) else { return };
        self.scheduler.enqueue(sequence, &self.scheduler.need(&program.template()), &program.lot.user);
    }

    /// Pauses that are over.
    pub(super) fn resume(&mut self) {
        if self.note_epoch() {
            self.line_up_arrays();
        }
        while let Some((at, sequence)) = self.pauses.due.first().copied()
            && at <= self.now.boot
        {
            self.pauses.remove(sequence);
            if self.programs.get(&sequence).is_some_and(|program| matches!(program.state, ProgramState::Waiting)) {
                self.enqueue(sequence);
            }
        }
    }

    /// Why a program pauses; none when it does not.
    pub(super) fn explain_pause(&self, sequence: u64) -> Option<Explanation> {
        let held = self.epoch_safe_at.filter(|_| self.arrays.is_held(sequence)).map(|at| (at, Pause::Restored));
        let (until, why) = self.pauses.programs.get(&sequence).copied().or(held)?;
        let attempts = self.look_at(sequence, |program| program.attempt)?;
        let left = until.since(self.now.boot).0.div_ceil(1_000_000).max(1);
        let sentence = match why {
            Pause::Retry => format!("Tried {attempts} times; the next start is due in {left} s."),
            Pause::Restored => format!(
                "The master was restored from a backup; it starts in {left} s at the earliest, when nothing that ran before can run any more."
            ),
        };
        Some(Explanation { sentence, ahead: None, slaves: Vec::new() })
    }

    pub(super) fn end_without_report(&mut self, sequence: u64, outcome: Outcome) {
        self.touch(sequence);
        if let Some(program) = self.programs.get(&sequence) {
            let end = End::without_report(outcome, program, self.now.wall);
            self.end(sequence, end);
        }
    }
}
