//! The history as a window sees it: a table of possibly millions of rows of which some are here.
//!
//! A row is kept under its rank, counted from the oldest matching program, because new programs
//! then move no other row. Positions, which the table uses, count from the newest.

use common::{ProgramId, message::HistoryQuery, program::State, view::ProgramView};
use std::{collections::BTreeMap, sync::Arc};

/// Rows that are kept at once; those farthest from what is shown go first.
pub const HISTORY_ROWS_MAX: usize = 6_000;

/// Which programs the table shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only these states; empty is all.
    pub states: Vec<State>,
    /// Only rows whose name, language, slave, user or ID contains this, in any case.
    pub search: String,
    /// Only programs of the user who is logged in.
    pub mine: bool,
}

impl HistoryFilter {
    /// Whether every program matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty() && self.search.is_empty() && !self.mine
    }

    /// The query for `limit` rows after the first `skip`.
    #[must_use]
    pub fn query(&self, skip: u64, limit: u32) -> HistoryQuery {
        HistoryQuery {
            states: self.states.clone(),
            search: self.search.clone(),
            mine: self.mine,
            before: None,
            skip,
            limit,
        }
    }

    fn matches(&self, row: &ProgramView, me: Option<&str>) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(&self.search.to_lowercase());
        (self.states.is_empty() || self.states.contains(&row.state))
            && (!self.mine || me == Some(row.user.as_str()))
            && (self.search.is_empty()
                || contains(&row.name)
                || contains(&row.user)
                || contains(&row.id.to_string())
                || row.language.as_deref().is_some_and(contains)
                || row.slave_name.as_deref().is_some_and(contains))
    }
}

/// What the table shows now: the session keeps these rows fresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryWindow {
    /// Which programs.
    pub filter: HistoryFilter,
    /// Position of the first visible row; 0 is the newest.
    pub first: u64,
    /// Visible rows.
    pub rows: u32,
}

/// The known part of the history under one filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    window: HistoryWindow,
    /// Matching programs in all; none before the first page has come.
    total: Option<u64>,
    rows: BTreeMap<u64, Arc<ProgramView>>,
    ranks: BTreeMap<ProgramId, u64>,
    /// Grows whenever rows may have moved in a way that only the master knows.
    generation: u64,
    /// The generation that was current when the newest page was asked for.
    fresh: u64,
    /// The generation from which the filter is in force: pages that were asked for before are of another one.
    filtered: u64,
}

impl History {
    /// What is shown.
    #[must_use]
    pub fn window(&self) -> &HistoryWindow {
        &self.window
    }

    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> &HistoryFilter {
        &self.window.filter
    }

    /// How many programs match; none until the first page of this filter has come.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The row at this position, 0 being the newest; none when it is not here yet.
    #[must_use]
    pub fn row(&self, position: u64) -> Option<&Arc<ProgramView>> {
        self.rows.get(&self.rank(position)?)
    }

    /// The row of this program, if it is here.
    #[must_use]
    pub fn by_id(&self, id: ProgramId) -> Option<&Arc<ProgramView>> {
        self.rows.get(self.ranks.get(&id)?)
    }

    /// Where this program stands, if it is here.
    #[must_use]
    pub fn position(&self, id: ProgramId) -> Option<u64> {
        self.total?.checked_sub(1)?.checked_sub(*self.ranks.get(&id)?)
    }

    /// The rows that are here, newest first.
    pub fn known(&self) -> impl Iterator<Item = &Arc<ProgramView>> {
        self.rows.values().rev()
    }

    /// Shows another part. Another filter forgets the rows of the old one.
    pub fn show(&mut self, window: HistoryWindow) {
        if window.filter != self.window.filter {
            let generation = self.generation + 1;
            *self = Self { window, generation, filtered: generation, ..Self::default() };
        } else {
            self.window = window;
        }
    }

    /// Rows may have moved: what is shown has to be asked for again.
    pub fn invalidate(&mut self) {
        self.generation += 1;
    }

    /// Whether what is shown has to be asked for: it is not here, or rows may have moved.
    #[must_use]
    pub fn needs_page(&self) -> bool {
        let Some(total) = self.total else { return true };
        let end = self.window.first.saturating_add(u64::from(self.window.rows)).min(total);
        self.fresh != self.generation || (self.window.first..end).any(|position| self.row(position).is_none())
    }

    /// A mark to hand back with the page that is asked for now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes in the page that begins at position `skip`, asked for at `generation`. One that was asked for
    /// under another filter is dropped.
    pub fn set_page(&mut self, skip: u64, rows: Vec<ProgramView>, total: u64, generation: u64) {
        if generation < self.filtered {
            return;
        }
        let changed_unseen = generation > self.fresh;
        // Under a filter a row may have left from the middle, which moves the rank of every newer one.
        // Without one the history only grows, and ranks hold.
        let filtered = !self.window.filter.is_empty();
        if changed_unseen || (filtered && self.total != Some(total)) {
            self.rows.clear();
            self.ranks.clear();
        }
        // A slow page may have counted before the newest program was told, which must not hide that one.
        let known = self.total.filter(|_| !filtered && !changed_unseen).unwrap_or(0);
        self.total = Some(known.max(total));
        self.fresh = self.fresh.max(generation);
        for (offset, row) in (0_u64..).zip(rows) {
            let Some(rank) = total.checked_sub(skip.saturating_add(offset).saturating_add(1)) else { break };
            self.put(rank, Arc::new(row));
        }
        self.evict();
    }

    /// Takes in a new or changed row; `me` is the user who is logged in.
    pub(super) fn apply(&mut self, row: Arc<ProgramView>, me: Option<&str>) {
        let matches = self.window.filter.matches(&row, me);
        match (self.ranks.get(&row.id).copied(), matches) {
            (Some(rank), true) => {
                if self.rows.get(&rank).is_some_and(|known| is_newer(&row, known)) {
                    self.rows.insert(rank, row);
                }
            }
            (Some(rank), false) => {
                // Shown as it is until the page comes again without it, so that no row jumps twice.
                self.rows.insert(rank, row);
                self.invalidate();
            }
            (None, true) => {
                let newest_known = self.total.and_then(|total| self.rows.get(&total.checked_sub(1)?));
                match (self.total, newest_known) {
                    (Some(0), _) => self.push_newest(row),
                    (Some(_), Some(newest)) if row.sequence > newest.sequence => self.push_newest(row),
                    // Older than what is here, or the top is not here: only the master knows its place.
                    _ => self.invalidate(),
                }
            }
            (None, false) => {}
        }
    }

    fn push_newest(&mut self, row: Arc<ProgramView>) {
        let rank = self.total.unwrap_or(0);
        self.total = Some(rank + 1);
        self.put(rank, row);
        self.evict();
    }

    fn put(&mut self, rank: u64, row: Arc<ProgramView>) {
        if let Some(other) = self.ranks.get(&row.id).copied()
            && other != rank
        {
            self.rows.remove(&other);
        }
        let row = match self.rows.get(&rank) {
            Some(known) if known.id == row.id && !is_newer(&row, known) => Arc::clone(known),
            Some(known) => {
                self.ranks.remove(&known.id);
                row
            }
            None => row,
        };
        self.ranks.insert(row.id, rank);
        self.rows.insert(rank, row);
    }

    fn rank(&self, position: u64) -> Option<u64> {
        self.total?.checked_sub(1)?.checked_sub(position)
    }

    /// Drops the rows that are farthest from what is shown; the newest rows of an unmoved table stay
    /// because they are near it.
    fn evict(&mut self) {
        let middle = self.rank(self.window.first.saturating_add(u64::from(self.window.rows / 2))).unwrap_or(0);
        while self.rows.len() > HISTORY_ROWS_MAX {
            let oldest = self.rows.first_key_value().map_or(middle, |(rank, _)| *rank);
            let newest = self.rows.last_key_value().map_or(middle, |(rank, _)| *rank);
            let dropped = if middle.saturating_sub(oldest) >= newest.saturating_sub(middle) {
                self.rows.pop_first()
            } else {
                self.rows.pop_last()
            };
            if let Some((_, row)) = dropped {
                self.ranks.remove(&row.id);
            }
        }
    }
}

/// Whether `row` is at least as new as `known`: a final state never goes back, nor does an attempt.
pub(super) fn is_newer(row: &ProgramView, known: &ProgramView) -> bool {
    row.attempt >= known.attempt && (row.state.is_final() || !known.state.is_final())
}
