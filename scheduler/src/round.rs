//! The scheduler: what waits, who is there, and one round of decisions.

use crate::{
    ability::{self, Requirement},
    ceilings::Ceilings,
    placement::{Candidates, Room},
    queue::Queue,
    slave::{Aside, Presence, SlaveSlots},
};
use common::{SlaveId, program::ProgramSpec};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Range,
    sync::Arc,
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
    ceilings: Ceilings,
    turn: u64,
    /// Slaves with a free slot, with room ahead, and with programs to take back: kept up to date, so
    /// that a round looks only at what can move.
    free: BTreeSet<SlaveId>,
    roomy: BTreeSet<SlaveId>,
    surplus: BTreeSet<SlaveId>,
    excess: BTreeSet<SlaveId>,
    /// Slaves that take programs and hold some that they have not started.
    sending: BTreeSet<SlaveId>,
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

    /// What a submitted program needs.
    #[must_use]
    pub fn need(&self, spec: &ProgramSpec) -> Requirement {
        Requirement::of(spec, &self.ceilings)
    }

    /// A slave is there with these abilities; what it holds is kept from before. When it has a ceiling that no other
    /// has, the ceilings that were known until now: each program is to be told with them to [`Self::need_again`].
    #[must_use]
    pub fn connect(&mut self, id: SlaveId, mut slave: SlaveSlots) -> Option<Ceilings> {
        let before = self.ceilings.clone();
        let slaves = &self.slaves;
        let is_new = self.ceilings.add(&slave.ceiling.limits, |known| {
            slaves.iter().any(|(other, slave)| *other != id && slave.ceiling.limits == *known)
        });
        slave.place = self.ceilings.place(&slave.ceiling.limits);
        self.change(id, |slaves| match slaves.get_mut(&id) {
            Some(known) => {
                known.name = slave.name;
                known.languages = slave.languages;
                known.slots = slave.slots;
                known.ceiling = slave.ceiling;
                known.place = slave.place;
                known.presence = slave.presence;
            }
            None => {
                slaves.insert(id, slave);
            }
        });
        is_new.then_some(before)
    }

    /// Programs of one body that wait together, or one that is held by this slave, when other ceilings were known
    /// before.
    pub fn need_again(
        &mut self,
        programs: Range<u64>,
        spec: &ProgramSpec,
        user: &Arc<str>,
        slave: Option<SlaveId>,
        before: &Ceilings,
    ) {
        let (old, new) = (before.beyond(&spec.limits), self.ceilings.beyond(&spec.limits));
        if old == new {
            return;
        }
        let need = Requirement { beyond: new, ..Requirement::of(spec, before) };
        if let Some(slave) = slave.and_then(|slave| self.slaves.get_mut(&slave)) {
            slave.set_need(programs.start, need);
        } else if self.queue.remove(programs.clone(), &Requirement { beyond: old, ..need.clone() }, user) {
            self.queue.insert(programs, &need, user);
        }
    }

    /// A slave is there or not.
    pub fn set_presence(&mut self, id: SlaveId, presence: Presence) {
        self.change_one(id, |slave| slave.presence = presence);
    }

    /// A slave is set aside or not.
    pub fn set_aside(&mut self, id: SlaveId, aside: Aside) {
        self.change_one(id, |slave| slave.aside = aside);
    }

    /// Whether the user with the fewest programs on slaves comes first, rather than the oldest program.
    pub fn set_fair(&mut self, fair: bool) {
        self.queue.set_fair(fair);
        self.changed = true;
    }

    /// A slave may run this many programs at once.
    pub fn set_slots(&mut self, id: SlaveId, slots: u32) {
        self.change_one(id, |slave| slave.slots = slots);
    }

    /// A slave is gone for good.
    pub fn remove(&mut self, id: SlaveId) {
        let users: Vec<Arc<str>> = self.slaves.get(&id).into_iter().flat_map(SlaveSlots::users).cloned().collect();
        for user in users {
            self.queue.assign(&user, false);
        }
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

    /// A program of this user waits.
    pub fn enqueue(&mut self, program: u64, need: &Requirement, user: &Arc<str>) {
        self.enqueue_all(program..program + 1, need, user);
    }

    /// Programs of this user with equal needs wait, as many as it may be.
    pub fn enqueue_all(&mut self, programs: Range<u64>, need: &Requirement, user: &Arc<str>) {
        self.queue.insert(programs, need, user);
        self.changed = true;
    }

    /// A program waits no longer; whether it did.
    pub fn dequeue(&mut self, program: u64, need: &Requirement, user: &Arc<str>) -> bool {
        self.queue.remove(program..program + 1, need, user)
    }

    /// A slave holds a program that was sent earlier, as the store or the slave itself says.
    pub fn hold(&mut self, program: u64, need: Requirement, user: &Arc<str>, slave: SlaveId) {
        if !self.slaves.contains_key(&slave) {
            return;
        }
        self.turn += 1;
        let turn = self.turn;
        let mut before = None;
        self.change_one(slave, |slave| {
            before = slave.release(program);
            slave.send(program, need, user.clone(), turn);
        });
        if let Some(before) = before {
            self.queue.assign(&before, false);
        }
        self.queue.assign(user, true);
    }

    /// A slave started a program.
    pub fn started(&mut self, program: u64, slave: SlaveId) {
        self.change_one(slave, |slave| slave.started(program));
    }

    /// A program ended on a slave, which holds it no longer.
    pub fn ended(&mut self, program: u64, slave: SlaveId) {
        self.ended.insert(slave);
        self.change_one(slave, SlaveSlots::note_end);
        self.release(program, slave);
    }

    /// A slave holds a program no longer.
    pub fn release(&mut self, program: u64, slave: SlaveId) {
        let mut user = None;
        self.change_one(slave, |slave| user = slave.release(program));
        if let Some(user) = user {
            self.queue.assign(&user, false);
        }
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
        let inside = slave.map_or([false; 5], |slave| {
            let here = slave.takes_programs();
            [
                here && slave.free() > 0,
                here && slave.has_room_ahead(),
                slave.surplus() > 0,
                slave.excess() > 0,
                here && slave.sent_count() > 0,
            ]
        });
        let sets = [&mut self.free, &mut self.roomy, &mut self.surplus, &mut self.excess, &mut self.sending];
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
            self.take_back_for_newcomers(&mut decisions);
            self.changed = false;
        }
        decisions
    }

    /// Fills one kind of room: of all lines, the program whose turn it is.
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
        for need in self.queue.needs() {
            let able = with_room
                .iter()
                .filter_map(|id| Some((*id, self.slaves.get(id)?)))
                .filter(|(_, slave)| ability::refusal(need, slave).is_none());
            let candidates = Candidates::new(able);
            if let (false, Some((turn, _))) = (candidates.is_empty(), self.queue.first(need)) {
                heads.push(Reverse((turn, lines.len())));
                lines.push((need.clone(), candidates));
            }
        }
        while let Some(Reverse((known, line))) = heads.pop() {
            let (need, candidates) = &mut lines[line];
            let Some((turn, user)) = self.queue.first(need) else { continue };
            if turn != known {
                // Another line gave this user a program: shares only grow in a round.
                heads.push(Reverse((turn, line)));
                continue;
            }
            let Some(slave) = candidates.take(&self.slaves, room) else { continue };
            let (program, user) = (turn.1, user.clone());
            self.queue.remove(program..program + 1, need, &user);
            self.hold(program, need.clone(), &user, slave);
            decisions.push(Decision::Assign { program, slave });
            if let Some(known) = self.slaves.get(&slave) {
                candidates.put(slave, known);
            }
            if let Some((next, _)) = self.queue.first(need) {
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
                slave.sent().rev().map(|(program, ..)| program).take(slave.excess() as usize).collect();
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
            for (program, need, _) in slave.sent().take(looks) {
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

    /// A user who has nothing on any slave does not wait behind what others sent ahead: one slave gives back what
    /// it has not started, and the round after that serves him first.
    fn take_back_for_newcomers(&mut self, decisions: &mut Vec<Decision>) {
        if !self.queue.is_fair() || self.withdrawing > 0 || self.queue.is_empty() || self.sending.is_empty() {
            return;
        }
        let newcomers = self.queue.needs().filter_map(|need| {
            let ((share, _), user) = self.queue.first(need)?;
            (share == 0).then_some((need, user))
        });
        let mut found: Option<(usize, SlaveId, Vec<u64>)> = None;
        let mut looks = WITHDRAW_LOOKS_MAX;
        for (need, newcomer) in newcomers {
            for id in &self.sending {
                let Some(slave) = self.slaves.get(id) else { continue };
                if looks == 0 {
                    break;
                }
                looks -= 1;
                if found.as_ref().is_some_and(|(least, ..)| *least <= slave.sent_count())
                    || ability::refusal(need, slave).is_some()
                {
                    continue;
                }
                let richer = |user: &Arc<str>| *user != *newcomer && self.queue.assigned(user) > 1;
                let programs: Vec<u64> =
                    slave.sent().filter(|(.., user)| richer(user)).map(|(program, ..)| program).collect();
                if !programs.is_empty() {
                    found = Some((slave.sent_count(), *id, programs));
                }
            }
        }
        if let Some((_, slave, programs)) = found {
            self.withdraw(slave, programs, decisions);
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
            let here = slave.takes_programs();
            assert_eq!(self.free.contains(id), here && slave.free() > 0, "{id} free");
            assert_eq!(self.roomy.contains(id), here && slave.has_room_ahead(), "{id} roomy");
            assert_eq!(self.sending.contains(id), here && slave.sent_count() > 0, "{id} sending");
        }
        let mut assigned = BTreeMap::new();
        for user in self.slaves.values().flat_map(SlaveSlots::users) {
            *assigned.entry(user.clone()).or_insert(0) += 1;
        }
        self.queue.check(&assigned);
    }
}
