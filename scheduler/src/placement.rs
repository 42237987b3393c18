//! Which slave a line's next program goes to: the able one that is least full; ties to the one
//! that waited longest for a program, so that equal slaves share evenly.

use crate::slave::SlaveSlots;
use common::SlaveId;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Which room is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A free slot.
    Slot,
    /// A place ahead of the slots.
    Ahead,
}

impl Room {
    pub(crate) fn is_in(self, slave: &SlaveSlots) -> bool {
        match self {
            Self::Slot => slave.free() > 0,
            Self::Ahead => slave.has_room_ahead(),
        }
    }
}

type Key = (u64, u64, SlaveId);

fn key(id: SlaveId, slave: &SlaveSlots) -> Key {
    (slave.load(), slave.turn, id)
}

/// The able slaves of one line, least full first. Keys go stale when another line uses a slave;
/// that is noticed when the slave comes up.
pub(crate) struct Candidates(BinaryHeap<Reverse<Key>>);

impl Candidates {
    pub(crate) fn new<'a>(able: impl Iterator<Item = (SlaveId, &'a SlaveSlots)>) -> Self {
        Self(able.map(|(id, slave)| Reverse(key(id, slave))).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the best slave that still has room.
    pub(crate) fn take(&mut self, slaves: &BTreeMap<SlaveId, SlaveSlots>, room: Room) -> Option<SlaveId> {
        while let Some(Reverse(known)) = self.0.pop() {
            let Some(slave) = slaves.get(&known.2).filter(|slave| room.is_in(slave)) else { continue };
            let current = key(known.2, slave);
            if current == known {
                return Some(known.2);
            }
            self.0.push(Reverse(current));
        }
        None
    }

    /// Puts a slave back with its new load.
    pub(crate) fn put(&mut self, id: SlaveId, slave: &SlaveSlots) {
        self.0.push(Reverse(key(id, slave)));
    }
}
