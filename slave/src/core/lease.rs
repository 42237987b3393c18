//! How long programs may run without an answer of the master: counted from proof, never from a belief.
//!
//! The proof is a message that the master answered. It was received after it was sent, so a deadline that
//! counts from the sending is earlier than one that the master counts from the end of the connection, whatever
//! the network did in between.

use super::{Action, Core, Now, Session};
use crate::executor::Stop;
use common::{
    limits,
    units::{BootTime, Duration},
};
use std::collections::VecDeque;

/// A heartbeat goes out at least this often.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
/// And never more often, however short the master makes the lease.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// Heartbeats of one lease.
const HEARTBEATS_PER_LEASE: u64 = 5;

#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    /// Programs are ended then; none while there is nothing to lose.
    until: Option<BootTime>,
    /// Heartbeats of this session that were not answered, oldest first: number and time of sending.
    unanswered: VecDeque<(u64, BootTime)>,
    sent: u64,
    next_heartbeat: Option<BootTime>,
}

impl Lease {
    pub(super) const fn new() -> Self {
        Self { length: limits::LEASE_SLAVE, until: None, unanswered: VecDeque::new(), sent: 0, next_heartbeat: None }
    }

    fn interval(&self) -> Duration {
        Duration(self.length.0 / HEARTBEATS_PER_LEASE).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
    }

    pub(super) const fn is_over(&self, now: BootTime) -> bool {
        match self.until {
            Some(until) => now.0 >= until.0,
            None => true,
        }
    }

    pub(super) fn end(&self) -> Option<(BootTime, &'static str)> {
        self.until.map(|at| (at, "the lease ends"))
    }

    pub(super) fn heartbeat(&self) -> Option<(BootTime, &'static str)> {
        self.next_heartbeat.map(|at| (at, "a heartbeat is sent"))
    }

    /// The session is over: no answer to what was sent on it counts any more.
    pub(super) fn session_ended(&mut self) {
        self.unanswered.clear();
        self.next_heartbeat = None;
    }
}

impl Core {
    /// The master has answered what was sent at `sent`.
    fn proved(&mut self, sent: BootTime) {
        let until = sent.plus(self.lease.length);
        if self.lease.until.is_none_or(|before| before < until) {
            self.lease.until = Some(until);
            self.actions.push(Action::SetLease(until));
        }
    }

    /// The registration that was sent at `sent` is accepted, and the master sets the lease.
    pub(super) fn lease_begins(&mut self, sent: BootTime, length: Duration, now: Now) {
        self.lease.length = length;
        // A shorter lease than before binds at once.
        self.lease.until = None;
        self.proved(sent);
        self.lease.next_heartbeat = Some(now.boot.plus(self.lease.interval()));
    }

    pub(super) fn heartbeat_answered(&mut self, number: u64) {
        let Some((_, sent)) = self.lease.unanswered.iter().find(|(other, _)| *other == number).copied() else { return };
        self.lease.unanswered.retain(|(other, _)| *other > number);
        self.proved(sent);
    }

    pub(super) fn heartbeat(&mut self, now: Now) {
        if self.lease.next_heartbeat.is_none_or(|at| now.boot < at) {
            return;
        }
        self.lease.sent += 1;
        self.lease.unanswered.push_back((self.lease.sent, now.boot));
        self.lease.next_heartbeat = Some(now.boot.plus(self.lease.interval()));
        self.actions.push(Action::Heartbeat(self.lease.sent));
    }

    /// Past the lease the master gives up what runs here, and may start it elsewhere: it ends, and nothing
    /// starts until the slave has registered again. A session that is still there is of no use: the master does
    /// not answer on it.
    pub(super) fn end_lease(&mut self, now: Now) {
        if self.lease.until.is_none() || !self.lease.is_over(now.boot) {
            return;
        }
        self.lease.until = None;
        self.waiting.clear();
        // What may have been started is told when it has ended: only the master knows whether its start was ever
        // heard of, and must not take it for one that never started.
        let running = self.running.iter().filter(|(_, running)| !running.discarded);
        self.actions.extend(running.map(|(key, _)| Action::Stop(*key, Stop::LeaseEnded)));
        if self.session != Session::Down {
            self.disconnected();
            self.actions.push(Action::Reconnect);
        }
    }
}
