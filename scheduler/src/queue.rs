//! The waiting programs: one line for each set of needs, each in the order of acknowledgement.

use crate::ability::Requirement;
use std::collections::{BTreeMap, BTreeSet};

/// The lines of waiting programs. A program is told by its sequence, which orders it too.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    lines: BTreeMap<Requirement, BTreeSet<u64>>,
    count: usize,
}

impl Queue {
    /// Programs that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a program; once is enough.
    pub fn insert(&mut self, program: u64, need: &Requirement) {
        let added = match self.lines.get_mut(need) {
            Some(line) => line.insert(program),
            None => self.lines.entry(need.clone()).or_default().insert(program),
        };
        self.count += usize::from(added);
    }

    /// Takes a program out; whether it was there.
    pub fn remove(&mut self, program: u64, need: &Requirement) -> bool {
        let Some(line) = self.lines.get_mut(need) else { return false };
        let removed = line.remove(&program);
        self.count -= usize::from(removed);
        if line.is_empty() {
            self.lines.remove(need);
        }
        removed
    }

    /// The lines: what each needs, and its programs in order.
    pub fn lines(&self) -> impl Iterator<Item = (&Requirement, &BTreeSet<u64>)> {
        self.lines.iter()
    }

    /// The oldest program of a line.
    #[must_use]
    pub fn first(&self, need: &Requirement) -> Option<u64> {
        self.lines.get(need)?.first().copied()
    }

    /// How many programs of all lines come before this one.
    #[must_use]
    pub fn before(&self, program: u64) -> u64 {
        self.lines.values().map(|line| line.range(..program).count() as u64).sum()
    }
}
