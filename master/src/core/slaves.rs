//! Slaves: who is there, what each holds, and what follows when one comes, goes or stays away.

use super::{Core, SLAVE_LISTED_MAX, action::Action, aside::Failures, event::LinkId, program::ProgramState};
use crate::store::{Record, load::SlaveRow};
use common::{
    AttemptKey, ErrorCode, SlaveId, Timestamp, UserError,
    units::BootTime,
    view::{Ceiling, Isolation, LanguageOffer},
};
use scheduler::{Presence, SlaveSlots};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A slave that is there, or was a while ago.
#[derive(Debug)]
pub(super) struct Slave {
    pub(super) name: Arc<str>,
    pub(super) address: String,
    pub(super) link: Option<LinkId>,
    /// The same as long as its journal is whole and its machine was not restarted: then what it does not know, it
    /// never started or has reported.
    pub(super) instance: u64,
    /// The instance that the store remembers: an earlier one while attempts of that one stray.
    pub(super) instance_kept: u64,
    pub(super) draining: bool,
    pub(super) since: Timestamp,
    pub(super) connected_since: Timestamp,
    pub(super) offered: u32,
    pub(super) languages: Vec<LanguageOffer>,
    pub(super) isolation: Isolation,
    /// What it never exceeds.
    pub(super) ceiling: Ceiling,
    /// It told that itself, to this master since its start.
    pub(super) ceiling_told: bool,
    pub(super) machine: String,
    pub(super) release: String,
    /// What it was sent and has not ended, as far as is known.
    pub(super) attempts: BTreeMap<AttemptKey, u64>,
    /// Results that it brought along when it connected.
    pub(super) brought: BTreeSet<AttemptKey>,
    /// What it failed to run by its own fault.
    pub(super) failures: Failures,
    /// When the connection was lost, or this master started without it.
    pub(super) cut_at: Option<Timestamp>,
    /// When its lease ends, or after that when it is no longer listed.
    pub(super) lease: Option<BootTime>,
    pub(super) lease_over: bool,
}

impl Slave {
    pub(super) const fn lease_at(&self) -> Option<BootTime> {
        self.lease
    }

    /// A slave that gave up its name and may still run something.
    pub(super) fn nameless(now: Timestamp) -> Self {
        let row = SlaveRow {
            id: SlaveId(uuid::Uuid::nil()),
            name: "?".to_owned(),
            instance: 0,
            slots: 0,
            languages: Vec::new(),
            seen_at: now,
            aside: None,
            revoked: true,
        };
        Self::absent(row, now)
    }

    /// A slave that the store remembers.
    pub(super) fn absent(row: SlaveRow, now: Timestamp) -> Self {
        Self {
            name: row.name.into(),
            address: String::new(),
            link: None,
            instance: row.instance,
            instance_kept: row.instance,
            draining: false,
            since: row.seen_at,
            connected_since: row.seen_at,
            offered: row.slots,
            languages: row.languages,
            isolation: Isolation::default(),
            ceiling: Ceiling::default(),
            ceiling_told: false,
            machine: String::new(),
            release: String::new(),
            attempts: BTreeMap::new(),
            brought: BTreeSet::new(),
            failures: Failures::default(),
            cut_at: Some(now),
            lease: None,
            lease_over: false,
        }
    }
}

impl Core {
    /// Lists a slave.
    pub(super) fn add_slave(&mut self, id: SlaveId, slave: Slave) {
        let languages = slave.languages.iter().map(|language| language.name.clone());
        let slots = self.slots_set.of(&slave.name, slave.offered);
        // Of one that has not told it nothing is known that would be in the way.
        let network = slave.ceiling.network || !slave.ceiling_told;
        let ceiling = Ceiling { network, ..slave.ceiling };
        let known = SlaveSlots::new(slave.name.clone(), languages, slots).within(ceiling);
        let before = self.scheduler.connect(id, known);
        self.slaves.insert(id, slave);
        if let Some(before) = before {
            // Only programs that ask for more than this slave allows move to other lines.
            for (sequence, program) in &self.programs {
                self.scheduler.need_again(
                    *sequence..*sequence + 1,
                    &program.template(),
                    &program.lot.user,
                    program.slave(),
                    &before,
                );
            }
            for (sequences, array) in self.arrays.iter().filter(|(_, array)| !array.held) {
                self.scheduler.need_again(sequences, &array.lot.body.spec, &array.lot.user, None, &before);
            }
        }
        self.apply_aside(id);
    }

    /// Slaves that are away for good: their names may be given to others.
    pub(crate) fn replaceable(&self) -> Vec<SlaveId> {
        let listed = |id: &SlaveId| self.slaves.get(id);
        let away = |id: &SlaveId| {
            listed(id).is_none_or(|slave| slave.link.is_none() && slave.attempts.is_empty() && slave.lease_over)
        };
        self.enrolled.values().copied().filter(away).collect()
    }

    pub(super) fn slave_enrolled(&mut self, id: SlaveId, name: String, retired: Option<SlaveId>) {
        if let Some(retired) = retired {
            self.enrolled.retain(|_, other| *other != retired);
            self.retire(retired);
        }
        self.log(&name, format!("Enrolled as slave {id}."));
        self.enrolled.insert(name, id);
    }

    /// A slave that gave up its name. It may have come back just before that was decided: it is told that it is
    /// known no more, and what it holds may run on until its lease is over, so that nothing of it is given to
    /// others before.
    fn retire(&mut self, id: SlaveId) {
        if let Some(link) = self.slaves.get(&id).and_then(|slave| slave.link) {
            self.actions.push(Action::CutSlave(link, Some(unknown_slave())));
            self.slave_left(link);
        }
        if self.asides.remove(&id).is_some() {
            self.record(Record::SlaveAside { id, reason: None });
        }
        if self.slaves.get(&id).is_some_and(|slave| slave.attempts.is_empty()) {
            self.forget_slave(id);
        }
    }

    pub(super) fn forget_slave(&mut self, id: SlaveId) {
        if let Some(slave) = self.slaves.remove(&id) {
            self.scheduler.remove(id);
            if let Some(at) = slave.lease {
                self.leases.remove(&(at, id));
            }
            if let Some(at) = slave.failures.trial_at() {
                self.trials.remove(&(at, id));
            }
            self.watch.slave_gone(id);
        }
    }

    pub(super) fn set_lease(&mut self, id: SlaveId, at: Option<BootTime>) {
        if let Some(slave) = self.slaves.get_mut(&id) {
            if let Some(old) = std::mem::replace(&mut slave.lease, at) {
                self.leases.remove(&(old, id));
            }
            if let Some(at) = at {
                self.leases.insert((at, id));
            }
        }
    }

    pub(super) fn slave_left(&mut self, link: LinkId) {
        self.orders.remove(&link);
        let Some(id) = self.links.remove(&link) else { return };
        let Some(slave) = self.slaves.get_mut(&id) else { return };
        slave.link = None;
        slave.since = self.now.wall;
        slave.lease_over = false;
        slave.cut_at = Some(self.now.wall);
        let name = slave.name.clone();
        let held: Vec<u64> = slave.attempts.values().copied().collect();
        for sequence in &held {
            // It is repeated at the next connection, with the output that is missing.
            if let Some(program) = self.programs.get_mut(sequence)
                && let ProgramState::Running(run) = &mut program.state
            {
                run.cut_off();
            }
            self.inputs_live.send_again(*sequence);
            self.watch_program(*sequence);
        }
        self.scheduler.set_presence(id, Presence::Unreachable);
        self.set_lease(id, Some(self.now.boot.plus(self.settings.lease)));
        self.watch.slave(id);
        self.log(&name, format!("Connection lost; it held {} programs.", held.len()));
    }

    /// The master itself was stopped, or its machine too busy to let it run: slaves that are away could not come
    /// back meanwhile, and get their whole lease from now (F9).
    pub(super) fn renew_leases(&mut self) {
        let until = self.now.boot.plus(self.settings.lease);
        let early: Vec<SlaveId> = self
            .slaves
            .iter()
            .filter(|(_, slave)| !slave.lease_over)
            .filter_map(|(id, slave)| slave.lease.filter(|at| *at < until).map(|_| *id))
            .collect();
        for id in early {
            self.set_lease(id, Some(until));
        }
        self.strays.put_off(until);
    }

    /// Ends the leases that are over.
    pub(super) fn end_leases(&mut self) {
        while let Some((at, id)) = self.leases.first().copied()
            && at <= self.now.boot
        {
            self.leases.pop_first();
            let Some(slave) = self.slaves.get_mut(&id) else { continue };
            slave.lease = None;
            if slave.lease_over {
                self.forget_slave(id);
                continue;
            }
            slave.lease_over = true;
            let held: Vec<u64> = slave.attempts.values().copied().collect();
            let bodies: Vec<u64> =
                held.iter().filter_map(|sequence| Some(self.programs.get(sequence)?.lot.body.key)).collect();
            if !bodies.is_empty() {
                self.slave_failed(id, bodies, "it was away for longer than its lease");
            }
            for sequence in held {
                self.lose(sequence, "has been away for longer than its lease");
            }
            if self.enrolled.values().any(|other| *other == id) {
                self.set_lease(id, Some(self.now.boot.plus(SLAVE_LISTED_MAX)));
            } else {
                // Revoked: it never comes back.
                self.forget_slave(id);
            }
        }
    }
}

pub(super) fn unknown_slave() -> UserError {
    UserError::new(ErrorCode::IdentityRefused, "this master does not know this slave any more")
}
