//! What an agent before this one left with the launcher: keepers, and in them attempts that run or have ended.

use super::{
    Executor, Keeper, Slot, Source,
    adopt_quick::{QuickLeft, Started},
    attempt::{Attempt, Left},
    outcome::Stop,
    steps::{Phase, Tag},
};
use common::{id::AttemptKey, message::Assignment, units::Timestamp};
use launcher::{
    FoundKeeper,
    protocol::{FromKeeper, Guards, KeeperState, ToKeeper},
};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
};
use std::{collections::BTreeMap, io, time::Instant};

/// An attempt in a slot that waits for [`Executor::adopt`].
#[derive(Debug)]
pub(super) struct Waiting {
    tag: Tag,
    stop: Option<Stop>,
    descriptors: Vec<OwnedFd>,
    /// It stands still.
    pub(super) suspended: bool,
    /// How it ended; none while it runs.
    report: Option<FromKeeper>,
}

impl Executor {
    /// Makes a slot of each keeper that was found. Their attempts wait for [`Executor::adopt`].
    pub(super) fn take_keepers(&mut self, keepers: Vec<FoundKeeper>) -> io::Result<()> {
        let mut by_slot: BTreeMap<u32, FoundKeeper> =
            keepers.into_iter().map(|keeper| (keeper.config.slot, keeper)).collect();
        let count = by_slot.last_key_value().map_or(0, |(slot, _)| slot + 1);
        for number in 0..count {
            let Some(found) = by_slot.remove(&number) else {
                let folder = self.work.slot(number, None)?;
                self.slots.push(Slot::new(number, folder));
                continue;
            };
            let runs = matches!(found.state, KeeperState::Running { .. });
            let (left, left_quick) = match found.state {
                KeeperState::Quick(state) => (None, Some(QuickLeft::new(state, found.descriptors))),
                state @ (KeeperState::Idle | KeeperState::Running { .. } | KeeperState::Ended { .. }) => {
                    (waiting(state, found.descriptors), None)
                }
            };
            let is_foreign = runs && left.is_none();
            let kept = left.as_ref().map(|left| left.tag.folder.clone());
            let kept = kept.or_else(|| left_quick.as_ref().and_then(QuickLeft::folder_name));
            let folder = self.work.slot(number, kept.as_deref())?;
            let data = EventData::new_u64(Source::Keeper.token(self.slots.len()));
            epoll::add(&self.epoll, found.socket.as_fd(), data, EventFlags::IN)?;
            let keeper = Keeper::Present(found.socket);
            let outdated = found.config.guards != self.guards_of(number);
            self.slots.push(Slot { keeper, left, left_quick, outdated, ..Slot::new(number, folder) });
            if is_foreign {
                self.end_unwanted(self.slots.len() - 1, true);
            }
        }
        Ok(())
    }

    /// What stands between the programs of a slot and the machine.
    pub(super) fn guards_of(&self, slot: u32) -> Guards {
        Guards { work: self.work.path().join(format!("slot-{slot}")), ..self.guards.clone() }
    }

    /// No program starts behind the guards of an earlier configuration: keepers that have them end once nothing runs
    /// there.
    pub(super) fn retire_outdated(&mut self) {
        let idle = |slot: &&mut Slot| slot.outdated && slot.is_idle();
        for slot in self.slots.iter_mut().filter(idle) {
            if let Keeper::Present(keeper) = std::mem::replace(&mut slot.keeper, Keeper::Gone) {
                // One that is gone already is told of by the launcher as well.
                if let Err(error) = keeper.send(&ToKeeper::End, &[]) {
                    tracing::debug!(slot = slot.number, %error, "a keeper had ended already");
                }
            }
        }
    }

    /// Takes over the attempts that an agent before this one started, as the journal tells them: answers which of
    /// them go on here (they run, or have ended and tell it soon). Whatever else runs is ended. Outputs must have been
    /// restored and languages set before.
    #[must_use = "what is not in the answer is lost"]
    pub fn adopt(&mut self, started: Vec<(Assignment, Timestamp)>, now: impl Fn() -> Timestamp) -> Vec<AttemptKey> {
        let mut started: Started =
            started.into_iter().map(|(assignment, at)| (assignment.key, (assignment, at))).collect();
        let mut taken = Vec::new();
        for index in 0..self.slots.len() {
            if let Some(left) = self.slots[index].left_quick.take() {
                match self.take_over_quick(index, left, &mut started, &now) {
                    Ok(keys) => taken.extend(keys),
                    Err(error) => tracing::error!(slot = index, %error, "what a keeper holds cannot be taken over"),
                }
            }
            let Some(left) = self.slots[index].left.take() else { continue };
            match started.remove(&left.tag.key) {
                Some((assignment, at)) => {
                    let key = assignment.key;
                    let runs = left.report.is_none();
                    match self.take_over(index, left, assignment, at, &now) {
                        Ok(true) => taken.push(key),
                        Ok(false) => {}
                        Err(error) => {
                            tracing::error!(attempt = %key, %error, "an attempt cannot be taken over");
                            self.end_unwanted(index, runs);
                        }
                    }
                }
                None => {
                    self.give_up_left(index, left.tag.folder, left.descriptors, left.report.is_none());
                    self.end_unwanted(index, left.report.is_none());
                }
            }
        }
        self.context.outputs.sweep();
        taken
    }

    fn take_over(
        &mut self,
        index: usize,
        left: Waiting,
        assignment: Assignment,
        at: Timestamp,
        now: &impl Fn() -> Timestamp,
    ) -> io::Result<bool> {
        let language = assignment.spec.language().and_then(|name| self.languages.get(&name.to_lowercase()));
        let slot = &mut self.slots[index];
        let Waiting { tag, stop, descriptors, suspended, report } = left;
        let usage = tag.usage;
        let mut descriptors = descriptors.into_iter();
        let Some(folder) = descriptors.next() else {
            self.end_unwanted(index, report.is_none());
            return Ok(false);
        };
        let folder = slot.folder.adopt(tag.folder, folder)?;
        let compiling = tag.phase == Phase::Compile;
        let stopped = stop.is_some();
        let left = Left { phase: tag.phase, folder, descriptors: descriptors.collect(), stop, usage, suspended };
        let number = slot.number;
        let Some(attempt) = Attempt::adopt(assignment, language, number, left, &mut self.context, at)? else {
            self.end_unwanted(index, report.is_none());
            return Ok(false);
        };
        let Keeper::Present(keeper) = &slot.keeper else { return Ok(false) };
        if compiling && report.is_none() && !stopped {
            keeper.send(&ToKeeper::Kill { note: Vec::new() }, &[])?;
        }
        let key = attempt.key();
        slot.attempt = Some(attempt);
        slot.watch_at = Some(Instant::now());
        if let Some(attempt) = slot.attempt.as_mut().filter(|_| report.is_none()) {
            attempt.pump(index, &mut self.context);
        }
        self.by_key.insert(key, index);
        self.progress_at.get_or_insert_with(|| Instant::now() + super::PROGRESS_INTERVAL);
        if let Some(report) = report {
            self.handle_keeper(index, report, Vec::new(), now())?;
        }
        Ok(true)
    }

    /// The working folder of what nobody wants goes when nothing runs in it: the next program in the slot has the same
    /// user and must not find it.
    fn give_up_left(&mut self, index: usize, name: String, descriptors: Vec<OwnedFd>, runs: bool) {
        let slot = &mut self.slots[index];
        let Some(fd) = descriptors.into_iter().next() else { return };
        match slot.folder.adopt(name, fd) {
            Ok(folder) if runs => slot.folder.lent = Some(folder),
            Ok(folder) => slot.folder.clean(folder, &self.context.cleaner),
            Err(error) => tracing::warn!(slot = index, %error, "what a program left stays until the next start"),
        }
    }

    /// Ends what nobody wants; the slot is free when it has.
    fn end_unwanted(&mut self, index: usize, runs: bool) {
        let slot = &mut self.slots[index];
        slot.ending = runs;
        if let (true, Keeper::Present(keeper)) = (runs, &slot.keeper)
            && let Err(error) = keeper.send(&ToKeeper::Kill { note: Vec::new() }, &[])
        {
            tracing::debug!(%error, "a keeper cannot be told to stop what nobody wants");
        }
    }
}

impl Waiting {
    /// It ended before it was taken over.
    pub(super) fn ended(&mut self, report: FromKeeper) {
        self.report = Some(report);
    }
}

/// What a keeper's answer says of an attempt; none when it never ran one.
fn waiting(state: KeeperState, descriptors: Vec<OwnedFd>) -> Option<Waiting> {
    let suspended = matches!(state, KeeperState::Running { suspended: true, .. });
    let (tag, note, report) = match state {
        KeeperState::Idle | KeeperState::Quick(_) => return None,
        KeeperState::Running { tag, note, suspended: _ } => (tag, note, None),
        KeeperState::Ended { tag, note, report } => (tag, note, Some(*report)),
    };
    // A tag of ours; one that cannot be read belongs to nobody and is ended.
    let tag: Tag = common::frame::decode_record(&tag).ok()?;
    let stop = common::frame::decode_record(&note).ok();
    Some(Waiting { tag, stop, descriptors, suspended, report })
}
