//! What waits, runs and is not acknowledged yet, and what follows from each event. Pure: time comes in with
//! the event, bytes stay outside.

mod delivery;
mod event;
mod stopping;

pub use event::{Action, Event, FinishedHead, Now};

use crate::executor::{AttemptEnd, Stop};
use common::{
    id::AttemptKey,
    limits,
    message::{Assignment, Order, Report},
    outcome::Outcome,
    units::{BootTime, Duration, Timestamp},
    view::Usage,
};
use delivery::Streams;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Attempts that the master may have sent ahead. What is over it is given back.
const WAITING_MAX: usize = 8_192;

/// An attempt that runs.
#[derive(Debug)]
struct Running {
    started_at: Timestamp,
    started: BootTime,
    streams: Streams,
    /// Nobody wants its result.
    discarded: bool,
}

/// An attempt that ended and is not acknowledged.
#[derive(Debug)]
struct Ended {
    end: AttemptEnd,
    streams: Streams,
    /// The report was sent on this connection.
    reported: bool,
}

/// The state of a slave.
#[derive(Debug)]
pub struct Core {
    slots: u32,
    slots_max: u32,
    grace: Duration,
    lease: Duration,
    waiting: VecDeque<Assignment>,
    running: BTreeMap<AttemptKey, Running>,
    ended: BTreeMap<AttemptKey, Ended>,
    /// The session is registered: reports go out.
    registered: bool,
    /// Since when there is no session, while something would be lost by that.
    cut_off_since: Option<BootTime>,
    /// Running attempts with output that has not been sent.
    unsent: BTreeSet<AttemptKey>,
    flush_at: Option<BootTime>,
    stopping: Option<stopping::Stopping>,
    actions: Vec<Action>,
}

impl Core {
    /// A slave that offers `slots`, never runs more than `slots_max`, and gives programs `grace` to end when
    /// it is stopped.
    #[must_use]
    pub const fn new(slots: u32, slots_max: u32, grace: Duration) -> Self {
        Self {
            slots,
            slots_max,
            grace,
            lease: limits::LEASE_SLAVE,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            registered: false,
            cut_off_since: None,
            unsent: BTreeSet::new(),
            flush_at: None,
            stopping: None,
            actions: Vec::new(),
        }
    }

    /// Decides what follows from one event.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        match event {
            Event::Disconnected => self.disconnected(now),
            Event::Order(order) => self.order(order, now),
            Event::Output { key, stream, end } => self.output(key, stream, end, now),
            Event::OutputLost { key, stream, offset } => self.output_lost(key, stream, offset, now),
            Event::Progress { key, progress } => {
                if self.running.get(&key).is_some_and(|running| !running.discarded) {
                    self.report(Report::Progress { key, progress });
                }
            }
            Event::Ended(end) => self.ended(*end, now),
            Event::Stop => self.stop(now),
            Event::Tick => {}
        }
        self.tick(now);
        self.fill(now);
        self.leave_when_done(now);
        std::mem::take(&mut self.actions)
    }

    /// When to call again with [`Event::Tick`], and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(BootTime, &'static str)> {
        let lease = self.cut_off_since.map(|since| (since.plus(self.lease), "the lease ends"));
        let flush = self.flush_at.filter(|_| self.registered).map(|at| (at, "output is sent"));
        let stopping = self.stopping.as_ref().map(|stopping| (stopping.deadline(), "the grace period ends"));
        [lease, flush, stopping].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// What the slave holds, for its registration: waiting, running, finished.
    #[must_use]
    pub fn holdings(&self) -> (Vec<AttemptKey>, Vec<(AttemptKey, Timestamp)>, Vec<AttemptKey>) {
        let wanted = self.running.iter().filter(|(_, running)| !running.discarded);
        (
            self.waiting.iter().map(|assignment| assignment.key).collect(),
            wanted.map(|(key, running)| (*key, running.started_at)).collect(),
            self.ended.keys().copied().collect(),
        )
    }

    /// Attempts that wait, run and are not acknowledged.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.waiting.len(), self.running.len(), self.ended.len())
    }

    fn report(&mut self, report: Report) {
        if self.registered {
            self.actions.push(Action::Report(report));
        }
    }

    fn order(&mut self, order: Order, now: Now) {
        match order {
            Order::Assign(assignments) => self.assign(assignments),
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
            Order::SetSlots(slots) => self.slots = slots.min(self.slots_max),
            Order::Discard(keys) => {
                for key in keys {
                    self.discard(key);
                }
            }
            Order::Registered { slots, lease, epoch: _ } => {
                self.slots = slots.min(self.slots_max);
                self.lease = lease;
                self.registered(now);
            }
        }
    }

    fn knows(&self, key: AttemptKey) -> bool {
        self.running.contains_key(&key)
            || self.ended.contains_key(&key)
            || self.waiting.iter().any(|assignment| assignment.key == key)
    }

    fn assign(&mut self, assignments: Vec<Assignment>) {
        let mut refused = Vec::new();
        for assignment in assignments {
            let discarded = self.running.get(&assignment.key).is_some_and(|running| running.discarded);
            if self.knows(assignment.key) && !discarded {
                continue;
            }
            // Of one that is being killed nothing will be told, so it must not be waited for.
            if discarded || self.stopping.is_some() || self.waiting.len() >= WAITING_MAX {
                refused.push(assignment.key);
            } else {
                self.waiting.push_back(assignment);
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
                started.push((*key, running.started_at));
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
        while self.stopping.is_none()
            && self.running.len() < self.slots as usize
            && self.ended.len() < limits::OUTBOX_RESULTS_MAX
        {
            let Some(assignment) = self.waiting.pop_front() else { break };
            let running =
                Running { started_at: now.wall, started: now.boot, streams: Streams::default(), discarded: false };
            started.push((assignment.key, now.wall));
            self.running.insert(assignment.key, running);
            self.actions.push(Action::Start(assignment));
        }
        if !started.is_empty() {
            self.report(Report::Started(started));
        }
    }

    fn ended(&mut self, end: AttemptEnd, now: Now) {
        self.unsent.remove(&end.key);
        match self.running.remove(&end.key) {
            Some(running) if !running.discarded => self.keep_end(end, running.streams, now),
            _ => self.actions.push(Action::Forget(end.key)),
        }
    }

    fn keep_end(&mut self, end: AttemptEnd, streams: Streams, now: Now) {
        let key = end.key;
        self.ended.insert(key, Ended { end, streams, reported: false });
        self.deliver(key, now);
    }

    fn disconnected(&mut self, now: Now) {
        self.registered = false;
        self.cut_off_since.get_or_insert(now.boot);
        for running in self.running.values_mut() {
            running.streams.rewind();
        }
        for ended in self.ended.values_mut() {
            ended.streams.rewind();
            ended.reported = false;
        }
    }

    /// The master has taken the registration: everything that is held is told again.
    fn registered(&mut self, now: Now) {
        self.registered = true;
        self.cut_off_since = None;
        self.tell_stopping();
        let wanted = self.running.iter().filter(|(_, running)| !running.discarded);
        let started: Vec<_> = wanted.map(|(key, running)| (*key, running.started_at)).collect();
        self.unsent.extend(started.iter().map(|(key, _)| *key));
        self.flush_at = Some(now.boot);
        if !started.is_empty() {
            self.report(Report::Started(started));
        }
        for key in self.ended.keys().copied().collect::<Vec<_>>() {
            self.deliver(key, now);
        }
    }

    fn tick(&mut self, now: Now) {
        if self.cut_off_since.is_some_and(|since| now.boot >= since.plus(self.lease)) {
            // The master gives these up soon and may start them elsewhere.
            self.cut_off_since = None;
            self.waiting.clear();
            // What may have been started is told when it has ended: only the master knows whether its start
            // was ever heard of, and must not take it for one that never started.
            let running = self.running.iter().filter(|(_, running)| !running.discarded);
            self.actions.extend(running.map(|(key, _)| Action::Stop(*key, Stop::LeaseEnded)));
        }
        if self.registered && self.flush_at.is_some_and(|at| now.boot >= at) {
            self.flush(now);
        }
    }
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test names the one case that it expects")]
mod tests;
