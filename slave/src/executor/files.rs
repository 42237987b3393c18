//! What holds an attempt up before its first step and after its last: input files that are placed, and results that
//! are collected.

use super::{
    Executor, Keeper, WATCH_PIPES_AFTER,
    attempt::{Attempt, Context, Turn},
    collect::Collect,
    inputs::{Failure, Place},
    outcome::Stop,
    steps::Phase,
    workers::{Done, Stopper, Work},
};
use common::{collected::Head, message::Stream, outcome::Outcome, units::Timestamp};
use launcher::Socket;
use std::{io, os::unix::fs::FileExt, time::Instant};

/// Work on the files of an attempt that goes on beside the loop.
#[derive(Debug)]
pub(super) enum Busy {
    /// Its input files are put into its folder; it was not started.
    Placing(Stopper),
    /// It has ended like this, and its files are collected.
    Collecting(Stopper, Outcome),
}

impl Attempt {
    /// Begins to place its input files. False when it has none.
    pub(super) fn place_inputs(&mut self, context: &mut Context) -> io::Result<bool> {
        if self.assignment.spec.inputs.is_empty() {
            return Ok(false);
        }
        let place = Place {
            folder: self.folder.fd.try_clone()?,
            user: self.folder.user(),
            cache: context.outputs.inputs(),
            files: self.assignment.spec.inputs.clone(),
        };
        self.busy = Some(Busy::Placing(context.workers.give(self.key(), Work::Place(place))?));
        Ok(true)
    }

    /// Begins to collect the files of a program that has ended. Gives the outcome back when there is nothing to do.
    pub(super) fn collect(&mut self, outcome: Outcome, context: &mut Context) -> Option<Outcome> {
        let ran = match &outcome {
            Outcome::Exited { .. } | Outcome::Signalled { .. } | Outcome::Limit { .. } | Outcome::Cancelled { .. } => {
                true
            }
            Outcome::CompileError { .. }
            | Outcome::NotSupported { .. }
            | Outcome::NotFound { .. }
            | Outcome::Lost { .. } => false,
        };
        let wanted = match &self.stop {
            None | Some(Stop::Cancelled { .. } | Stop::Output | Stop::Failed(_)) => ran,
            Some(Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops) => false,
        };
        let nothing = self.phase != Phase::Run || self.assignment.spec.collect.is_empty() || !wanted;
        // An agent before this one may have done it.
        if nothing || context.outputs.end(self.key(), Stream::Files) > 0 {
            return Some(outcome);
        }
        match self.collect_job(context) {
            Ok(stopper) => {
                self.busy = Some(Busy::Collecting(stopper, outcome));
                None
            }
            Err(error) => {
                self.files_missing(&error);
                Some(outcome)
            }
        }
    }

    fn collect_job(&self, context: &mut Context) -> io::Result<Stopper> {
        let owner = self.folder.user().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
        let collect = Collect {
            folder: self.folder.fd.try_clone()?,
            patterns: self.assignment.spec.collect.clone(),
            owner,
            disk_limit: self.assignment.spec.limits.disk,
            available: super::collect::available,
            to: context.outputs.files_of(self.key(), self.slot)?,
        };
        context.workers.give(self.key(), Work::Collect(collect))
    }

    fn files_missing(&mut self, error: &io::Error) {
        tracing::error!(attempt = %self.key(), %error, "files of a program cannot be collected");
        self.truncated = true;
    }

    /// It is to be stopped while its files are handled: there is no program that could be.
    pub(super) fn stop_files(&mut self, stop: &Stop) -> bool {
        match &self.busy {
            None => false,
            Some(Busy::Placing(stopper)) => {
                stopper.stop();
                self.stop.get_or_insert_with(|| stop.clone());
                true
            }
            Some(Busy::Collecting(stopper, _)) => {
                match stop {
                    Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops => stopper.stop(),
                    // It has ended already.
                    Stop::Cancelled { .. } | Stop::Output | Stop::Failed(_) => {}
                }
                true
            }
        }
    }

    /// Whether it has ended and only its files are not all there.
    pub(super) const fn is_collecting(&self) -> bool {
        matches!(self.busy, Some(Busy::Collecting(..)))
    }

    /// A thread has done what holds it up.
    pub(super) fn files_done(
        &mut self,
        done: Done,
        keeper: Option<(usize, &Socket)>,
        context: &mut Context,
        now: Timestamp,
    ) -> Turn {
        let outcome = match (self.busy.take(), done) {
            (Some(Busy::Collecting(_, outcome)), Done::Collected(result)) => {
                self.collected(result, context);
                outcome
            }
            (Some(Busy::Placing(_)), Done::Placed(result)) => match self.placed(result, keeper, context) {
                None => return Turn::GoesOn,
                Some(outcome) => outcome,
            },
            (busy, _) => {
                self.busy = busy;
                return Turn::GoesOn;
            }
        };
        self.finish(outcome, context, now);
        Turn::Ended
    }

    fn placed(
        &mut self,
        result: Result<(), Failure>,
        keeper: Option<(usize, &Socket)>,
        context: &mut Context,
    ) -> Option<Outcome> {
        let lost = |detail: String| Some(Outcome::Lost { detail });
        if let Some(stop) = &self.stop {
            return Some(match stop {
                Stop::Cancelled { by } => Outcome::Cancelled { by: by.clone() },
                Stop::Failed(detail) => Outcome::Lost { detail: detail.clone() },
                Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops | Stop::Output => {
                    Outcome::Lost { detail: "It was stopped before it began.".to_owned() }
                }
            });
        }
        if let Err(Failure { name, why, damaged }) = result {
            context.damaged.extend(damaged);
            return lost(format!("The slave could not give it its input file `{name}`: {why}."));
        }
        let Some((index, keeper)) = keeper else { return lost("The process that watches over it failed.".to_owned()) };
        match self.begin(keeper, index, context) {
            Ok(()) => None,
            Err(error) => lost(format!("The slave could not prepare it: {error}.")),
        }
    }

    fn collected(&mut self, result: io::Result<u64>, context: &mut Context) {
        let key = self.key();
        let end = result.or_else(|error| {
            self.files_missing(&error);
            // It is told what is missing, as far as there is room for that.
            let left_out = vec![format!("The slave could not keep the files: {error}.")];
            let head = Head { files: Vec::new(), left_out }.encode();
            let file = context.outputs.files_of(key, self.slot)?;
            file.set_len(0)?;
            file.write_all_at(&head, 0)?;
            io::Result::Ok(head.len() as u64)
        });
        match end {
            Ok(0) => {}
            Ok(end) => {
                context.outputs.set_end(key, Stream::Files, end);
                context.events.push(super::ExecutorEvent::Output { key, stream: Stream::Files, end });
            }
            Err(error) => tracing::error!(attempt = %key, %error, "that files are missing cannot be told either"),
        }
    }
}

impl Executor {
    /// Goes on with attempts whose files are handled.
    pub(super) fn hear_workers(&mut self, now: &impl Fn() -> Timestamp) {
        for (key, done) in self.context.workers.finished() {
            // Of one that is gone nothing is wanted.
            let Some(index) = self.by_key.get(&key).copied() else { continue };
            let slot = &mut self.slots[index];
            let Some(mut attempt) = slot.attempt.take() else { continue };
            let keeper = match &slot.keeper {
                Keeper::Present(keeper) => Some((index, keeper)),
                Keeper::None | Keeper::Gone => None,
            };
            match attempt.files_done(done, keeper, &mut self.context, now()) {
                Turn::GoesOn => {
                    slot.attempt = Some(attempt);
                    slot.watch_at = Some(Instant::now() + WATCH_PIPES_AFTER);
                }
                Turn::Ended => {
                    slot.watch_at = None;
                    self.by_key.remove(&key);
                    attempt.clean_up(&mut slot.folder, &self.context);
                }
            }
        }
    }

    /// Input files whose content on this slave's disk turned out to be another.
    pub fn damaged_inputs(&mut self) -> Vec<common::id::Digest> {
        std::mem::take(&mut self.context.damaged)
    }
}
