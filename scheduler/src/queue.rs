//! The waiting programs: one line for each set of needs, in it one row for each user, each row in the order
//! of acknowledgement. Whose turn it is in a line is known without a search.

use crate::ability::Requirement;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Sequences that are counted together: how many programs wait before one is told without walking past all.
const BLOCK_BITS: u32 = 10;

/// Where a row stands in its line: the user's programs on slaves (0 when shares do not count), and his oldest
/// program.
pub(crate) type Turn = (u32, u64);

/// The programs that wait with equal needs.
#[derive(Clone, Debug, Default)]
struct Line {
    rows: BTreeMap<Arc<str>, BTreeSet<u64>>,
    turns: BTreeSet<(Turn, Arc<str>)>,
}

/// One user: how much he has on slaves, and what of his waits.
#[derive(Clone, Debug, Default)]
struct User {
    assigned: u32,
    waiting: u64,
    needs: BTreeSet<Requirement>,
    /// Waiting programs in each block of sequences.
    blocks: BTreeMap<u64, u32>,
}

/// The lines of waiting programs. A program is told by its sequence, which orders it too.
#[derive(Clone, Debug)]
pub struct Queue {
    lines: BTreeMap<Requirement, Line>,
    users: BTreeMap<Arc<str>, User>,
    count: usize,
    fair: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), users: BTreeMap::new(), count: 0, fair: true }
    }
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

    /// Whether the user with the fewest programs on slaves comes first.
    #[must_use]
    pub const fn is_fair(&self) -> bool {
        self.fair
    }

    /// Lets the user with the fewest programs on slaves come first, or the oldest program.
    pub(crate) fn set_fair(&mut self, fair: bool) {
        if std::mem::replace(&mut self.fair, fair) == fair {
            return;
        }
        for line in self.lines.values_mut() {
            let turn = |(user, row): (&Arc<str>, &BTreeSet<u64>)| {
                let assigned = self.users.get(user).map_or(0, |user| user.assigned);
                Some(((if fair { assigned } else { 0 }, *row.first()?), user.clone()))
            };
            line.turns = line.rows.iter().filter_map(turn).collect();
        }
    }

    /// Adds a program of a user; once is enough.
    pub(crate) fn insert(&mut self, program: u64, need: &Requirement, name: &Arc<str>) {
        let user = self.users.entry(name.clone()).or_default();
        let share = if self.fair { user.assigned } else { 0 };
        let line = match self.lines.get_mut(need) {
            Some(line) => line,
            None => self.lines.entry(need.clone()).or_default(),
        };
        let row = match line.rows.get_mut(name) {
            Some(row) => row,
            None => {
                user.needs.insert(need.clone());
                line.rows.entry(name.clone()).or_default()
            }
        };
        let first = row.first().copied();
        if !row.insert(program) {
            return;
        }
        if first.is_none_or(|first| program < first) {
            if let Some(first) = first {
                line.turns.remove(&((share, first), name.clone()));
            }
            line.turns.insert(((share, program), name.clone()));
        }
        self.count += 1;
        user.waiting += 1;
        *user.blocks.entry(program >> BLOCK_BITS).or_default() += 1;
    }

    /// Takes a program out; whether it was there.
    pub(crate) fn remove(&mut self, program: u64, need: &Requirement, name: &Arc<str>) -> bool {
        let (Some(line), Some(user)) = (self.lines.get_mut(need), self.users.get_mut(name)) else { return false };
        let Some(row) = line.rows.get_mut(name) else { return false };
        let first = row.first().copied();
        if !row.remove(&program) {
            return false;
        }
        let share = if self.fair { user.assigned } else { 0 };
        if first == Some(program) {
            line.turns.remove(&((share, program), name.clone()));
            match row.first() {
                Some(next) => {
                    line.turns.insert(((share, *next), name.clone()));
                }
                None => {
                    line.rows.remove(name);
                    user.needs.remove(need);
                }
            }
        }
        if line.rows.is_empty() {
            self.lines.remove(need);
        }
        self.count -= 1;
        user.waiting -= 1;
        if let Some(block) = user.blocks.get_mut(&(program >> BLOCK_BITS)) {
            *block -= 1;
            if *block == 0 {
                user.blocks.remove(&(program >> BLOCK_BITS));
            }
        }
        self.forget(name);
        true
    }

    fn forget(&mut self, name: &Arc<str>) {
        if self.users.get(name).is_some_and(|user| user.assigned == 0 && user.waiting == 0) {
            self.users.remove(name);
        }
    }

    /// A user has more or fewer programs on slaves: his rows take another turn.
    pub(crate) fn assign(&mut self, name: &Arc<str>, more: bool) {
        let user = self.users.entry(name.clone()).or_default();
        let before = user.assigned;
        user.assigned = if more { before.saturating_add(1) } else { before.saturating_sub(1) };
        if self.fair {
            for need in &user.needs {
                let Some(line) = self.lines.get_mut(need) else { continue };
                let Some(first) = line.rows.get(name).and_then(BTreeSet::first).copied() else { continue };
                line.turns.remove(&((before, first), name.clone()));
                line.turns.insert(((user.assigned, first), name.clone()));
            }
        }
        self.forget(name);
    }

    /// Programs that a user has on slaves.
    pub(crate) fn assigned(&self, name: &str) -> u32 {
        self.users.get(name).map_or(0, |user| user.assigned)
    }

    /// How many different needs there are.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// What programs that wait need, each need once.
    pub fn needs(&self) -> impl Iterator<Item = &Requirement> {
        self.lines.keys()
    }

    /// Whether programs wait with these needs.
    #[must_use]
    pub fn has_line(&self, need: &Requirement) -> bool {
        self.lines.contains_key(need)
    }

    /// The programs that wait with these needs, user by user.
    pub fn programs(&self, need: &Requirement) -> impl Iterator<Item = u64> {
        self.lines.get(need).into_iter().flat_map(|line| line.rows.values().flatten().copied())
    }

    /// Whose turn it is in a line, and with which program.
    pub(crate) fn first(&self, need: &Requirement) -> Option<(Turn, &Arc<str>)> {
        self.lines.get(need)?.turns.first().map(|(turn, user)| (*turn, user))
    }

    /// How many programs come before this one of this user: his own older ones, and of each other user as many
    /// as he is given until their shares are equal. Exact while nothing ends, when every slave can run everything.
    #[must_use]
    pub fn before(&self, program: u64, name: &str) -> u64 {
        if !self.fair {
            return self.users.iter().map(|(name, user)| self.older(name, user, program)).sum();
        }
        let Some(own) = self.users.get(name) else { return 0 };
        let older = self.older(name, own, program);
        // He is served when his share has grown to this; others are served up to it before.
        let share = u64::from(own.assigned) + older;
        let others = self.users.iter().filter(|(other, _)| ***other != *name).map(|(name, other)| {
            let assigned = u64::from(other.assigned);
            // At equal shares the older program goes first.
            let tie = u64::from(share >= assigned && self.older(name, other, program) > share - assigned);
            (share + tie).saturating_sub(assigned).min(other.waiting)
        });
        older + others.sum::<u64>()
    }

    /// Waiting programs of a user that are older than this one.
    fn older(&self, name: &str, user: &User, program: u64) -> u64 {
        let block = program >> BLOCK_BITS;
        let before: u64 = user.blocks.range(..block).map(|(_, count)| u64::from(*count)).sum();
        if !user.blocks.contains_key(&block) {
            return before;
        }
        let rows = user.needs.iter().filter_map(|need| self.lines.get(need)?.rows.get(name));
        before + rows.map(|row| row.range(block << BLOCK_BITS..program).count() as u64).sum::<u64>()
    }

    /// Users of whom something waits.
    pub(crate) fn users_waiting(&self) -> usize {
        self.users.values().filter(|user| user.waiting > 0).count()
    }

    /// Asserts what must always hold; for tests.
    pub(crate) fn check(&self, assigned: &BTreeMap<Arc<str>, u32>) {
        let mut waiting: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
        for (need, line) in &self.lines {
            assert!(!line.rows.is_empty(), "an empty line is kept");
            assert_eq!(line.turns.len(), line.rows.len());
            for (name, row) in &line.rows {
                let share = if self.fair { self.assigned(name) } else { 0 };
                let first = *row.first().expect("an empty row is kept");
                assert!(line.turns.contains(&((share, first), name.clone())), "the turn of {name}");
                assert!(self.users[name].needs.contains(need));
                *waiting.entry(name).or_default() += row.len() as u64;
            }
        }
        assert_eq!(self.count as u64, waiting.values().sum::<u64>());
        for (name, user) in &self.users {
            assert_eq!(user.waiting, waiting.get(name).copied().unwrap_or(0), "what waits of {name}");
            assert_eq!(user.waiting, user.blocks.values().map(|count| u64::from(*count)).sum::<u64>());
            assert_eq!(user.assigned, assigned.get(name).copied().unwrap_or(0), "what {name} has on slaves");
        }
    }
}
