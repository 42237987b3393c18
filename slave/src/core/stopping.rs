//! The end of a slave: nothing new, time for what runs, results delivered, then it leaves.

use super::{Action, Core, Now};
use crate::executor::Stop;
use common::{
    message::Report,
    units::{BootTime, Duration},
};

/// After the last program has ended, the master has this long to take the results, also to come back for them.
const DELIVERY_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum Stopping {
    /// Programs may end by themselves until then.
    Grace(BootTime),
    /// Programs were told to end; results are delivered until then.
    Delivery(BootTime),
}

impl Stopping {
    pub(super) const fn deadline(&self) -> BootTime {
        match self {
            Self::Grace(at) | Self::Delivery(at) => *at,
        }
    }
}

impl Core {
    pub(super) fn stop(&mut self, now: Now) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Stopping::Grace(now.boot.plus(self.grace)));
        self.take_all_back();
        self.tell_stopping();
    }

    /// What was handed over and has not started shall not.
    pub(super) fn take_all_back(&mut self) {
        let handed_over = self.running.iter().filter(|(_, running)| !running.begun).map(|(key, _)| *key);
        self.actions.extend(handed_over.map(Action::TakeBack));
    }

    /// Tells the master that nothing more starts here, and gives back what waits. While it cannot be told, it is
    /// kept for the next connection.
    pub(super) fn tell_stopping(&mut self) {
        if !self.registered() || self.takes_work() {
            return;
        }
        self.report(Report::Draining);
        self.give_back();
    }

    /// Gives back what waits, as soon as it can be told.
    pub(super) fn give_back(&mut self) {
        if !self.registered() {
            return;
        }
        let given_back: Vec<_> = self.waiting.drain(..).map(|assignment| assignment.key).collect();
        if !given_back.is_empty() {
            self.report(Report::Withdrawn(given_back));
        }
    }

    pub(super) fn leave_when_done(&mut self, now: Now) {
        let Some(stopping) = &self.stopping else { return };
        if self.running.is_empty() && self.ended.is_empty() && self.waiting.is_empty() {
            self.actions.push(Action::Leave);
            return;
        }
        if self.running.is_empty() && matches!(stopping, Stopping::Grace(_)) {
            self.stopping = Some(Stopping::Delivery(now.boot.plus(DELIVERY_MAX)));
            return;
        }
        if now.boot < stopping.deadline() {
            return;
        }
        match stopping {
            Stopping::Grace(_) => {
                self.stopping = Some(Stopping::Delivery(now.boot.plus(DELIVERY_MAX)));
                let keys: Vec<_> = self.running.keys().copied().collect();
                self.actions.extend(keys.into_iter().map(|key| Action::Stop(key, Stop::SlaveStops)));
            }
            Stopping::Delivery(_) => self.actions.push(Action::Leave),
        }
    }
}
