//! Which attempts share a slot: one that runs, and behind it quick ones that its keeper starts one after another
//! without asking again.

use common::{
    id::AttemptKey,
    program::{ProgramSpec, Work},
    units::Duration,
};
use std::collections::VecDeque;

/// Attempts of one slot at once, the one that may run among them: what is handed over is lost with its keeper, and
/// what is told of it makes one message.
pub(super) const AHEAD_MAX: usize = 32;
/// As many where nothing is known of how long they take, and where they take long.
const AHEAD_USUAL: usize = 8;
/// So much work is handed over at once where programs are short: by the time that half of it is done the next half is
/// ordered, and agent and master are not woken for each.
const AHEAD_TIME: Duration = Duration::from_millis(12);
/// What lies between two programs of a slot.
const BETWEEN: Duration = Duration(100);
/// Quick ends in a row after which more than usual is handed over.
const STREAK_LONG: u32 = 32;
/// Quick ends in a row after which a slot is handed over more than one attempt, at least.
const STREAK_MIN: u32 = 2;
/// And at most, where it turned out time and again that what was handed over had to come back.
const STREAK_MAX: u32 = 64;
/// Bytes of arguments and environment of one attempt that is handed over ahead: several fit into one message.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Whether a keeper can do all of a program by itself: start it, take its output and tell its end.
pub(super) fn is_quick(spec: &ProgramSpec) -> bool {
    let bare = matches!(spec.work, Work::Command { .. })
        && spec.stdin.is_none()
        && spec.live.is_none()
        && spec.inputs.is_empty()
        && spec.collect.is_empty()
        && !spec.network;
    let texts = spec.arguments.iter().chain(spec.environment.iter().flat_map(|(name, value)| [name, value]));
    bare && texts.map(|text| text.0.len() + 1).sum::<usize>() <= TEXT_BYTES_MAX
}

/// The attempts of one slot, in the order in which they start.
#[derive(Debug)]
struct Lane {
    keys: VecDeque<AttemptKey>,
    /// The first is known to run, or is none that goes ahead.
    held: bool,
    /// Quick ends in a row.
    streak: u32,
    /// So many are wanted before it is handed over more than one.
    wanted: u32,
    /// How long quick ones took of late.
    took: Duration,
    /// It is being filled; one that is full is filled again when half of it is gone, so that its keeper hears of
    /// several at once.
    filling: bool,
}

/// A place for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lane: usize,
    /// It starts when this one and what is between them have ended.
    pub(super) behind: Option<AttemptKey>,
}

/// The slots' attempts.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    busy: usize,
    /// Attempts of one slot at once; none when nothing is handed over ahead of its start.
    pub(super) ahead: Option<usize>,
}

impl Lanes {
    pub(super) const fn new() -> Self {
        Self { lanes: Vec::new(), busy: 0, ahead: None }
    }

    /// Whether no slot is free.
    pub(super) const fn are_full(&self, slots: usize) -> bool {
        self.busy >= slots
    }

    /// Where the next attempt goes, when there is room: a free slot first. `waiting` are those that wait for one.
    pub(super) fn place(&mut self, quick: bool, slots: usize, waiting: usize) -> Option<Place> {
        if self.busy < slots {
            // The slot that was quick last goes on being it.
            let free = self.lanes.iter().enumerate().filter(|(_, lane)| lane.keys.is_empty());
            if let Some((lane, _)) = free.max_by_key(|(_, lane)| lane.streak) {
                return Some(Place { lane, behind: None });
            }
            self.lanes.push(Lane::new());
            return Some(Place { lane: self.lanes.len() - 1, behind: None });
        }
        if !quick || self.busy > slots || slots == 0 {
            return None;
        }
        let most = self.ahead?.min(waiting / slots + 1);
        let room = self.lanes.iter().enumerate().filter(|(_, lane)| {
            let (count, depth) = (lane.keys.len(), lane.depth().min(most));
            let fills = lane.filling || count * 2 <= depth;
            count > 0 && count < depth && !lane.held && lane.streak >= lane.wanted && fills
        });
        let (lane, found) = room.min_by_key(|(_, lane)| lane.keys.len())?;
        let behind = found.keys.back().copied();
        self.lanes[lane].filling = found.keys.len() + 1 < found.depth().min(most);
        Some(Place { lane, behind })
    }

    /// An attempt takes its place.
    pub(super) fn add(&mut self, place: Place, key: AttemptKey, quick: bool) {
        let lane = &mut self.lanes[place.lane];
        self.busy += usize::from(lane.keys.is_empty());
        lane.keys.push_back(key);
        lane.held |= !quick;
    }

    /// A place of its own for an attempt that an earlier agent started.
    pub(super) fn restore(&mut self, key: AttemptKey) -> usize {
        let Some(place) = self.place(false, usize::MAX, 0) else { return 0 };
        self.add(place, key, false);
        place.lane
    }

    /// An attempt turned out to run for longer: nothing else starts in its slot before its end.
    pub(super) fn runs_on(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.held = true;
            lane.broken();
        }
    }

    /// An attempt has ended; `quick` says how long it took when it was never known to run.
    pub(super) fn ended(&mut self, lane: usize, key: AttemptKey, quick: Option<Duration>) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.remove(key, &mut self.busy);
        match quick {
            Some(took) => {
                lane.took = Duration((lane.took.0.saturating_mul(7).saturating_add(took.0)) / 8);
                lane.streak = lane.streak.saturating_add(1);
            }
            None => lane.streak = 0,
        }
        if lane.streak >= STREAK_MAX {
            lane.wanted = STREAK_MIN;
        }
    }

    /// An attempt was given back: it has not started.
    pub(super) fn given_back(&mut self, lane: usize, key: AttemptKey) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        if lane.streak > 0 {
            lane.broken();
        }
        lane.remove(key, &mut self.busy);
    }
}

impl Lane {
    const fn new() -> Self {
        let keys = VecDeque::new();
        Self { keys, held: false, streak: 0, wanted: STREAK_MIN, took: AHEAD_TIME, filling: false }
    }

    /// How many it is handed over at once: a certain time's work.
    fn depth(&self) -> usize {
        if self.streak < STREAK_LONG {
            return AHEAD_USUAL;
        }
        let fit = AHEAD_TIME.0 / (self.took.0.saturating_add(BETWEEN.0));
        usize::try_from(fit).unwrap_or(AHEAD_MAX).clamp(AHEAD_USUAL, AHEAD_MAX)
    }

    /// What was handed over comes back: the more often, the longer until something is handed over ahead again.
    fn broken(&mut self) {
        if self.streak >= self.wanted {
            self.wanted = (self.wanted * 2).min(STREAK_MAX);
        }
        self.streak = 0;
    }

    fn remove(&mut self, key: AttemptKey, busy: &mut usize) {
        let before = self.keys.len();
        self.keys.retain(|other| *other != key);
        if before > 0 && self.keys.is_empty() {
            *busy -= 1;
            self.held = false;
            self.filling = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ProgramId;
    use uuid::Uuid;

    fn key(number: usize) -> AttemptKey {
        AttemptKey { program: ProgramId(Uuid::from_u128(number as u128)), attempt: 1 }
    }

    /// One slot that has had so many programs of this length.
    fn after(ends: usize, took: Duration) -> Lanes {
        let mut lanes = Lanes { ahead: Some(AHEAD_MAX), ..Lanes::new() };
        for number in 0..ends {
            let place = lanes.place(true, 1, 1_000).unwrap();
            lanes.add(place, key(number), true);
            lanes.ended(place.lane, key(number), Some(took));
        }
        lanes
    }

    /// How many of these the slot takes at once.
    fn taken(lanes: &mut Lanes, first: usize, waiting: usize) -> usize {
        for number in 0..waiting {
            let Some(place) = lanes.place(true, 1, waiting - number) else { return number };
            lanes.add(place, key(first + number), true);
        }
        waiting
    }

    #[test]
    fn e13_the_shorter_programs_are_the_more_go_ahead_within_a_bound() {
        let many = STREAK_LONG as usize * 2;
        for (ends, took, expected) in [
            (0, Duration(50), 1),
            (2, Duration(50), AHEAD_USUAL),
            (STREAK_LONG as usize - 1, Duration(50), AHEAD_USUAL),
            (many, Duration(50), AHEAD_MAX),
            (many, Duration(400), 24),
            (many, Duration(900), 12),
            (many, Duration(1_900), AHEAD_USUAL),
        ] {
            let mut lanes = after(ends, took);
            assert_eq!(taken(&mut lanes, 1_000, 500), expected, "after {ends} of {took:?}");
        }
    }

    #[test]
    fn e13_a_slot_takes_no_more_than_its_share_and_is_filled_again_at_half() {
        let mut lanes = after(STREAK_LONG as usize * 2, Duration(50));
        assert!(taken(&mut lanes, 1_000, 12) <= 12 / 2 + 1, "of few");
        let mut lanes = after(STREAK_LONG as usize * 2, Duration(50));
        assert_eq!(taken(&mut lanes, 1_000, 500), AHEAD_MAX);
        for number in 0..AHEAD_MAX / 2 - 1 {
            lanes.ended(0, key(1_000 + number), Some(Duration(50)));
            assert_eq!(lanes.place(true, 1, 500), None, "after {number}");
        }
        lanes.ended(0, key(1_000 + AHEAD_MAX / 2 - 1), Some(Duration(50)));
        assert_eq!(taken(&mut lanes, 2_000, 500), AHEAD_MAX / 2);
    }

    #[test]
    fn e13_a_few_longer_ones_make_the_slot_take_fewer() {
        let mut lanes = after(STREAK_LONG as usize * 2, Duration(50));
        for number in 0..8 {
            let place = lanes.place(true, 1, 500).unwrap();
            lanes.add(place, key(500 + number), true);
            lanes.ended(place.lane, key(500 + number), Some(Duration(1_900)));
        }
        assert_eq!(taken(&mut lanes, 1_000, 500), AHEAD_USUAL);
    }
}
