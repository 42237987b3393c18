//! The waiting programs: one line for each set of needs, in it one row for each user, each row in the order
//! of acknowledgement, as runs of sequences. Whose turn it is in a line is known without a search.

use crate::{ability::Requirement, runs::Runs};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
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
    rows: BTreeMap<Arc<str>, Runs>,
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

/// How many of these programs are in each block.
fn blocks_of(programs: Range<u64>) -> impl Iterator<Item = (u64, u32)> {
    let last = programs.end.saturating_sub(1) >> BLOCK_BITS;
    (programs.start >> BLOCK_BITS..=last).map(move |block| {
        let (start, end) = (block << BLOCK_BITS, (block + 1) << BLOCK_BITS);
        let count = end.min(programs.end).saturating_sub(start.max(programs.start));
        (block, u32::try_from(count).unwrap_or(u32::MAX))
    })
}

/// The lines of waiting programs. A program is told by its sequence, which orders it too.
#[derive(Clone, Debug)]
pub struct Queue {
    lines: BTreeMap<Requirement, Line>,
    users: BTreeMap<Arc<str>, User>,
    count: u64,
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
    pub const fn len(&self) -> u64 {
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
            let turn = |(user, row): (&Arc<str>, &Runs)| {
                let assigned = self.users.get(user).map_or(0, |user| user.assigned);
                Some(((if fair { assigned } else { 0 }, row.first()?), user.clone()))
            };
            line.turns = line.rows.iter().filter_map(turn).collect();
        }
    }

    /// Adds programs of a user that came together; what is in line already stays where it is.
    pub(crate) fn insert(&mut self, programs: Range<u64>, need: &Requirement, name: &Arc<str>) {
        if programs.is_empty() {
            return;
        }
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
        let first = row.first();
        if !row.insert(programs.clone()) {
            // Some of them are in line already: the others are added one by one.
            for program in programs.clone().filter(|_| programs.end - programs.start > 1) {
                self.insert(program..program + 1, need, name);
            }
            return;
        }
        if first.is_none_or(|first| programs.start < first) {
            if let Some(first) = first {
                line.turns.remove(&((share, first), name.clone()));
            }
            line.turns.insert(((share, programs.start), name.clone()));
        }
        let added = programs.end - programs.start;
        self.count += added;
        user.waiting += added;
        for (block, count) in blocks_of(programs) {
            *user.blocks.entry(block).or_default() += count;
        }
    }

    /// Takes programs out that stand in one row without a gap; whether they did, else nothing changes.
    pub(crate) fn remove(&mut self, programs: Range<u64>, need: &Requirement, name: &Arc<str>) -> bool {
        let (Some(line), Some(user)) = (self.lines.get_mut(need), self.users.get_mut(name)) else { return false };
        let Some(row) = line.rows.get_mut(name) else { return false };
        let first = row.first();
        if !row.remove(programs.clone()) {
            return false;
        }
        let share = if self.fair { user.assigned } else { 0 };
        if first == Some(programs.start) {
            line.turns.remove(&((share, programs.start), name.clone()));
            match row.first() {
                Some(next) => {
                    line.turns.insert(((share, next), name.clone()));
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
        let removed = programs.end - programs.start;
        self.count -= removed;
        user.waiting -= removed;
        for (block, count) in blocks_of(programs) {
            if let Some(known) = user.blocks.get_mut(&block) {
                *known -= count;
                if *known == 0 {
                    user.blocks.remove(&block);
                }
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
                let Some(first) = line.rows.get(name).and_then(Runs::first) else { continue };
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
        self.lines.get(need).into_iter().flat_map(|line| line.rows.values().flat_map(Runs::iter))
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
        before + rows.map(|row| row.count_in(block << BLOCK_BITS..program)).sum::<u64>()
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
                row.check();
                let first = row.first().expect("an empty row is kept");
                assert!(line.turns.contains(&((share, first), name.clone())), "the turn of {name}");
                assert!(self.users[name].needs.contains(need));
                *waiting.entry(name).or_default() += row.len();
            }
        }
        assert_eq!(self.count, waiting.values().sum::<u64>());
        for (name, user) in &self.users {
            assert_eq!(user.waiting, waiting.get(name).copied().unwrap_or(0), "what waits of {name}");
            assert_eq!(user.waiting, user.blocks.values().map(|count| u64::from(*count)).sum::<u64>());
            assert_eq!(user.assigned, assigned.get(name).copied().unwrap_or(0), "what {name} has on slaves");
        }
    }
}
