//! What waits, runs and is not acknowledged yet, and what follows from each event. Pure: time comes in with
//! the event, bytes stay outside.

mod control;
mod delivery;
mod event;
mod fetching;
mod lanes;
mod lease;
mod policy;
mod stopping;

pub use event::{Action, Event, FinishedHead, Holdings, Left, Now};

use crate::{
    ceiling::Policy,
    executor::{AttemptEnd, Control, Stop},
};
use common::{
    id::AttemptKey,
    limits,
    message::{Assignment, Order, Report},
    outcome::Outcome,
    units::{BootTime, Duration, Timestamp},
    view::Usage,
};
pub use delivery::BULK_AT_ONCE_BYTES;
use delivery::{Delivery, Streams};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Attempts that the master may have sent ahead. What is over it is given back.
const WAITING_MAX: usize = 8_192;

/// An attempt that runs, or that was handed over to be started.
#[derive(Debug)]
struct Running {
    started_at: Timestamp,
    started: BootTime,
    /// It is known to run. What was handed over and is not known to run waits, for all that anybody is told.
    begun: bool,
    /// Its slot.
    lane: usize,
    /// Its place among all that were started here.
    order: u64,
    streams: Streams,
    /// Nobody wants its result.
    discarded: bool,
    /// It stands still.
    suspended: bool,
    /// How much live input it has taken, where it takes any; its end counts as a byte.
    input: Option<u64>,
}

/// An attempt that ended and is not acknowledged.
#[derive(Debug)]
struct Ended {
    end: AttemptEnd,
    streams: Streams,
    /// The report was sent on this connection.
    reported: bool,
}

/// Where the slave stands with its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// There is none.
    Down,
    /// The registration was sent then and is not accepted yet.
    Registering(BootTime),
    /// Reports go out.
    Registered,
}

/// The state of a slave.
#[derive(Debug)]
pub struct Core {
    slots: u32,
    slots_max: u32,
    /// What the master said last.
    told_slots: Option<u32>,
    policy: Policy,
    grace: Duration,
    lease: lease::Lease,
    waiting: VecDeque<Assignment>,
    fetching: fetching::Fetching,
    running: BTreeMap<AttemptKey, Running>,
    lanes: lanes::Lanes,
    /// What the master wants back and was handed over.
    wanted_back: BTreeSet<AttemptKey>,
    /// Places of those that came back and wait again.
    orders: BTreeMap<AttemptKey, u64>,
    next_order: u64,
    ended: BTreeMap<AttemptKey, Ended>,
    session: Session,
    /// The epoch of the master's history that everything here belongs to.
    epoch: u32,
    /// Nothing keeps the slave from starting programs.
    fit: bool,
    /// Running attempts with output that has not been sent.
    unsent: BTreeSet<AttemptKey>,
    /// The last of them that was sent.
    flushed: Option<AttemptKey>,
    /// Bytes of bulk that may still be sent with the events that are being handled.
    bulk_room: u64,
    flush_at: Option<BootTime>,
    stopping: Option<stopping::Stopping>,
    actions: Vec<Action>,
}

impl Core {
    /// A slave that offers `slots`, never runs more than `slots_max`, and gives programs `grace` to end when
    /// it is stopped.
    #[must_use]
    pub fn new(slots: u32, slots_max: u32, grace: Duration) -> Self {
        Self {
            slots,
            slots_max,
            told_slots: None,
            policy: Policy::default(),
            grace,
            lease: lease::Lease::new(),
            waiting: VecDeque::new(),
            fetching: fetching::Fetching::default(),
            running: BTreeMap::new(),
            lanes: lanes::Lanes::new(),
            wanted_back: BTreeSet::new(),
            orders: BTreeMap::new(),
            next_order: 0,
            ended: BTreeMap::new(),
            session: Session::Down,
            epoch: 0,
            fit: true,
            unsent: BTreeSet::new(),
            flushed: None,
            bulk_room: 0,
            flush_at: None,
            stopping: None,
            actions: Vec::new(),
        }
    }

    /// Hands commands that need nothing over to whoever starts programs ([`Action::HandOver`]): one for each slot,
    /// and up to `depth` where programs end quickly, 32 at most. `depth` is at least 1.
    #[must_use]
    pub fn handing_over(mut self, depth: usize) -> Self {
        self.lanes.ahead = Some(depth.min(lanes::AHEAD_MAX));
        self
    }

    /// Goes on with what an earlier start of the agent left. To be called before the first event.
    pub fn restore(&mut self, left: Left) {
        self.epoch = left.epoch;
        for (key, started_at, ends) in left.running {
            let begins = left.begins.get(&key).copied().unwrap_or_default();
            let streams = Streams::of_places(std::array::from_fn(|place| (begins[place], ends[place])));
            let suspended = left.suspended.contains(&key);
            let input = left.inputs.get(&key).copied();
            let (started, begun) = (BootTime(0), !left.handed_over.contains(&key));
            let lane = self.lanes.restore(key);
            let order = self.next_order();
            let running =
                Running { started_at, started, begun, lane, order, streams, discarded: false, suspended, input };
            self.running.insert(key, running);
        }
        for (end, places) in left.ended {
            let streams = Streams::of_places(places);
            self.ended.insert(end.key, Ended { end, streams, reported: false });
        }
    }

    /// Decides what follows from one event.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        self.handle_all([event], now)
    }

    /// Decides what follows from events that are heard of at once.
    pub fn handle_all(&mut self, events: impl IntoIterator<Item = Event>, now: Now) -> Vec<Action> {
        self.bulk_room = if now.takes_bulk { delivery::BULK_AT_ONCE_BYTES } else { 0 };
        // First of all: after a long stop of this process the events may be of the time before.
        self.end_lease(now);
        for event in events {
            self.take(event, now);
        }
        self.tick(now);
        self.fill(now);
        self.sweep_inputs(now);
        self.leave_when_done(now);
        std::mem::take(&mut self.actions)
    }

    fn take(&mut self, event: Event, now: Now) {
        match event {
            Event::Connected => self.connected(now),
            Event::Disconnected => self.disconnected(),
            Event::HeartbeatAnswered(number) => self.heartbeat_answered(number),
            Event::Order(order) => self.order(order, now),
            Event::Output { key, stream, end } => self.output(key, stream, end, now),
            Event::OutputLost { key, stream, offset } => self.output_lost(key, stream, offset, now),
            Event::Progress { key, progress } => {
                if self.running.get(&key).is_some_and(|running| !running.discarded) {
                    self.report(Report::Progress { key, progress });
                }
            }
            Event::Suspended { key, suspended } => self.suspended(key, suspended),
            Event::InputTaken { key, offset } => self.input_taken(key, offset),
            Event::InputHeld { digest, result } => self.input_held(digest, result, now),
            Event::Ended(end) => self.ended(*end, now),
            Event::Started { key, at } => self.started(key, at),
            Event::NotStarted(assignments) => self.not_started(assignments),
            Event::Fit(fit) => self.set_fit(fit),
            Event::Stop => self.stop(now),
            Event::Tick => {}
        }
    }

    /// When to call again with [`Event::Tick`], and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(BootTime, &'static str)> {
        let (lease, heartbeat) = (self.lease.end(), self.lease.heartbeat());
        let flush = self.flush_at.filter(|_| self.registered()).map(|at| (at, "output is sent"));
        let stopping = self.stopping.as_ref().map(|stopping| (stopping.deadline(), "the grace period ends"));
        let fetch = self.fetch_deadline().map(|at| (at, "an input file is overdue"));
        [lease, heartbeat, flush, stopping, fetch].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// What the slave holds, for its registration.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let wanted = self.running.iter().filter(|(_, running)| !running.discarded);
        let handed_over = wanted.clone().filter(|(_, running)| !running.begun).map(|(key, _)| *key);
        let begun = wanted.filter(|(_, running)| running.begun);
        Holdings {
            waiting: handed_over.chain(self.waiting.iter().map(|assignment| assignment.key)).collect(),
            running: begun.clone().map(|(key, running)| (*key, running.started_at)).collect(),
            suspended: begun.filter(|(_, running)| running.suspended).map(|(key, _)| *key).collect(),
            finished: self.ended.keys().copied().collect(),
            epoch: self.epoch,
        }
    }

    /// Attempts that wait, run and are not acknowledged.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let begun = self.running.values().filter(|running| running.begun).count();
        (self.waiting.len() + self.running.len() - begun, begun, self.ended.len())
    }

    /// Whether every slot is in use and something else could start at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.takes_work() && self.lanes.are_full(self.slots as usize) && self.next_ready().is_some()
    }

    fn registered(&self) -> bool {
        self.session == Session::Registered
    }

    fn report(&mut self, report: Report) {
        if self.registered() {
            self.actions.push(Action::Report(report));
        }
    }

    fn order(&mut self, order: Order, now: Now) {
        if self.session == Session::Down {
            // It came on a session that was given up in the meantime.
            return;
        }
        match order {
            Order::Assign(assignments) => self.assign(assignments, now),
            Order::Withdraw(keys) => self.withdraw(&keys),
            Order::Cancel { keys, by } => {
                for key in keys {
                    self.cancel(key, &by, now);
                }
            }
            Order::Acknowledge(keys) => {
                for key in keys {
                    if self.ended.remove(&key).is_some() {
                        self.actions.push(Action::Forget(key));
                    }
                }
            }
            Order::Stored(parts) => {
                for part in parts {
                    self.stored(part, now);
                }
            }
            Order::SetSlots(slots) => self.set_slots(slots),
            Order::Discard(keys) => {
                for key in keys {
                    self.discard(key);
                }
            }
            Order::Suspend(keys) => keys.into_iter().for_each(|key| self.control(key, Control::Suspend)),
            Order::Resume(keys) => keys.into_iter().for_each(|key| self.control(key, Control::Resume)),
            Order::SetWallTime { key, wall_time } => self.set_wall_time(key, wall_time),
            Order::Signal { key, signal } => self.control(key, Control::Signal(signal)),
            Order::Input { key, offset, bytes, end } => self.control(key, Control::Input { offset, bytes, end }),
            Order::Resize { key, size } => self.control(key, Control::Resize(size)),
            Order::InputMissing(digest) => self.input_missing(digest, now),
            Order::Registered { slots, lease, epoch } => {
                self.set_slots(slots);
                self.accepted(lease, epoch, now);
            }
        }
    }

    const fn takes_work(&self) -> bool {
        self.fit && self.stopping.is_none()
    }

    /// The master learns the reason with a new registration, and then that nothing is wanted, or that the slave
    /// is back.
    fn set_fit(&mut self, fit: bool) {
        if std::mem::replace(&mut self.fit, fit) != fit && self.session != Session::Down {
            self.disconnected();
            self.actions.push(Action::Reconnect);
        }
    }

    fn knows(&self, key: AttemptKey) -> bool {
        self.running.contains_key(&key)
            || self.ended.contains_key(&key)
            || self.waiting.iter().any(|assignment| assignment.key == key)
    }

    fn assign(&mut self, assignments: Vec<Assignment>, now: Now) {
        let mut refused = Vec::new();
        for mut assignment in assignments {
            let discarded = self.running.get(&assignment.key).is_some_and(|running| running.discarded);
            if self.knows(assignment.key) && !discarded {
                continue;
            }
            // Of one that is being killed nothing will be told, so it must not be waited for.
            if discarded || !self.takes_work() || self.waiting.len() >= WAITING_MAX {
                refused.push(assignment.key);
                continue;
            }
            match self.policy.admit(&mut assignment) {
                Ok(()) => {
                    self.want_inputs(&assignment);
                    self.waiting.push_back(assignment);
                }
                // A refusal is kept until the master has it, as every end: what is over the bound goes back.
                Err(_) if self.ended.len() >= limits::OUTBOX_RESULTS_MAX => refused.push(assignment.key),
                Err(reason) => self.refuse(&assignment, &reason, now),
            }
        }
        if !refused.is_empty() {
            self.report(Report::Withdrawn(refused));
        }
    }

    fn withdraw(&mut self, keys: &[AttemptKey]) {
        let mut withdrawn = Vec::new();
        let mut started = Vec::new();
        for key in keys {
            if let Some(running) = self.running.get(key) {
                if running.begun {
                    started.push((*key, running.started_at));
                } else if self.wanted_back.insert(*key) {
                    // It is given back, or its start or its end is told.
                    self.actions.push(Action::TakeBack(*key));
                }
            } else if !self.ended.contains_key(key) {
                withdrawn.push(*key);
            }
        }
        self.waiting.retain(|assignment| !withdrawn.contains(&assignment.key));
        if !withdrawn.is_empty() {
            self.report(Report::Withdrawn(withdrawn));
        }
        if !started.is_empty() {
            self.report(Report::Started(started));
        }
    }

    fn cancel(&mut self, key: AttemptKey, by: &str, now: Now) {
        if self.running.contains_key(&key) {
            self.actions.push(Action::Stop(key, Stop::Cancelled { by: by.to_owned() }));
        } else if self.take_waiting(key) {
            let end = AttemptEnd {
                key,
                outcome: Outcome::Cancelled { by: by.to_owned() },
                started_at: None,
                ended_at: now.wall,
                usage: Usage::default(),
                output_truncated: false,
                last_line: String::new(),
            };
            self.keep_end(end, Streams::default(), now);
        }
    }

    fn discard(&mut self, key: AttemptKey) {
        if let Some(running) = self.running.get_mut(&key) {
            running.discarded = true;
            self.unsent.remove(&key);
            self.actions.push(Action::Stop(key, Stop::Discarded));
        } else if self.ended.remove(&key).is_some() {
            self.actions.push(Action::Forget(key));
        } else {
            self.take_waiting(key);
        }
    }

    fn take_waiting(&mut self, key: AttemptKey) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|assignment| assignment.key != key);
        self.waiting.len() < before
    }

    /// Starts what waits, as far as there is room.
    fn fill(&mut self, now: Now) {
        let mut started = Vec::new();
        while self.takes_work() && !self.lease.is_over(now.boot) && self.ended.len() < limits::OUTBOX_RESULTS_MAX {
            let Some(next) = self.next_ready() else { break };
            let quick = self.lanes.ahead.is_some() && lanes::is_quick(&self.waiting[next].spec);
            let Some(place) = self.lanes.place(quick, self.slots as usize, self.waiting.len()) else { break };
            let Some(assignment) = self.waiting.remove(next) else { break };
            let order = self.orders.remove(&assignment.key).unwrap_or_else(|| self.next_order());
            let running = Running {
                started_at: now.wall,
                started: now.boot,
                begun: !quick,
                lane: place.lane,
                order,
                streams: Streams::default(),
                discarded: false,
                suspended: false,
                input: assignment.spec.live.map(|_| 0),
            };
            self.lanes.add(place, assignment.key, quick);
            self.running.insert(assignment.key, running);
            if quick {
                self.actions.push(Action::HandOver { assignment, behind: place.behind });
            } else {
                started.push((assignment.key, now.wall));
                self.actions.push(Action::Start(assignment));
            }
        }
        if !started.is_empty() {
            self.report(Report::Started(started));
        }
    }

    const fn next_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    /// What was handed over is known to run, and goes on for a while.
    fn started(&mut self, key: AttemptKey, at: Timestamp) {
        let Some(running) = self.running.get_mut(&key).filter(|running| !running.begun) else { return };
        running.begun = true;
        running.started_at = at;
        self.lanes.runs_on(running.lane);
        self.wanted_back.remove(&key);
        if !running.discarded {
            self.report(Report::Started(vec![(key, at)]));
        }
    }

    /// These surely have not started: they wait again, unless nobody wants them here any more.
    fn not_started(&mut self, assignments: Vec<Assignment>) {
        let mut withdrawn = Vec::new();
        for assignment in assignments {
            let key = assignment.key;
            let wanted_back = self.wanted_back.remove(&key);
            let Some(running) = self.running.remove(&key) else { continue };
            self.lanes.given_back(running.lane, key);
            if running.discarded {
                self.actions.push(Action::Forget(key));
            } else if wanted_back {
                withdrawn.push(key);
            } else {
                self.wait_again(assignment, running.order);
            }
        }
        if !withdrawn.is_empty() {
            self.report(Report::Withdrawn(withdrawn));
        }
        if !self.takes_work() {
            self.give_back();
        }
    }

    /// Before all that never were started, and behind what came back and was started before it.
    fn wait_again(&mut self, assignment: Assignment, order: u64) {
        let before = |other: &&Assignment| self.orders.get(&other.key).is_some_and(|other| *other < order);
        let place = self.waiting.iter().take_while(before).count();
        if self.orders.len() >= WAITING_MAX {
            // What was asked back or cancelled meanwhile left its place here.
            self.orders.clear();
        }
        self.orders.insert(assignment.key, order);
        self.waiting.insert(place, assignment);
    }

    fn ended(&mut self, end: AttemptEnd, now: Now) {
        self.unsent.remove(&end.key);
        self.wanted_back.remove(&end.key);
        let running = self.running.remove(&end.key);
        if let Some(running) = &running {
            let took = end.ended_at.since(end.started_at.unwrap_or(end.ended_at));
            self.lanes.ended(running.lane, end.key, (!running.begun).then_some(took));
        }
        match running {
            Some(running) if !running.discarded => self.keep_end(end, running.streams, now),
            _ => self.actions.push(Action::Forget(end.key)),
        }
    }

    fn keep_end(&mut self, end: AttemptEnd, streams: Streams, now: Now) {
        let key = end.key;
        self.ended.insert(key, Ended { end, streams, reported: false });
        self.deliver(key, Delivery::First, now);
    }

    /// A session began: the registration goes first.
    fn connected(&mut self, now: Now) {
        self.disconnected();
        self.session = Session::Registering(now.boot);
        self.actions.push(Action::Register(self.holdings()));
    }

    fn disconnected(&mut self) {
        self.session = Session::Down;
        self.lease.session_ended();
        // It is told as waiting by the next registration, and simply stays.
        self.wanted_back.clear();
        for running in self.running.values_mut() {
            running.streams.rewind();
        }
        for ended in self.ended.values_mut() {
            ended.streams.rewind();
            ended.reported = false;
        }
    }

    /// The master has taken the registration: everything that is held is told again.
    fn accepted(&mut self, lease: Duration, epoch: u32, now: Now) {
        let Session::Registering(sent) = self.session else { return };
        self.session = Session::Registered;
        self.enter_epoch(epoch);
        self.lease_begins(sent, lease, now);
        self.tell_stopping();
        let wanted = self.running.iter().filter(|(_, running)| !running.discarded && running.begun);
        let started: Vec<_> = wanted.map(|(key, running)| (*key, running.started_at)).collect();
        self.unsent.extend(started.iter().map(|(key, _)| *key));
        self.flush_at = Some(now.boot);
        if !started.is_empty() {
            self.report(Report::Started(started));
        }
        self.tell_inputs();
        self.ask_for_inputs_again(now);
        for key in self.ended.keys().copied().collect::<Vec<_>>() {
            self.deliver(key, Delivery::Again, now);
        }
    }

    /// What belongs to another epoch is wanted by nobody, and its attempts may be numbered like new ones: it goes
    /// before the new epoch is remembered.
    fn enter_epoch(&mut self, epoch: u32) {
        if self.epoch == epoch {
            return;
        }
        if self.epoch != 0 {
            let Holdings { waiting, running, finished, .. } = self.holdings();
            let running = running.into_iter().map(|(key, _)| key);
            for key in waiting.into_iter().chain(running).chain(finished) {
                self.discard(key);
            }
        }
        self.epoch = epoch;
        self.actions.push(Action::RememberEpoch(epoch));
    }

    fn tick(&mut self, now: Now) {
        self.heartbeat(now);
        self.ask_for_overdue_inputs(now);
        if self.registered() && self.flush_at.is_some_and(|at| now.boot >= at) {
            self.flush(now);
        }
    }
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test names the one case that it expects")]
mod tests;
