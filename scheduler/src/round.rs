//! The scheduler: what waits, who is there, and one round of decisions.

use crate::{
    ability::{self, Requirement},
    placement::{Candidates, Room},
    queue::Queue,
    slave::{Presence, SlaveSlots},
};
use common::SlaveId;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// Programs looked at for taking back in one round, so that a round stays short.
const WITHDRAW_LOOKS_MAX: usize = 1_024;

/// What a round decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send the program to the slave.
    Assign {
        /// The program's sequence.
        program: u64,
        /// The slave.
        slave: SlaveId,
    },
    /// Ask the program back from the slave.
    Withdraw {
        /// The program's sequence.
        program: u64,
        /// The slave.
        slave: SlaveId,
    },
}

/// Who is there, what waits, and what each slave holds.
#[derive(Clone, Debug, Default)]
pub struct Scheduler {
    slaves: BTreeMap<SlaveId, SlaveSlots>,
    queue: Queue,
    turn: u64,
    /// Slaves with a free slot, with room ahead, and with programs to take back: kept up to date, so
    /// that a round looks only at what can move.
    free: BTreeSet<SlaveId>,
    roomy: BTreeSet<SlaveId>,
    surplus: BTreeSet<SlaveId>,
    excess: BTreeSet<SlaveId>,
    /// Slaves on which programs ended since the last batch of decisions.
    ended: BTreeSet<SlaveId>,
    withdrawing: u32,
    changed: bool,
}

impl Scheduler {
    /// A scheduler that knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A slave is there with these abilities; what it holds is kept from before.
    pub fn connect(&mut self, id: SlaveId, slave: SlaveSlots) {
        self.change(id, |slaves| match slaves.get_mut(&id) {
            Some(known) => {
                known.name = slave.name;
                known.languages = slave.languages;
                known.slots = slave.slots;
                known.presence = slave.presence;
            }
            None => {
                slaves.insert(id, slave);
            }
        });
    }

    /// A slave is there or not.
    pub fn set_presence(&mut self, id: SlaveId, presence: Presence) {
        self.change_one(id, |slave| slave.presence = presence);
    }

    /// A slave may run this many programs at once.
    pub fn set_slots(&mut self, id: SlaveId, slots: u32) {
        self.change_one(id, |slave| slave.slots = slots);
    }

    /// A slave is gone for good.
    pub fn remove(&mut self, id: SlaveId) {
        self.change(id, |slaves| {
            slaves.remove(&id);
        });
    }

    /// The slaves, in the order of their IDs.
    pub fn slaves(&self) -> impl Iterator<Item = (SlaveId, &SlaveSlots)> {
        self.slaves.iter().map(|(id, slave)| (*id, slave))
    }

    /// One slave.
    #[must_use]
    pub fn slave(&self, id: SlaveId) -> Option<&SlaveSlots> {
        self.slaves.get(&id)
    }

    /// What waits.
    #[must_use]
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// A program waits.
    pub fn enqueue(&mut self, program: u64, need: &Requirement) {
        self.queue.insert(program, need);
        self.changed = true;
    }

    /// A program waits no longer; whether it did.
    pub fn dequeue(&mut self, program: u64, need: &Requirement) -> bool {
        self.queue.remove(program, need)
    }

    /// A slave holds a program that was sent earlier, as the store or the slave itself says.
    pub fn hold(&mut self, program: u64, need: Requirement, slave: SlaveId) {
        self.turn += 1;
        let turn = self.turn;
        self.change_one(slave, |slave| slave.send(program, need, turn));
    }

    /// A slave started a program.
    pub fn started(&mut self, program: u64, slave: SlaveId) {
        self.change_one(slave, |slave| slave.started(program));
    }

    /// A program ended on a slave, which holds it no longer.
    pub fn ended(&mut self, program: u64, slave: SlaveId) {
        self.ended.insert(slave);
        self.change_one(slave, |slave| {
            slave.note_end();
            slave.release(program);
        });
    }

    /// A slave holds a program no longer.
    pub fn release(&mut self, program: u64, slave: SlaveId) {
        self.change_one(slave, |slave| slave.release(program));
    }

    fn change_one(&mut self, id: SlaveId, change: impl FnOnce(&mut SlaveSlots)) {
        self.change(id, |slaves| {
            if let Some(slave) = slaves.get_mut(&id) {
                change(slave);
            }
        });
    }

    /// Applies a change to a slave and brings the sets up to date.
    fn change(&mut self, id: SlaveId, change: impl FnOnce(&mut BTreeMap<SlaveId, SlaveSlots>)) {
        self.withdrawing -= self.slaves.get(&id).map_or(0, SlaveSlots::withdrawing);
        change(&mut self.slaves);
        self.changed = true;
        let slave = self.slaves.get(&id);
        self.withdrawing += slave.map_or(0, SlaveSlots::withdrawing);
        let inside = slave.map_or([false; 4], |slave| {
            let here = slave.presence == Presence::Connected;
            [here && slave.free() > 0, here && slave.has_room_ahead(), slave.surplus() > 0, slave.excess() > 0]
        });
        let sets = [&mut self.free, &mut self.roomy, &mut self.surplus, &mut self.excess];
        for (set, inside) in sets.into_iter().zip(inside) {
            if inside {
                set.insert(id);
            } else {
                set.remove(&id);
            }
        }
    }

    /// A batch of decisions goes out: from now on each slave is sent as far ahead as it ended programs
    /// since the last one asks for.
    pub fn adapt(&mut self) {
        for slave in std::mem::take(&mut self.ended) {
            self.change_one(slave, SlaveSlots::adapt);
        }
    }

    /// Decides what moves now. The decisions are already noted as done.
    pub fn round(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        if std::mem::take(&mut self.changed) {
            self.place(Room::Slot, &mut decisions);
            self.place(Room::Ahead, &mut decisions);
            self.take_back_excess(&mut decisions);
            self.take_back_surplus(&mut decisions);
            self.changed = false;
        }
        decisions
    }

    /// Fills one kind of room, the oldest program of all lines first.
    fn place(&mut self, room: Room, decisions: &mut Vec<Decision>) {
        let with_room = match room {
            Room::Slot => &self.free,
            Room::Ahead => &self.roomy,
        };
        if with_room.is_empty() || self.queue.is_empty() {
            return;
        }
        let mut lines = Vec::new();
        let mut heads = BinaryHeap::new();
        for (need, programs) in self.queue.lines() {
            let able = with_room
                .iter()
                .filter_map(|id| Some((*id, self.slaves.get(id)?)))
                .filter(|(_, slave)| ability::refusal(need, slave).is_none());
            let candidates = Candidates::new(able);
            if let (false, Some(first)) = (candidates.is_empty(), programs.first()) {
                heads.push(Reverse((*first, lines.len())));
                lines.push((need.clone(), candidates));
            }
        }
        while let Some(Reverse((program, line))) = heads.pop() {
            let (need, candidates) = &mut lines[line];
            let Some(slave) = candidates.take(&self.slaves, room) else { continue };
            self.queue.remove(program, need);
            self.hold(program, need.clone(), slave);
            decisions.push(Decision::Assign { program, slave });
            if let Some(known) = self.slaves.get(&slave) {
                candidates.put(slave, known);
            }
            if let Some(next) = self.queue.first(need) {
                heads.push(Reverse((next, line)));
            }
        }
    }

    /// Asks back what a slave that leaves or has fewer slots now will not start.
    fn take_back_excess(&mut self, decisions: &mut Vec<Decision>) {
        for id in self.excess.clone() {
            let Some(slave) = self.slaves.get(&id) else { continue };
            // The newest, which would start last.
            let programs: Vec<u64> =
                slave.sent().rev().map(|(program, _)| program).take(slave.excess() as usize).collect();
            self.withdraw(id, programs, decisions);
        }
    }

    /// Asks back programs sent ahead that a slave with a free slot could start now.
    fn take_back_surplus(&mut self, decisions: &mut Vec<Decision>) {
        if self.free.is_empty() || self.surplus.is_empty() {
            return;
        }
        let free: u32 = self.free.iter().filter_map(|id| self.slaves.get(id)).map(SlaveSlots::free).sum();
        let mut wanted = free.saturating_sub(self.withdrawing);
        let mut looks = WITHDRAW_LOOKS_MAX;
        for id in self.surplus.clone() {
            if wanted == 0 || looks == 0 {
                return;
            }
            let Some(slave) = self.slaves.get(&id) else { continue };
            let mut programs = Vec::new();
            // The oldest first: the order of starts is kept.
            for (program, need) in slave.sent().take(looks) {
                looks -= 1;
                if programs.len() as u32 >= wanted.min(slave.surplus()) {
                    break;
                }
                let another = self.free.iter().filter(|other| **other != id).filter_map(|other| self.slaves.get(other));
                if another.into_iter().any(|other| ability::refusal(need, other).is_none()) {
                    programs.push(program);
                }
            }
            wanted -= programs.len() as u32;
            self.withdraw(id, programs, decisions);
        }
    }

    fn withdraw(&mut self, slave: SlaveId, programs: Vec<u64>, decisions: &mut Vec<Decision>) {
        for program in programs {
            self.change_one(slave, |slave| slave.withdraw(program));
            decisions.push(Decision::Withdraw { program, slave });
        }
    }

    /// Asserts what must always hold; for tests.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self) {
        let withdrawing: u32 = self.slaves.values().map(SlaveSlots::withdrawing).sum();
        assert_eq!(withdrawing, self.withdrawing, "the count of programs asked back");
        for (id, slave) in &self.slaves {
            assert!(slave.unstarted() <= slave.assigned(), "{id} has more unstarted than assigned");
            let here = slave.presence == Presence::Connected;
            assert_eq!(self.free.contains(id), here && slave.free() > 0, "{id} free");
            assert_eq!(self.roomy.contains(id), here && slave.has_room_ahead(), "{id} roomy");
        }
    }
}
