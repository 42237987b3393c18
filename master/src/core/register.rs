//! A slave that connects: who it is, and what it holds against what is believed of it.

use super::{
    Core,
    action::Action,
    aside::Failures,
    event::LinkId,
    program::ProgramState,
    slaves::{Slave, unknown_slave},
};
use crate::store::{Record, SlaveSeen};
use common::{
    AttemptKey, Duration, ErrorCode, Outcome, SlaveId, Timestamp, UserError,
    escape::shorten,
    limits::{BATCH_MAX, LANGUAGES_PER_SLAVE_MAX, PEER_NAME_BYTES_MAX, SLAVES_MAX, SLOTS_MAX},
    message::{Order, Registration, StoredUpTo, Stream},
    units::BootTime,
    view::{Guard, Isolation, LanguageOffer},
};
use scheduler::reconcile::{Belief, Reported, Verdict, reconcile};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What two agents under one identity are told before the later one may try again.
const OTHER_AGENT_RETRY: Duration = Duration::from_secs(2);

/// What was known of a slave before it connected.
#[derive(Default)]
struct Before {
    same_instance: bool,
    attempts: BTreeMap<AttemptKey, u64>,
    failures: Failures,
    instance_kept: Option<u64>,
    /// When the lease that it came back within would have been over.
    lease: Option<BootTime>,
}

impl Before {
    fn of(slave: Option<&mut Slave>, instance: u64) -> Self {
        let Some(slave) = slave else { return Self::default() };
        Self {
            same_instance: slave.instance == instance,
            attempts: std::mem::take(&mut slave.attempts),
            failures: std::mem::take(&mut slave.failures),
            instance_kept: Some(slave.instance_kept),
            lease: slave.lease.filter(|_| !slave.lease_over),
        }
    }
}

impl Core {
    pub(super) fn slave_registered(&mut self, link: LinkId, id: SlaveId, address: String, told: Registration) {
        let Some(name) = self.enrolled.iter().find(|(_, other)| **other == id).map(|(name, _)| name.clone()) else {
            return self.actions.push(Action::CutSlave(link, Some(unknown_slave())));
        };
        if self.slaves.len() >= SLAVES_MAX && !self.slaves.contains_key(&id) {
            let sentence = format!("{SLAVES_MAX} slaves are connected already");
            let error = UserError::new(ErrorCode::Busy, sentence).retry_after(OTHER_AGENT_RETRY);
            return self.actions.push(Action::CutSlave(link, Some(error)));
        }
        if let Some(old) = self.slaves.get(&id).and_then(|slave| slave.link.map(|link| (link, slave.instance))) {
            if old.1 != told.instance {
                // Two agents, or one that was restarted before its dead connection was noticed.
                let error = UserError::new(ErrorCode::Busy, "another agent with this identity is still connected");
                return self.actions.push(Action::CutSlave(link, Some(error.retry_after(OTHER_AGENT_RETRY))));
            }
            self.links.remove(&old.0);
            self.orders.remove(&old.0);
            self.actions.push(Action::CutSlave(old.0, None));
        }
        let before = Before::of(self.slaves.get_mut(&id), told.instance);
        self.set_lease(id, None);
        let mut slave = registered(name.into(), address, link, &told, self.now.wall);
        let until = before.lease.unwrap_or(self.now.boot.plus(self.settings.lease));
        slave.attempts = before.attempts;
        slave.failures = before.failures;
        slave.instance_kept = before.instance_kept.unwrap_or(slave.instance);
        slave.brought = told.finished.iter().filter(|key| slave.attempts.contains_key(key)).copied().collect();
        for sequence in slave.attempts.values() {
            if let Some(program) = self.programs.get_mut(sequence)
                && let ProgramState::Running(run) = &mut program.state
            {
                run.cut_off();
            }
            self.inputs_live.send_again(*sequence);
        }
        self.log(&slave.name.clone(), format!("Connected from {}.", slave.address));
        self.add_slave(id, slave);
        self.links.insert(link, id);
        self.watch.slave(id);
        let slots = self.scheduler.slave(id).map_or(0, |slave| slave.slots);
        self.order(link, Order::Registered { slots, lease: self.settings.slave_lease(), epoch: self.settings.epoch });
        self.compare(id, link, &told, before.same_instance, until);
        self.record_seen(id);
        self.fail_impossible();
    }

    /// What a master that starts again must know of this slave. As long as attempts of an earlier instance stray,
    /// that instance stays the one that is remembered: what the present one does not know proves nothing of them.
    pub(super) fn record_seen(&mut self, id: SlaveId) {
        let Some(slave) = self.slaves.get_mut(&id) else { return };
        if !slave.attempts.keys().any(|key| self.strays.since(*key).is_some()) {
            slave.instance_kept = slave.instance;
        }
        let seen = SlaveSeen {
            id,
            instance: slave.instance_kept,
            languages: slave.languages.clone(),
            slots: slave.offered,
            at: self.now.wall,
        };
        self.record(Record::SlaveSeen(Box::new(seen)));
    }

    /// Compares what the slave holds with what is believed of it, and acts on each difference. What it may still
    /// run without knowing it runs until `until` at most.
    fn compare(&mut self, id: SlaveId, link: LinkId, told: &Registration, same_instance: bool, until: BootTime) {
        let Some(slave) = self.slaves.get(&id) else { return };
        let belief = |sequence: &u64| match self.programs.get(sequence).map(|program| &program.state) {
            Some(ProgramState::Running(_)) => Belief::Started,
            Some(ProgramState::Waiting | ProgramState::Sent { .. }) | None => Belief::Sent,
        };
        let believed = slave.attempts.iter().map(|(key, sequence)| (*key, belief(sequence))).collect();
        let mut reported = Reported { waiting: &told.waiting, running: &told.running, finished: &told.finished };
        let (mut discard, mut forget, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        let of_this_history = told.epoch == 0 || told.epoch == self.settings.epoch;
        if !of_this_history {
            // Keys may be the same, what they stand for is not. What was sent in this epoch it cannot have got.
            discard.extend(told.waiting.iter().chain(told.running.iter().map(|(key, _)| key)));
            forget.extend(&told.finished);
            reported = Reported::default();
        }
        let dropped = discard.len() + forget.len();
        let held: Vec<(AttemptKey, u64)> = slave.attempts.iter().map(|(key, sequence)| (*key, *sequence)).collect();
        for key in reported.waiting.iter().chain(reported.running.iter().map(|(key, _)| key)).chain(reported.finished) {
            self.strays.remove(*key);
        }
        for verdict in reconcile(&believed, reported, same_instance && of_this_history) {
            let sequence = |key: &AttemptKey| self.by_id.get(&key.program).copied();
            match verdict {
                Verdict::KeepWaiting(key) => {
                    // It may have been asked back on the old connection; it is simply sent now.
                    if let Some(sequence) = sequence(&key)
                        && let Some(program) = self.programs.get(&sequence)
                    {
                        self.scheduler.hold(sequence, self.scheduler.need(&program.template()), &program.lot.user, id);
                    }
                }
                Verdict::KeepRunning(key, started_at) => {
                    if let Some(sequence) = sequence(&key) {
                        self.runs(sequence, started_at);
                        stored.extend(self.stored_of(sequence));
                    }
                }
                Verdict::AwaitResult(key) => {
                    if let Some(sequence) = sequence(&key) {
                        stored.extend(self.stored_of(sequence));
                    }
                }
                // An earlier instance had it, and nothing is known of it still.
                Verdict::NeverArrived(key) | Verdict::Lost(key) if self.strays.since(key).is_some() => {}
                Verdict::NeverArrived(key) => {
                    if let Some(sequence) = sequence(&key) {
                        match self.programs.get(&sequence).and_then(|program| program.cancel_by().cloned()) {
                            Some(by) => self.end_without_report(sequence, Outcome::Cancelled { by: by.to_string() }),
                            None => self.wait_again(sequence, true),
                        }
                    }
                }
                Verdict::Lost(key) => {
                    if let Some(sequence) = sequence(&key) {
                        if same_instance && of_this_history {
                            self.lose(sequence, "came back without it");
                        } else {
                            self.stray(id, sequence, key, until);
                        }
                    }
                }
                Verdict::Discard(key) => discard.push(key),
                Verdict::Forget(key) => forget.push(key),
            }
        }
        for (keys, order) in [(discard, Order::Discard as fn(_) -> _), (forget, Order::Acknowledge)] {
            for keys in keys.chunks(BATCH_MAX) {
                self.order(link, order(keys.to_vec()));
            }
        }
        for part in stored.chunks(BATCH_MAX) {
            self.order(link, Order::Stored(part.to_vec()));
        }
        for (_, sequence) in held {
            // Whether it runs is known again, or not known.
            self.watch_program(sequence);
        }
        if dropped > 0 && !of_this_history {
            let text = format!(
                "Came with {dropped} programs of another history (epoch {}); they are dropped there.",
                told.epoch
            );
            if let Some(name) = self.slaves.get(&id).map(|slave| slave.name.clone()) {
                self.log(&name, text);
            }
        }
        let suspended = if of_this_history { told.suspended.as_slice() } else { &[] };
        self.control_again(id, link, suspended);
        self.cancel_again(id, link);
    }

    /// Cancels that were wanted while the slave was away.
    fn cancel_again(&mut self, id: SlaveId, link: LinkId) {
        let Some(slave) = self.slaves.get(&id) else { return };
        let wanted = slave
            .attempts
            .iter()
            .filter_map(|(key, sequence)| Some((*key, self.programs.get(sequence)?.cancel_by().cloned()?)));
        for (key, by) in wanted.collect::<Vec<_>>() {
            self.order(link, Order::Cancel { keys: vec![key], by: by.to_string() });
        }
    }

    fn stored_of(&self, sequence: u64) -> Vec<StoredUpTo> {
        let Some(program) = self.programs.get(&sequence) else { return Vec::new() };
        let ProgramState::Running(run) = &program.state else { return Vec::new() };
        let key = program.key();
        let streams = Stream::ALL.into_iter().zip(run.stored);
        streams.filter(|(_, offset)| *offset > 0).map(|(stream, offset)| StoredUpTo { key, stream, offset }).collect()
    }
}

/// Guards that a slave may tell of.
const GUARDS_MAX: usize = 32;

fn isolation(told: &Isolation) -> Isolation {
    let guard = |guard: &Guard| Guard {
        name: shorten(&guard.name, PEER_NAME_BYTES_MAX),
        detail: shorten(&guard.detail, 256),
        ..*guard
    };
    Isolation {
        summary: shorten(&told.summary, 256),
        guards: told.guards.iter().take(GUARDS_MAX).map(guard).collect(),
        ..*told
    }
}

/// A slave as it tells of itself, cut to its bounds.
fn registered(name: Arc<str>, address: String, link: LinkId, told: &Registration, now: Timestamp) -> Slave {
    let languages = told.languages.iter().take(LANGUAGES_PER_SLAVE_MAX).map(|offer| LanguageOffer {
        name: shorten(&offer.name, PEER_NAME_BYTES_MAX),
        version: shorten(&offer.version, PEER_NAME_BYTES_MAX),
        extensions: offer.extensions.iter().take(16).map(|extension| shorten(extension, 16)).collect(),
    });
    Slave {
        name,
        address,
        link: Some(link),
        instance: told.instance,
        instance_kept: told.instance,
        draining: false,
        since: now,
        connected_since: now,
        offered: told.slots.min(SLOTS_MAX),
        languages: languages.collect(),
        isolation: isolation(&told.isolation),
        ceiling: told.ceiling,
        ceiling_told: true,
        machine: shorten(&told.machine, 256),
        release: shorten(&told.release, PEER_NAME_BYTES_MAX),
        attempts: BTreeMap::new(),
        brought: BTreeSet::new(),
        failures: Failures::default(),
        cut_at: None,
        lease: None,
        lease_over: false,
    }
}
