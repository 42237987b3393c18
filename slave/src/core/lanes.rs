//! Which attempts share a slot: one that runs, and behind it quick ones that its keeper starts one after another
//! without asking again.

use common::{
    id::AttemptKey,
    program::{ProgramSpec, Work},
};
use std::collections::VecDeque;

/// Attempts of one slot at once, the one that may run among them.
pub(super) const AHEAD_MAX: usize = 8;
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

    /// Where the next attempt goes, when there is room: a free slot first. `waiting` are those that wait for one.
    pub(super) fn place(&mut self, quick: bool, slots: usize, waiting: usize) -> Option<Place> {
        if self.busy < slots {
            // The slot that was quick last goes on being it.
            let free = self.lanes.iter().enumerate().filter(|(_, lane)| lane.keys.is_empty());
            if let Some((lane, _)) = free.max_by_key(|(_, lane)| lane.streak) {
                return Some(Place { lane, behind: None });
            }
            let lane = Lane { keys: VecDeque::new(), held: false, streak: 0, wanted: STREAK_MIN, filling: false };
            self.lanes.push(lane);
            return Some(Place { lane: self.lanes.len() - 1, behind: None });
        }
        if !quick || self.busy > slots || slots == 0 {
            return None;
        }
        let depth = self.ahead?.min(waiting / slots + 1);
        let room = self.lanes.iter().enumerate().filter(|(_, lane)| {
            let count = lane.keys.len();
            let fills = lane.filling || count * 2 <= depth;
            count > 0 && count < depth && !lane.held && lane.streak >= lane.wanted && fills
        });
        let (lane, found) = room.min_by_key(|(_, lane)| lane.keys.len())?;
        let behind = found.keys.back().copied();
        self.lanes[lane].filling = found.keys.len() + 1 < depth;
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

    /// An attempt has ended; `quick` when it was never known to run.
    pub(super) fn ended(&mut self, lane: usize, key: AttemptKey, quick: bool) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.remove(key, &mut self.busy);
        lane.streak = if quick { lane.streak.saturating_add(1) } else { 0 };
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
