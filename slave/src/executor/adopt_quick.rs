//! What an agent before this one handed over to a keeper: what ended and was not kept, what runs, what waits.

use super::{
    Executor, Keeper, PROGRESS_INTERVAL,
    attempt::{Attempt, Left},
    quick::Given,
    steps::{Phase, Tag},
};
use common::{id::AttemptKey, message::Assignment, units::Timestamp};
use launcher::protocol::{FromKeeper, HeldEnd, Order, QuickEnd, QuickResult, QuickRunning, QuickState, ToKeeper};
use rustix::fd::OwnedFd;
use std::{collections::BTreeMap, io, time::Instant};

/// Attempts in a slot that wait for [`Executor::adopt`].
#[derive(Debug)]
pub(super) struct QuickLeft {
    state: QuickState,
    folder: Option<OwnedFd>,
    pipes: Vec<OwnedFd>,
}

/// Attempts that the journal has as started, and since when.
pub(super) type Started = BTreeMap<AttemptKey, (Assignment, Timestamp)>;

impl QuickLeft {
    pub(super) fn new(state: QuickState, descriptors: Vec<OwnedFd>) -> Self {
        let mut descriptors = descriptors.into_iter();
        let folder = if state.folder { descriptors.next() } else { None };
        Self { folder, pipes: descriptors.collect(), state }
    }

    /// The name of the working folder that is in use there.
    pub(super) fn folder_name(&self) -> Option<String> {
        let running = self.state.running.iter().map(|running| &running.tag);
        // Where another folder is waited for, what waits names one that a program has changed: nobody may find that.
        let waiting = self.state.waiting.iter().filter(|_| !self.state.wants_folder).map(|(_, tag)| tag);
        let outlived = self.outlived().and_then(|place| self.state.ends.get(place)).map(|held| &held.tag);
        let tag = running.chain(waiting).chain(outlived).next()?;
        Some(read_tag(tag)?.folder)
    }

    /// Which of the ends is that of one whose output is still in its pipes.
    fn outlived(&self) -> Option<usize> {
        let nothing = self.pipes.is_empty() || self.state.running.is_some();
        let ran = |held: &HeldEnd| !matches!(held.end.result, QuickResult::Dropped | QuickResult::Returned);
        if nothing { None } else { self.state.ends.iter().rposition(ran) }
    }

    /// Its keeper goes on meanwhile.
    pub(super) fn hear(&mut self, message: FromKeeper, descriptors: Vec<OwnedFd>) {
        match message {
            FromKeeper::Ends(ends) => ends.into_iter().for_each(|end| self.ended(end)),
            FromKeeper::Outlives { number, started, returned } => {
                if let Some(place) = self.state.waiting.iter().position(|(other, _)| *other == number) {
                    let (number, tag) = self.state.waiting.remove(place);
                    self.state.running =
                        Some(QuickRunning { number, tag, note: Vec::new(), suspended: false, started });
                    self.pipes = descriptors;
                }
                self.returned(&returned);
            }
            FromKeeper::Returned(numbers) => self.returned(&numbers),
            FromKeeper::QuickSuspended { number, suspended } => {
                if let Some(running) = self.state.running.as_mut().filter(|running| running.number == number) {
                    running.suspended = suspended;
                }
            }
            FromKeeper::Ready { .. }
            | FromKeeper::Ended(_)
            | FromKeeper::NotStarted(_)
            | FromKeeper::State { .. }
            | FromKeeper::Suspended(_) => {}
        }
    }

    fn ended(&mut self, end: QuickEnd) {
        let held = if let Some(running) = self.state.running.take_if(|running| running.number == end.number) {
            HeldEnd { tag: running.tag, note: running.note, end }
        } else if let Some(place) = self.state.waiting.iter().position(|(number, _)| *number == end.number) {
            HeldEnd { tag: self.state.waiting.remove(place).1, note: Vec::new(), end }
        } else {
            return;
        };
        self.state.ends.push(held);
    }

    fn returned(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.ended(QuickEnd {
                number: *number,
                result: QuickResult::Returned,
                started: Timestamp(0),
                output: Vec::new(),
                error: Vec::new(),
                touched: false,
            });
        }
    }
}

impl Executor {
    /// Whether an attempt was handed over and is not known to have started.
    #[must_use]
    pub fn is_handed_over(&self, key: AttemptKey) -> bool {
        let given = self.by_key.get(&key).is_some_and(|index| self.slots[*index].quick.holds(key));
        let back = |event: &super::ExecutorEvent| {
            let super::ExecutorEvent::NotStarted(back) = event else { return false };
            back.iter().any(|assignment| assignment.key == key)
        };
        given || self.context.events.iter().any(back)
    }

    /// Takes over what a keeper was handed over. Answers whose end, return or further life is told.
    pub(super) fn take_over_quick(
        &mut self,
        index: usize,
        mut left: QuickLeft,
        started: &mut Started,
        now: &impl Fn() -> Timestamp,
    ) -> io::Result<Vec<AttemptKey>> {
        let (name, outlived) = (left.folder_name(), left.outlived());
        let QuickState { ends, running, waiting, last, .. } = std::mem::take(&mut left.state);
        let mut folder = match (name, left.folder.take()) {
            (Some(name), Some(fd)) => Some(self.slots[index].folder.adopt(name, fd)?),
            _ => None,
        };
        let mut pipes = std::mem::take(&mut left.pipes);
        self.slots[index].quick.taken_over(last);
        self.note_heard(index);
        let mut taken = Vec::new();
        for (place, HeldEnd { tag, note, end }) in ends.into_iter().enumerate() {
            let Some(assignment) = take(started, &tag) else { continue };
            let key = assignment.key;
            let stop = common::frame::decode_record(&note).ok();
            self.by_key.insert(key, index);
            if let (true, Some(folder)) = (outlived == Some(place), folder.take_if(|_| outlived == Some(place))) {
                let left = Left {
                    phase: Phase::Run,
                    folder,
                    descriptors: std::mem::take(&mut pipes),
                    stop,
                    usage: Default::default(),
                    suspended: false,
                };
                self.attempt_of_keeper(index, assignment, left, (end.number, end.started))?;
            } else {
                self.slots[index].quick.given.push_back(Given::new(end.number, assignment, stop));
            }
            taken.push(key);
            self.quick_ended(index, end, now())?;
        }
        if let Some(QuickRunning { number, tag, note, suspended, started: at }) = running {
            match (take(started, &tag), folder.take()) {
                (Some(assignment), Some(folder)) => {
                    let stop = common::frame::decode_record(&note).ok();
                    let usage = Default::default();
                    let left = Left { phase: Phase::Run, folder, descriptors: pipes, stop, usage, suspended };
                    taken.push(assignment.key);
                    self.by_key.insert(assignment.key, index);
                    self.attempt_of_keeper(index, assignment, left, (number, at))?;
                }
                (_, unwanted) => {
                    let slot = &mut self.slots[index];
                    slot.folder.lent = unwanted;
                    slot.quick.ending = Some(number);
                    self.end_by_number(index, number);
                }
            }
        }
        if !waiting.is_empty() {
            let slot = &mut self.slots[index];
            slot.folder.lent = folder.take();
            self.context.outputs.begin(slot.number)?;
        }
        for (number, tag) in waiting {
            match take(started, &tag) {
                Some(assignment) => {
                    taken.push(assignment.key);
                    self.by_key.insert(assignment.key, index);
                    self.slots[index].quick.given.push_back(Given::new(number, assignment, None));
                }
                None => self.end_by_number(index, number),
            }
        }
        if let Some(unused) = folder {
            // Its program is known to have ended; the next one in the slot has the same user and must not find it.
            self.slots[index].folder.clean(unused, &self.context.cleaner);
        }
        // It is handed over again, with what it needs from this agent.
        self.ask_back(index);
        Ok(taken)
    }

    fn attempt_of_keeper(
        &mut self,
        index: usize,
        assignment: Assignment,
        left: Left,
        (number, started): (u64, Timestamp),
    ) -> io::Result<()> {
        let slot = &mut self.slots[index];
        let adopted = Attempt::adopt(assignment, None, slot.number, left, &mut self.context, started)?;
        let Some(mut attempt) = adopted else { return Ok(()) };
        attempt.number = Some(number);
        slot.attempt = Some(attempt);
        let now = Instant::now();
        slot.watch_at = Some(now);
        self.progress_at.get_or_insert(now + PROGRESS_INTERVAL);
        Ok(())
    }

    /// Ends what nobody wants.
    fn end_by_number(&mut self, index: usize, number: u64) {
        let slot = &mut self.slots[index];
        if let Keeper::Present(keeper) = &slot.keeper {
            slot.quick.unsent.tell(keeper, ToKeeper::Quick { number, order: Order::Kill { note: Vec::new() } });
        }
    }
}

/// Whose step this is, when it is the one that the journal knows: what was given back may have been handed over to
/// another keeper since then.
fn take(started: &mut Started, tag: &[u8]) -> Option<Assignment> {
    let Tag { key, at, .. } = read_tag(tag)?;
    started.get(&key).filter(|(_, noted)| *noted == at)?;
    started.remove(&key).map(|(assignment, _)| assignment)
}

/// A tag of ours; one that cannot be read belongs to nobody and is ended.
fn read_tag(tag: &[u8]) -> Option<Tag> {
    common::frame::decode_record(tag).ok()
}
