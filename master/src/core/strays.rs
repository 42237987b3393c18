//! Attempts that a slave does not have though it should, while it cannot say what became of them.
//!
//! A slave that comes back as the same instance has its whole journal: what it does not know is surely not
//! running there, and is lost at once. Another instance may be a machine that restarted, and then everything is
//! dead; but it may as well be an agent that lost its journal, and then a keeper of the agent before may run the
//! program on until the lease of that agent is over. The master cannot tell the two apart, so such an attempt is
//! shown as not known, and nothing follows from it before that lease is over here (P3).

use super::Core;
use common::{AttemptKey, SlaveId, Timestamp, units::BootTime};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
struct Stray {
    until: BootTime,
    since: Timestamp,
}

/// Attempts of which nobody knows whether they run.
#[derive(Debug, Default)]
pub(super) struct Strays {
    attempts: BTreeMap<AttemptKey, Stray>,
    due: BTreeSet<(BootTime, AttemptKey)>,
}

impl Strays {
    /// Nothing is known of it since now. An attempt that strays already keeps its deadline.
    fn insert(&mut self, key: AttemptKey, until: BootTime, since: Timestamp) {
        let stray = self.attempts.entry(key).or_insert(Stray { until, since });
        self.due.insert((stray.until, key));
    }

    /// It is known again, or over.
    pub(super) fn remove(&mut self, key: AttemptKey) {
        if let Some(stray) = self.attempts.remove(&key) {
            self.due.remove(&(stray.until, key));
        }
    }

    /// Since when nothing is known of it.
    pub(super) fn since(&self, key: AttemptKey) -> Option<Timestamp> {
        self.attempts.get(&key).map(|stray| stray.since)
    }

    /// When it counts as lost.
    pub(super) fn until(&self, key: AttemptKey) -> Option<BootTime> {
        self.attempts.get(&key).map(|stray| stray.until)
    }

    pub(super) fn next(&self) -> Option<BootTime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// None is over before this.
    pub(super) fn put_off(&mut self, until: BootTime) {
        for (key, stray) in &mut self.attempts {
            if stray.until < until {
                self.due.remove(&(stray.until, *key));
                stray.until = until;
                self.due.insert((until, *key));
            }
        }
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self, held: impl Fn(AttemptKey) -> bool) {
        assert_eq!(self.attempts.len(), self.due.len());
        assert!(self.attempts.keys().all(|key| held(*key)), "a stray is held by a slave");
    }
}

impl Core {
    /// A slave came back without an attempt and cannot say what became of it.
    pub(super) fn stray(&mut self, slave: SlaveId, sequence: u64, key: AttemptKey, until: BootTime) {
        self.strays.insert(key, until, self.now.wall);
        // It is not asked back: a slave gives back what it does not know, and that would prove nothing.
        self.scheduler.started(sequence, slave);
        self.watch_program(sequence);
    }

    /// Strays whose lease is over.
    pub(super) fn lose_strays(&mut self) {
        while let Some((at, key)) = self.strays.due.first().copied()
            && at <= self.now.boot
        {
            self.strays.remove(key);
            let sequence = self.by_id.get(&key.program).copied();
            if let Some(sequence) =
                sequence.filter(|sequence| self.programs.get(sequence).is_some_and(|program| program.key() == key))
            {
                let slave = self.programs.get(&sequence).and_then(super::program::Program::slave);
                self.lose(sequence, "came back without it");
                if let Some(slave) = slave {
                    self.record_seen(slave);
                }
            }
        }
    }
}
