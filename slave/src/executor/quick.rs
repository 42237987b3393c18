//! What a slot's keeper does by itself: it starts commands that need nothing one after another, takes what they write
//! and tells their ends together. Nothing is opened, looked at or closed here for one of them; one that runs on
//! becomes an attempt like any other.

use super::{
    AttemptEnd, Executor, ExecutorEvent, Keeper, PROGRESS_INTERVAL, Slot,
    attempt::{Attempt, Context, Outliving, Turn},
    control::{Control, Unsent},
    outcome::{self, Stop},
    steps::{Phase, Tag, command_step},
};
use common::{id::AttemptKey, limits, message::Assignment, outcome::Outcome, units::Timestamp, view::Usage};
use launcher::protocol::{FromKeeper, Order, Queue, QuickEnd, QuickResult, QuickStep, ToKeeper};
use rustix::fd::{AsFd, OwnedFd};
use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// Ends that a keeper holds for want of a word that they are kept; it is told by itself when nothing else is to be said.
const UNTOLD_MAX: u64 = 8;
/// When a keeper that took no steps is asked again.
const SEND_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// An attempt that was handed over: it has not started, or it runs and nobody knows yet.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) number: u64,
    pub(super) assignment: Assignment,
    pub(super) stop: Option<Stop>,
    /// It shall stand still.
    suspend: bool,
}

impl Given {
    pub(super) const fn new(number: u64, assignment: Assignment, stop: Option<Stop>) -> Self {
        Self { number, assignment, stop, suspend: false }
    }
}

/// What a slot has handed over to its keeper.
#[derive(Debug, Default)]
pub(super) struct Quick {
    /// In the order in which they start.
    pub(super) given: VecDeque<Given>,
    /// Steps of the last of these that the keeper has not been sent.
    steps: Vec<QuickStep>,
    /// The highest number that was given.
    pub(super) last: u64,
    /// Every end up to this number is kept here.
    kept: u64,
    /// The keeper knows that.
    told: u64,
    /// Ends came since it was last looked what is kept.
    heard: bool,
    /// The descriptor of the working folder that it is lent was not sent.
    fresh: bool,
    /// It ends something that nobody wants, under this number.
    pub(super) ending: Option<u64>,
    /// The keeper was asked to give back what has not started.
    returning: bool,
    /// Orders that it had no room for.
    pub(super) unsent: Unsent,
}

impl Quick {
    /// Nothing is handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    fn take(&mut self, number: u64) -> Option<Given> {
        let place = self.given.iter().position(|given| given.number == number)?;
        self.given.remove(place)
    }

    fn of(&mut self, key: AttemptKey) -> Option<&mut Given> {
        self.given.iter_mut().find(|given| given.assignment.key == key)
    }

    /// Whether this attempt was handed over, and is not known to run.
    pub(super) fn holds(&self, key: AttemptKey) -> bool {
        self.given.iter().any(|given| given.assignment.key == key)
    }

    /// Everything that an earlier agent left was taken over; further steps are counted from here.
    pub(super) const fn taken_over(&mut self, last: u64) {
        self.last = last;
    }

    /// Steps that the keeper has not been sent: it never sees them.
    fn unsent_numbers(&mut self) -> Vec<u64> {
        self.steps.drain(..).map(|step| step.number).collect()
    }
}

impl Executor {
    /// Has a command started, in a free slot or behind another attempt in its slot; [`Executor::send_steps`] sends it
    /// off. It must be one that needs neither input, files, network nor terminal. It ends with an event, tells with
    /// one when it runs for longer than others, or comes back with one. `now` is when it was noted as started, by
    /// which the next agent knows it again.
    pub fn hand_over(&mut self, assignment: Assignment, behind: Option<AttemptKey>, now: Timestamp) {
        let key = assignment.key;
        let place = match behind {
            None => self.free_slot().map_err(Failure::from),
            Some(behind) => {
                let index = self.by_key.get(&behind).copied();
                match index.filter(|index| self.slots[*index].quick.of(behind).is_some()) {
                    Some(index) => Ok(index),
                    // That one is there no more, and this one waits again.
                    None => return self.context.events.push(ExecutorEvent::NotStarted(vec![assignment])),
                }
            }
        };
        match place.and_then(|index| self.add_step(index, assignment, now)) {
            Ok(index) => drop(self.by_key.insert(key, index)),
            Err(Failure(outcome)) => self.context.refuse(key, outcome, now),
        }
    }

    fn add_step(&mut self, index: usize, assignment: Assignment, at: Timestamp) -> Result<usize, Failure> {
        // The master has done this; the slave does not rely on it.
        if let Err(error) = assignment.spec.validate() {
            let detail = format!("This slave refuses it: {}.", error.sentence);
            return Err(Failure(Outcome::NotSupported { detail }));
        }
        let slot = &mut self.slots[index];
        // What the program before it wrote is kept elsewhere by now: whoever takes this one over finds only its own.
        self.context.outputs.begin(slot.number).map_err(Failure::preparing)?;
        if slot.folder.lent.is_none() {
            let folder = slot.folder.make().map_err(Failure::preparing)?;
            slot.folder.lent = Some(folder);
            slot.quick.fresh = true;
        }
        let Some(folder) = &slot.folder.lent else { return Err(Failure::preparing(io::ErrorKind::NotFound.into())) };
        let mut step = command_step(&assignment, folder, &self.context.path, &self.context.program_path);
        step.lease_until = self.context.lease_until.map(|until| until.0);
        let name = folder.name().to_owned();
        let tag = Tag { key: assignment.key, at, phase: Phase::Run, folder: name, usage: Usage::default() };
        step.tag = common::frame::encode_record(&tag);
        slot.quick.last += 1;
        let number = slot.quick.last;
        slot.quick.steps.push(QuickStep { number, step });
        slot.quick.given.push_back(Given::new(number, assignment, None));
        if !std::mem::replace(&mut slot.to_send, true) {
            self.to_send.push(index);
        }
        Ok(index)
    }

    /// Everything that [`Executor::turn`] has told is kept, and survives this process.
    pub fn all_is_kept(&mut self) {
        if !self.context.events.is_empty() {
            // Ends that were taken over are among what the next turn tells.
            return;
        }
        for index in std::mem::take(&mut self.heard) {
            let slot = &mut self.slots[index];
            slot.quick.heard = false;
            let runs = slot.attempt.as_ref().and_then(|attempt| attempt.number);
            let open = slot.quick.given.iter().map(|given| given.number).chain(runs).min();
            slot.quick.kept = open.map_or(slot.quick.last, |number| number - 1);
            let untold = slot.quick.kept - slot.quick.told;
            // One that outlived holds up its keeper until that hears of it, with the next step at the latest.
            if untold >= UNTOLD_MAX && !std::mem::replace(&mut slot.to_send, true) {
                self.to_send.push(index);
            }
        }
    }

    /// Sends off what was handed over, each slot's together.
    pub fn send_steps(&mut self) {
        for index in std::mem::take(&mut self.to_send) {
            let slot = &mut self.slots[index];
            slot.to_send = false;
            if !slot.send() {
                // A keeper that does not read holds up nobody else.
                slot.to_send = true;
                self.to_send.push(index);
            }
        }
        self.send_at = (!self.to_send.is_empty()).then(|| Instant::now() + SEND_AGAIN_AFTER);
    }

    /// Gives back everything that was handed over together with this attempt and has not started.
    pub fn take_back(&mut self, key: AttemptKey) {
        let Some(index) = self.by_key.get(&key).copied() else { return };
        if self.slots[index].quick.of(key).is_some() {
            self.ask_back(index);
            self.tell_again();
        }
    }

    pub(super) fn ask_back(&mut self, index: usize) {
        let unsent = self.slots[index].quick.unsent_numbers();
        self.returned(index, &unsent);
        let Slot { quick, keeper, .. } = &mut self.slots[index];
        if let Keeper::Present(keeper) = keeper
            && !quick.given.is_empty()
            && !std::mem::replace(&mut quick.returning, true)
        {
            quick.unsent.tell(keeper, ToKeeper::Return);
        }
    }

    /// Stops an attempt that was handed over. Whether there is one.
    pub(super) fn stop_given(&mut self, index: usize, key: AttemptKey, stop: &Stop) -> bool {
        let slot = &mut self.slots[index];
        let Some(given) = slot.quick.of(key) else { return false };
        let again_harder =
            matches!(given.stop, Some(Stop::Cancelled { .. })) && !matches!(stop, Stop::Cancelled { .. });
        if given.stop.is_some() && !again_harder {
            return true;
        }
        given.stop.get_or_insert_with(|| stop.clone());
        let (number, note) = (given.number, common::frame::encode_record(stop));
        let unsent = slot.quick.steps.iter().position(|step| step.number == number);
        if let Some(place) = unsent {
            slot.quick.steps.remove(place);
            self.returned(index, &[number]);
            return true;
        }
        let order = match stop {
            Stop::Cancelled { .. } => Order::Cancel { grace: limits::CANCEL_GRACE, note },
            Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops | Stop::Failed(_) | Stop::Output => {
                Order::Kill { note }
            }
        };
        self.tell_given(index, number, order);
        true
    }

    fn tell_given(&mut self, index: usize, number: u64, order: Order) {
        let Slot { quick, keeper, .. } = &mut self.slots[index];
        if let Keeper::Present(keeper) = keeper {
            quick.unsent.tell(keeper, ToKeeper::Quick { number, order });
        }
    }

    /// Does something to an attempt that was handed over.
    pub(super) fn control_given(&mut self, index: usize, key: AttemptKey, control: &Control) {
        // The order must not come before what it is about.
        self.send_steps();
        let Some(given) = self.slots[index].quick.of(key) else { return };
        let order = match control {
            // What is being ended is not held up.
            Control::Suspend if given.stop.is_some() => return,
            Control::Suspend => {
                given.suspend = true;
                Order::Suspend
            }
            Control::Resume => {
                given.suspend = false;
                Order::Resume
            }
            Control::SetWallTime(wall_time) => {
                Arc::make_mut(&mut given.assignment.spec).limits.wall_time = *wall_time;
                Order::SetWallTime(*wall_time)
            }
            Control::Signal(signal) => Order::Signal(super::control::number(*signal)),
            // It takes no input and has no terminal.
            Control::Input { .. } | Control::Resize(_) => return,
        };
        let number = given.number;
        self.tell_given(index, number, order);
    }

    /// What a keeper says of what was handed over to it. Gives back what is not about that.
    pub(super) fn hear_of_given(
        &mut self,
        index: usize,
        message: FromKeeper,
        descriptors: Vec<OwnedFd>,
        now: Timestamp,
    ) -> io::Result<Option<FromKeeper>> {
        match message {
            FromKeeper::Ends(ends) => {
                for end in ends {
                    self.quick_ended(index, end, now)?;
                }
            }
            FromKeeper::Outlives { number, started, returned } => {
                self.outlives(index, number, started, descriptors);
                self.returned(index, &returned);
            }
            FromKeeper::Returned(mut numbers) => {
                let quick = &mut self.slots[index].quick;
                if std::mem::take(&mut quick.returning) {
                    // Else they would start before those that were handed over before them.
                    numbers.extend(quick.unsent_numbers());
                }
                self.returned(index, &numbers);
            }
            FromKeeper::QuickSuspended { number, suspended } => {
                let attempt = self.slots[index].attempt.as_mut();
                if let Some(attempt) = attempt.filter(|attempt| attempt.number == Some(number)) {
                    attempt.is_suspended(suspended, &mut self.context);
                } else if let Some(given) = self.slots[index].quick.given.iter_mut().find(|g| g.number == number) {
                    given.suspend = suspended;
                }
            }
            FromKeeper::Ready { .. }
            | FromKeeper::Ended(_)
            | FromKeeper::NotStarted(_)
            | FromKeeper::State { .. }
            | FromKeeper::Suspended(_) => return Ok(Some(message)),
        }
        self.note_heard(index);
        Ok(None)
    }

    pub(super) fn note_heard(&mut self, index: usize) {
        if !std::mem::replace(&mut self.slots[index].quick.heard, true) {
            self.heard.push(index);
        }
    }

    /// These have not started and will not, unless they are handed over again.
    fn returned(&mut self, index: usize, numbers: &[u64]) {
        let slot = &mut self.slots[index];
        let mut back = Vec::new();
        for given in numbers.iter().filter_map(|number| slot.quick.take(*number)) {
            self.by_key.remove(&given.assignment.key);
            match given.stop {
                Some(stop) => self.context.dropped(given.assignment, &stop),
                None => back.push(given.assignment),
            }
        }
        if !back.is_empty() {
            self.context.events.push(ExecutorEvent::NotStarted(back));
        }
    }

    /// One end, of what was handed over or of one of these that ran on.
    pub(super) fn quick_ended(&mut self, index: usize, end: QuickEnd, now: Timestamp) -> io::Result<()> {
        let slot = &mut self.slots[index];
        if let Some(mut attempt) = slot.attempt.take_if(|attempt| attempt.number == Some(end.number)) {
            let Keeper::Present(keeper) = &slot.keeper else { return Ok(()) };
            let message = match end.result {
                QuickResult::Ended(ended) => FromKeeper::Ended(ended),
                QuickResult::NotStarted(failure) => FromKeeper::NotStarted(failure),
                QuickResult::Dropped | QuickResult::Returned => return Ok(()),
            };
            if attempt.step_ended(message, keeper, index, &mut self.context, now) == Turn::Ended {
                slot.watch_at = None;
                self.by_key.remove(&attempt.key());
                if end.touched {
                    attempt.clean_up(&mut slot.folder, &self.context);
                    // What the keeper had no room for before names that folder, and would wait for another.
                    self.ask_back(index);
                } else {
                    // The keeper has it still, and it is as it was.
                    slot.folder.lent = Some(attempt.into_folder());
                }
            }
            return Ok(());
        }
        slot.quick.ending.take_if(|number| *number == end.number);
        let Some(given) = slot.quick.take(end.number) else {
            slot.give_up_folder(end.touched, &self.context);
            return Ok(());
        };
        self.by_key.remove(&given.assignment.key);
        let folder = slot.folder.lent.as_ref().filter(|_| end.touched);
        self.context.given_ended(given, end.result, end.started, (end.output, end.error), folder);
        slot.give_up_folder(end.touched, &self.context);
        if end.touched {
            // What is queued has the old folder in its environment, and waits there for another.
            self.ask_back(index);
        }
        Ok(())
    }

    fn outlives(&mut self, index: usize, number: u64, started: Timestamp, descriptors: Vec<OwnedFd>) {
        let slot = &mut self.slots[index];
        let Some(given) = slot.quick.take(number) else { return };
        let key = given.assignment.key;
        self.context.events.push(ExecutorEvent::Started { key, at: started });
        let Some(folder) = slot.folder.lent.take() else { return };
        let Given { assignment, stop, suspend, .. } = given;
        let outliving = Outliving { number, slot: slot.number, folder, pipes: descriptors, started, stop, suspend };
        let (mut attempt, problem) = Attempt::outliving(assignment, outliving, &mut self.context);
        if let (Some(error), Keeper::Present(keeper)) = (problem, &slot.keeper) {
            attempt.stop(Stop::Failed(format!("The slave could not keep its output: {error}.")), keeper);
        }
        slot.attempt = Some(attempt);
        let at = Instant::now();
        slot.watch_at = Some(at);
        self.progress_at.get_or_insert(at + PROGRESS_INTERVAL);
    }

    /// The keeper is gone: what it had may have run.
    pub(super) fn keeper_of_given_lost(&mut self, index: usize, reason: &str, now: Timestamp) {
        let slot = &mut self.slots[index];
        let quick = std::mem::take(&mut slot.quick);
        let unsent = quick.steps.first().map_or(u64::MAX, |step| step.number);
        let mut back = Vec::new();
        for given in quick.given {
            self.by_key.remove(&given.assignment.key);
            if given.number >= unsent && given.stop.is_none() {
                back.push(given.assignment);
                continue;
            }
            let outcome = match &given.stop {
                Some(Stop::Cancelled { by }) => Outcome::Cancelled { by: by.clone() },
                _ => outcome::keeper_lost(reason),
            };
            self.context.ended(AttemptEnd {
                key: given.assignment.key,
                outcome,
                started_at: Some(now),
                ended_at: now,
                usage: Usage::default(),
                output_truncated: false,
                last_line: String::new(),
            });
        }
        if !back.is_empty() {
            self.context.events.push(ExecutorEvent::NotStarted(back));
        }
        slot.give_up_folder(true, &self.context);
    }
}

impl Slot {
    /// Sends the steps that wait for it. False when the keeper has no room.
    fn send(&mut self) -> bool {
        let Keeper::Present(keeper) = &self.keeper else { return true };
        let quick = &mut self.quick;
        if quick.returning || (quick.steps.is_empty() && quick.told == quick.kept) {
            // What comes back goes first.
            return true;
        }
        let folder = self.folder.lent.as_ref().filter(|_| quick.fresh && !quick.steps.is_empty());
        let descriptor = folder.map(|folder| folder.fd.as_fd());
        let queue = Queue { steps: std::mem::take(&mut quick.steps), folder: folder.is_some(), kept: quick.kept };
        let order = ToKeeper::Queue(queue);
        match keeper.try_send(&order, descriptor.as_slice()) {
            Ok(true) => {
                quick.fresh &= descriptor.is_none();
                quick.told = quick.kept;
                true
            }
            // One that is gone has started nothing of it; the launcher tells that it is gone.
            Ok(false) | Err(_) => {
                if let ToKeeper::Queue(queue) = order {
                    quick.steps = queue.steps;
                }
                false
            }
        }
    }

    /// A program has changed the working folder, or may have: nothing else starts in it.
    pub(super) fn give_up_folder(&mut self, touched: bool, context: &Context) {
        if touched && let Some(folder) = self.folder.lent.take() {
            self.quick.fresh = false;
            self.folder.clean(folder, &context.cleaner);
        } else if self.folder.is_shared() {
            for stray in self.folder.strays() {
                context.cleaner.remove(stray);
            }
        }
    }
}

/// Why an attempt could not be handed over.
struct Failure(Outcome);

impl Failure {
    fn preparing(error: io::Error) -> Self {
        Self(Outcome::Lost { detail: format!("The slave could not prepare it: {error}.") })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(Outcome::Lost { detail: format!("The slave could not make a place for it: {error}.") })
    }
}
