//! What clients asked, were told and saw, and what happened to slaves that may excuse a loss.

use super::program::Kind;
use common::{Outcome, ProgramId, program::State, view::ProgramView};
use std::collections::BTreeMap;

/// What is known of a submit.
#[derive(Clone, Debug)]
pub(super) struct Submitted {
    pub(super) client: usize,
    pub(super) kind: Kind,
    pub(super) retry: u32,
    /// When its client made it.
    pub(super) made: u64,
    /// It was sent at least once and not refused by name each time: it may have been accepted.
    pub(super) maybe: bool,
    /// When it was acknowledged first, and its place in the history.
    pub(super) acknowledged: Option<(u64, u64)>,
    /// When a cancel of it was acknowledged first.
    pub(super) cancelled: Option<u64>,
    /// When somebody was told of its end first, and what.
    pub(super) ended: Option<(u64, Outcome)>,
}

/// A time in which the master may have given up what a slave held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excuse {
    pub(super) slave: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) submits: BTreeMap<ProgramId, Submitted>,
    pub(super) excuses: Vec<Excuse>,
    /// Requests that were answered, were refused, and whose answer never came.
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
    /// Programs in the history whose submit was never answered.
    pub(super) recovered: u64,
}

impl History {
    pub(super) fn excuse(&mut self, slave: usize, from: u64, to: u64) {
        self.excuses.push(Excuse { slave, from, to });
    }

    /// A submit was acknowledged with this place in the history.
    pub(super) fn acknowledge(&mut self, id: ProgramId, sequence: u64, now: u64) -> Result<(), String> {
        let Some(submitted) = self.submits.get_mut(&id) else {
            return Err(format!("{id} is acknowledged and was never submitted"));
        };
        submitted.maybe = true;
        match submitted.acknowledged {
            Some((_, known)) if known != sequence => {
                Err(format!("{id} was acknowledged as number {known} and now as {sequence}"))
            }
            Some(_) => Ok(()),
            None => {
                submitted.acknowledged = Some((now, sequence));
                Ok(())
            }
        }
    }

    /// Somebody who asked at `asked` is told how a program ended.
    pub(super) fn told_end(&mut self, id: ProgramId, outcome: &Outcome, now: u64) -> Result<(), String> {
        let Some(submitted) = self.submits.get_mut(&id) else {
            return Err(format!("an end of {id} is told, which was never submitted"));
        };
        match &submitted.ended {
            Some((at, known)) if known != outcome => {
                Err(format!("the end of {id} changed: {known:?} was told at {at} µs, {outcome:?} now"))
            }
            Some(_) => Ok(()),
            None => {
                submitted.ended = Some((now, outcome.clone()));
                Ok(())
            }
        }
    }

    /// Somebody who asked at `asked` sees a program like this.
    pub(super) fn seen(&mut self, view: &ProgramView, asked: u64, now: u64) -> Result<(), String> {
        let (id, state) = (view.id, view.state);
        let Some(submitted) = self.submits.get(&id) else {
            return Err(format!("{id} is shown, which was never submitted"));
        };
        match (&view.outcome, &submitted.ended) {
            (Some(outcome), _) => self.told_end(id, outcome, now),
            (None, Some((at, known))) if *at < asked => {
                Err(format!("{id} is shown as {state} though its end was told at {at} µs: {known:?}"))
            }
            (None, _) if state.is_final() => Err(format!("{id} is {state} without an outcome")),
            (None, _) => Ok(()),
        }
    }

    /// A cancel was acknowledged while the program was in this state.
    pub(super) fn cancelled(&mut self, id: ProgramId, state: State, now: u64) -> Result<(), String> {
        let Some(submitted) = self.submits.get_mut(&id) else {
            return Err(format!("a cancel of {id} is acknowledged, which was never submitted"));
        };
        submitted.cancelled.get_or_insert(now);
        if let (Some((at, known)), false) = (&submitted.ended, state.is_final()) {
            return Err(format!("a cancel meets {id} {state} though its end was told at {at} µs: {known:?}"));
        }
        Ok(())
    }

    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (ProgramId, &Submitted)> {
        self.submits.iter().filter(|(_, submitted)| submitted.acknowledged.is_some()).map(|(id, one)| (*id, one))
    }
}
