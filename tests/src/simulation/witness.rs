//! What really happened to programs, written down outside of the product: which attempt ran where and when.

use super::rng::mix;
use common::{AttemptKey, ProgramId};
use std::collections::BTreeMap;

/// How an attempt ended, as its machine saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By itself, with this exit code.
    Exited(i32),
    /// Somebody stopped it.
    Killed,
    /// Its machine went down.
    MachineGone,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) slave: usize,
    pub(super) begin: u64,
    pub(super) end: Option<(u64, How)>,
}

#[derive(Debug, Default)]
pub(super) struct Witness {
    attempts: BTreeMap<ProgramId, BTreeMap<u32, Interval>>,
    alive: BTreeMap<AttemptKey, usize>,
    pub(super) starts: u64,
    pub(super) reruns: u64,
}

impl Witness {
    /// An attempt begins; what is wrong with that.
    pub(super) fn begin(&mut self, key: AttemptKey, slave: usize, slots: u32, now: u64) -> Result<(), String> {
        self.starts += 1;
        let earlier = self.attempts.entry(key.program).or_default();
        if let Some((attempt, interval)) = earlier.iter().find(|(_, interval)| interval.end.is_none()) {
            return Err(format!(
                "two attempts at once: {key} begins on slave {slave} while #{attempt} runs on slave {} since {}",
                interval.slave, interval.begin
            ));
        }
        if let Some((attempt, interval)) = earlier.last_key_value() {
            self.reruns += 1;
            if *attempt >= key.attempt {
                return Err(format!(
                    "the fence does not grow: {key} begins on slave {slave} after #{attempt} on slave {} ({:?})",
                    interval.slave, interval.end
                ));
            }
        }
        earlier.insert(key.attempt, Interval { slave, begin: now, end: None });
        self.alive.insert(key, slave);
        let running = self.alive.values().filter(|other| **other == slave).count();
        if running > slots as usize {
            return Err(format!("{running} programs run in the {slots} slots of slave {slave}"));
        }
        Ok(())
    }

    pub(super) fn end(&mut self, key: AttemptKey, how: How, now: u64) {
        self.alive.remove(&key);
        let interval = self.attempts.get_mut(&key.program).and_then(|attempts| attempts.get_mut(&key.attempt));
        if let Some(interval) = interval {
            interval.end = Some((now, how));
        }
    }

    pub(super) fn attempts(&self, id: ProgramId) -> impl Iterator<Item = (u32, Interval)> + '_ {
        self.attempts.get(&id).into_iter().flatten().map(|(attempt, interval)| (*attempt, *interval))
    }

    /// The attempt of a program that is alive.
    pub(super) fn alive(&self, id: ProgramId) -> Option<AttemptKey> {
        self.alive.keys().find(|key| key.program == id).copied()
    }

    pub(super) fn alive_count(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn hash(&self) -> u64 {
        let mut hash = 0;
        for attempts in self.attempts.values() {
            for (attempt, interval) in attempts {
                let end = interval.end.map_or(0, |(at, _)| at);
                hash = mix(&[hash, u64::from(*attempt), interval.slave as u64, interval.begin, end]);
            }
        }
        hash
    }
}
