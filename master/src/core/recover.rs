//! A core as the store remembers it.

use super::{
    Core, SLAVE_LISTED_MAX, Settings,
    arrays::{Array, Arrays},
    bodies::Bodies,
    event::Now,
    program::{Body, Lot, Program, ProgramState, Rare, Run},
    settings::SlotsSet,
    slaves::Slave,
};
use crate::store::{Record, load::Recovered};
use common::{AttemptKey, ProgramSpec, message::Stream, program::State};
use scheduler::{Presence, Scheduler};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The setting that remembers which epoch was served the last time.
const EPOCH_SERVED: &str = "epoch_served";

impl Core {
    /// Everything that was alive is alive again; slaves have their whole lease, counted from now, to
    /// come back with what they hold. `stored` are the bytes on disk of outputs of running attempts.
    pub(crate) fn recover(
        recovered: Recovered,
        stored: &BTreeMap<AttemptKey, [u64; Stream::COUNT]>,
        settings: Settings,
        now: Now,
    ) -> Self {
        let mut core = Self {
            slots_set: SlotsSet::read(&recovered.settings, settings.max_processes),
            settings,
            now,
            actions: Vec::new(),
            scheduler: Scheduler::new(),
            programs: BTreeMap::new(),
            by_id: BTreeMap::new(),
            just_ended: BTreeMap::new(),
            slaves: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            links: BTreeMap::new(),
            impostors: BTreeSet::new(),
            leases: BTreeSet::new(),
            clients: BTreeMap::new(),
            waiters: super::waiters::Waiters::default(),
            inputs_live: super::live::Inputs::default(),
            watch: super::watch::Watch::default(),
            totals: recovered.totals,
            failed_today: (0, 0),
            next_sequence: recovered.next_sequence,
            next_spec: recovered.next_spec,
            last_id: recovered.last_id,
            bodies: Bodies::default(),
            entries_bytes: 0,
            impossible_left: false,
            arrays: Arrays::default(),
            refuse: None,
            stopping: false,
            mark: 0,
            orders: BTreeMap::new(),
            pauses: super::retry::Pauses::default(),
            strays: super::strays::Strays::default(),
            stored_early: BTreeMap::new(),
            parked: BTreeSet::new(),
            asides: BTreeMap::new(),
            trials: BTreeSet::new(),
            of_users: BTreeMap::new(),
            last_turn: now.boot,
            epoch_safe_at: None,
            inputs: super::inputs::Inputs::default(),
        };
        core.scheduler.set_fair(core.settings.fair_share);
        let restored = core.serve_epoch(&recovered.settings);
        let holding: BTreeSet<_> = recovered.alive.iter().filter_map(|row| row.slave).collect();
        for row in recovered.slaves {
            if let Some(reason) = row.aside.clone() {
                core.asides.insert(row.id, reason);
            }
            if !row.revoked {
                core.enrolled.insert(row.name.clone(), row.id);
            }
            let recent = row.seen_at.0 > 0 && now.wall.since(row.seen_at) < SLAVE_LISTED_MAX;
            if recent || holding.contains(&row.id) {
                let id = row.id;
                core.add_slave(id, Slave::absent(row, core.now.wall));
                core.scheduler.set_presence(id, Presence::Unreachable);
                core.set_lease(id, Some(core.now.boot.plus(core.settings.lease)));
            }
        }
        let mut stranded = Vec::new();
        let mut last: Option<Arc<Lot>> = None;
        for row in recovered.alive {
            let body = core.recover_body(row.spec_key, row.spec, row.spec_hash, 1);
            let of = |lot: &Arc<Lot>| {
                (lot.client, lot.copies) == (row.client, row.copies)
                    && lot.user == row.user
                    && Arc::ptr_eq(&lot.body, &body)
            };
            let known = last.take().filter(of);
            let lot =
                known.unwrap_or_else(|| Arc::new(Lot { body, user: row.user, client: row.client, copies: row.copies }));
            last = Some(lot.clone());
            let mut program = Program::new(row.id, lot, row.index, row.submitted_at);
            program.attempt = row.attempt;
            let rare = Rare {
                cancel_by: row.cancel_by,
                crashes: row.crashes,
                wall_time: row.wall_time,
                suspend: row.suspend,
                entry: row.entry.map(Arc::new),
            };
            if !rare.is_empty() {
                *program.rare_mut() = rare;
            }
            core.entries_bytes += program.own_bytes();
            *core.of_users.entry(program.lot.user.clone()).or_default() += 1;
            let need = core.scheduler.need(&program.template());
            match row.slave {
                None if restored => core.hold_back(row.sequence),
                None => core.scheduler.enqueue(row.sequence, &need, &program.lot.user),
                Some(slave) => {
                    if !core.slaves.contains_key(&slave) {
                        stranded.push((slave, program.key(), row.sequence));
                    }
                    core.scheduler.hold(row.sequence, need, &program.lot.user, slave);
                    program.state = ProgramState::Sent { slave };
                    if matches!(row.state, State::Running | State::Suspended) {
                        core.scheduler.started(row.sequence, slave);
                        let stored = stored.get(&program.key()).copied().unwrap_or_default();
                        let started_at = row.started_at.unwrap_or(row.submitted_at);
                        let mut run = Run::new(slave, started_at, stored);
                        run.suspended = row.state == State::Suspended;
                        if program.lot.body.spec.live.is_some() {
                            core.inputs_live.recovered(row.sequence);
                        }
                        program.state = ProgramState::Running(Box::new(run));
                    } else if let Some(stored) =
                        stored.get(&program.key()).filter(|stored| **stored != [0; Stream::COUNT])
                    {
                        core.stored_early.insert(program.key(), *stored);
                    }
                    if let Some(known) = core.slaves.get_mut(&slave) {
                        known.attempts.insert(program.key(), row.sequence);
                    }
                }
            }
            core.by_id.insert(program.id, row.sequence);
            core.programs.insert(row.sequence, program);
        }
        for row in recovered.arrays {
            let body = core.recover_body(row.spec_key, row.spec, row.spec_hash, row.count);
            let count = usize::try_from(row.count).unwrap_or(usize::MAX);
            *core.of_users.entry(row.user.clone()).or_default() += count;
            if !restored {
                let need = core.scheduler.need(&body.spec);
                core.scheduler.enqueue_all(row.first..row.first + row.count, &need, &row.user);
            }
            let lot = Arc::new(Lot { body, user: row.user, client: row.client, copies: row.copies });
            let (count, submitted_at) = (row.count, row.submitted_at);
            let array = Array { count, id: row.id, index: row.index, lot, submitted_at, held: restored };
            core.arrays.insert(row.first, array);
        }
        // Their slave gave up its name. It may run them until its lease is over, which began when it was cut:
        // at the latest when the master before this one ended.
        for (slave, key, sequence) in stranded {
            if !core.slaves.contains_key(&slave) {
                core.add_slave(slave, Slave::nameless(core.now.wall));
                core.scheduler.set_presence(slave, Presence::Unreachable);
                core.set_lease(slave, Some(core.now.boot.plus(core.settings.lease)));
            }
            if let Some(program) = core.programs.get(&sequence) {
                core.scheduler.hold(sequence, core.scheduler.need(&program.template()), &program.lot.user, slave);
                if matches!(program.state, ProgramState::Running(_)) {
                    core.scheduler.started(sequence, slave);
                }
            }
            if let Some(known) = core.slaves.get_mut(&slave) {
                known.attempts.insert(key, sequence);
            }
        }
        core
    }

    /// A body as the store has it, of so many programs more.
    fn recover_body(&mut self, key: u64, spec: Arc<ProgramSpec>, hash: [u8; 32], programs: u64) -> Arc<Body> {
        let (body, is_new) = self.bodies.add(hash, programs, || spec, key);
        if is_new {
            self.inputs.need(&body.spec);
        }
        body
    }

    /// Whether a history is served that was restored, and no lease has passed since: slaves may still run what the
    /// history before gave them, at most as long as their lease. Noted only when that is over, so that a restart of
    /// the master holds back anew.
    fn serve_epoch(&mut self, settings: &BTreeMap<String, String>) -> bool {
        let served = settings.get(EPOCH_SERVED).and_then(|value| value.parse().ok()).unwrap_or(1);
        if served == self.settings.epoch {
            return false;
        }
        self.epoch_safe_at = Some(self.now.boot.plus(self.settings.lease));
        true
    }

    /// Notes which history is served, once nothing of the one before can run any more.
    /// Whether it is over now.
    pub(super) fn note_epoch(&mut self) -> bool {
        let over = self.epoch_safe_at.take_if(|at| *at <= self.now.boot).is_some();
        if over {
            let value = Some(self.settings.epoch.to_string());
            self.record(Record::Setting { name: EPOCH_SERVED.to_owned(), value });
        }
        over
    }
}
