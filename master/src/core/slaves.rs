//! Slaves: who is there, what each holds, and what follows when one comes, goes or stays away.

use super::{Core, SLAVE_LISTED_MAX, action::Action, change::End, event::LinkId, program::ProgramState};
use crate::store::{Record, SlaveSeen, load::SlaveRow};
use common::{
    AttemptKey, Duration, ErrorCode, Outcome, SlaveId, Timestamp, UserError,
    escape::shorten,
    limits::{BATCH_MAX, LANGUAGES_PER_SLAVE_MAX, PEER_NAME_BYTES_MAX, SLAVES_MAX, SLOTS_MAX},
    message::{Assignment, Order, Registration, StoredUpTo, Stream},
    units::BootTime,
    view::{Isolation, LanguageOffer},
};
use scheduler::{
    Decision, Presence, Requirement, SlaveSlots,
    reconcile::{Belief, Reported, Verdict, reconcile},
};
use std::{collections::BTreeMap, sync::Arc};

/// Bytes of bodies in one order; an order with a larger body carries it alone.
const ORDER_BYTES_MAX: usize = 4 << 20;
/// What two agents under one identity are told before the later one may try again.
const OTHER_AGENT_RETRY: Duration = Duration::from_secs(2);

/// A slave that is there, or was a while ago.
#[derive(Debug)]
pub(super) struct Slave {
    pub(super) name: Arc<str>,
    pub(super) address: String,
    pub(super) link: Option<LinkId>,
    /// Made anew at each start of its agent.
    pub(super) instance: u64,
    pub(super) draining: bool,
    pub(super) since: Timestamp,
    pub(super) connected_since: Timestamp,
    pub(super) offered: u32,
    pub(super) languages: Vec<LanguageOffer>,
    pub(super) isolation: Isolation,
    pub(super) machine: String,
    pub(super) release: String,
    /// What it was sent and has not ended, as far as is known.
    pub(super) attempts: BTreeMap<AttemptKey, u64>,
    /// When its lease ends, or after that when it is no longer listed.
    lease: Option<BootTime>,
    pub(super) lease_over: bool,
}

impl Slave {
    pub(super) const fn lease_at(&self) -> Option<BootTime> {
        self.lease
    }

    /// A slave that the store remembers.
    pub(super) fn absent(row: SlaveRow) -> Self {
        Self {
            name: row.name.into(),
            address: String::new(),
            link: None,
            instance: row.instance,
            draining: false,
            since: row.seen_at,
            connected_since: row.seen_at,
            offered: row.slots,
            languages: row.languages,
            isolation: Isolation::default(),
            machine: String::new(),
            release: String::new(),
            attempts: BTreeMap::new(),
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
        self.scheduler.connect(id, SlaveSlots::new(slave.name.clone(), languages, slots));
        self.slaves.insert(id, slave);
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

    /// A slave that gave up its name. It may have come back just before that was decided: what it holds
    /// is lost, and it is told that it is known no more.
    fn retire(&mut self, id: SlaveId) {
        let held: Vec<u64> =
            self.slaves.get(&id).map(|slave| slave.attempts.values().copied().collect()).unwrap_or_default();
        for sequence in held {
            self.lose(sequence, "gave up its name to another machine");
        }
        if let Some(link) = self.slaves.get_mut(&id).and_then(|slave| slave.link.take()) {
            self.links.remove(&link);
            self.orders.remove(&link);
            self.actions.push(Action::CutSlave(link, Some(unknown_slave())));
        }
        self.forget_slave(id);
    }

    pub(super) fn forget_slave(&mut self, id: SlaveId) {
        if let Some(slave) = self.slaves.remove(&id) {
            self.scheduler.remove(id);
            if let Some(at) = slave.lease {
                self.leases.remove(&(at, id));
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
        let same_agent = self.slaves.get(&id).is_some_and(|slave| slave.instance == told.instance);
        self.set_lease(id, None);
        let attempts = self.slaves.get_mut(&id).map(|slave| std::mem::take(&mut slave.attempts)).unwrap_or_default();
        let slave = registered(name.into(), address, link, &told, attempts, self.now.wall);
        self.record(Record::SlaveSeen(Box::new(SlaveSeen {
            id,
            instance: told.instance,
            languages: slave.languages.clone(),
            slots: slave.offered,
            at: self.now.wall,
        })));
        self.log(&slave.name.clone(), format!("Connected from {}.", slave.address));
        self.add_slave(id, slave);
        self.links.insert(link, id);
        self.watch.slave(id);
        let slots = self.scheduler.slave(id).map_or(0, |slave| slave.slots);
        self.order(link, Order::Registered { slots, lease: self.settings.slave_lease(), epoch: self.settings.epoch });
        self.compare(id, link, &told, same_agent);
        self.fail_impossible();
    }

    /// Compares what the slave holds with what is believed of it, and acts on each difference.
    fn compare(&mut self, id: SlaveId, link: LinkId, told: &Registration, same_agent: bool) {
        let Some(slave) = self.slaves.get(&id) else { return };
        let belief = |sequence: &u64| match self.programs.get(sequence).map(|program| &program.state) {
            Some(ProgramState::Running(_)) => Belief::Started,
            Some(ProgramState::Waiting | ProgramState::Sent { .. }) | None => Belief::Sent,
        };
        let believed = slave.attempts.iter().map(|(key, sequence)| (*key, belief(sequence))).collect();
        let reported = Reported { waiting: &told.waiting, running: &told.running, finished: &told.finished };
        let (mut discard, mut forget, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for verdict in reconcile(&believed, reported, same_agent) {
            let sequence = |key: &AttemptKey| self.by_id.get(&key.program).copied();
            match verdict {
                Verdict::KeepWaiting(key) => {
                    // It may have been asked back on the old connection; it is simply sent now.
                    if let Some(sequence) = sequence(&key) {
                        if let Some(program) = self.programs.get(&sequence) {
                            self.scheduler.hold(sequence, Requirement::of(&program.body.spec), &program.user, id);
                        }
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
                Verdict::NeverArrived(key) => {
                    if let Some(sequence) = sequence(&key) {
                        match self.programs.get(&sequence).and_then(|program| program.cancel_by.clone()) {
                            Some(by) => self.end_without_report(sequence, Outcome::Cancelled { by: by.to_string() }),
                            None => self.wait_again(sequence, true),
                        }
                    }
                }
                Verdict::Lost(key) => {
                    if let Some(sequence) = sequence(&key) {
                        self.lose(sequence, "came back without it");
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
        self.cancel_again(id, link);
    }

    /// Cancels that were wanted while the slave was away.
    fn cancel_again(&mut self, id: SlaveId, link: LinkId) {
        let Some(slave) = self.slaves.get(&id) else { return };
        let wanted = slave
            .attempts
            .iter()
            .filter_map(|(key, sequence)| Some((*key, self.programs.get(sequence)?.cancel_by.clone()?)));
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

    pub(super) fn slave_left(&mut self, link: LinkId) {
        self.orders.remove(&link);
        let Some(id) = self.links.remove(&link) else { return };
        let Some(slave) = self.slaves.get_mut(&id) else { return };
        slave.link = None;
        slave.since = self.now.wall;
        slave.lease_over = false;
        let (name, held) = (slave.name.clone(), slave.attempts.len());
        for sequence in slave.attempts.values() {
            // It is repeated at the next connection, with the output that is missing.
            if let Some(program) = self.programs.get_mut(sequence)
                && let ProgramState::Running(run) = &mut program.state
            {
                run.finished = None;
            }
        }
        self.scheduler.set_presence(id, Presence::Unreachable);
        self.set_lease(id, Some(self.now.boot.plus(self.settings.lease)));
        self.watch.slave(id);
        self.log(&name, format!("Connection lost; it held {held} programs."));
    }

    /// Ends the leases that are over.
    pub(super) fn expire(&mut self) {
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

    /// An attempt is gone and how it ended is not known.
    pub(super) fn lose(&mut self, sequence: u64, why: &str) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let slave = program.slave().and_then(|id| self.slaves.get(&id)).map(|slave| slave.name.clone());
        let slave = slave.unwrap_or_else(|| "?".into());
        let outcome = match &program.cancel_by {
            Some(by) => Outcome::Cancelled { by: by.to_string() },
            None => {
                Outcome::Lost { detail: format!("Lost: the slave `{slave}` {why}. Whether it ended is not known.") }
            }
        };
        if program.may_try_again(&outcome) {
            let key = program.key();
            self.wait_again(sequence, false);
            self.actions.push(Action::RemoveOutput(key));
        } else {
            self.end_without_report(sequence, outcome);
        }
    }

    pub(super) fn end_without_report(&mut self, sequence: u64, outcome: Outcome) {
        if let Some(program) = self.programs.get(&sequence) {
            let end = End::without_report(outcome, program, self.now.wall);
            self.end(sequence, end);
        }
    }

    /// One round of the scheduler, as orders.
    pub(super) fn schedule(&mut self) {
        let mut assign: BTreeMap<LinkId, (Vec<Assignment>, usize)> = BTreeMap::new();
        let mut withdraw: BTreeMap<LinkId, Vec<AttemptKey>> = BTreeMap::new();
        for decision in self.scheduler.round() {
            match decision {
                Decision::Assign { program: sequence, slave } => {
                    self.sent(sequence, slave);
                    let link = self.slaves.get(&slave).and_then(|slave| slave.link);
                    let (Some(link), Some(program)) = (link, self.programs.get(&sequence)) else { continue };
                    let (batch, bytes) = assign.entry(link).or_default();
                    let spec = program.body.spec.clone();
                    if !batch.is_empty() && (batch.len() >= BATCH_MAX || *bytes + program.body.bytes > ORDER_BYTES_MAX)
                    {
                        let full = std::mem::take(batch);
                        *bytes = 0;
                        self.orders.entry(link).or_default().push(Order::Assign(full));
                    }
                    *bytes += program.body.bytes;
                    let key = program.key();
                    batch.push(Assignment { key, spec, index: program.index, fence: key.fence(self.settings.epoch) });
                }
                Decision::Withdraw { program, slave } => {
                    let link = self.slaves.get(&slave).and_then(|slave| slave.link);
                    if let (Some(link), Some(program)) = (link, self.programs.get(&program)) {
                        withdraw.entry(link).or_default().push(program.key());
                    }
                }
            }
        }
        for (link, (batch, _)) in assign {
            self.order(link, Order::Assign(batch));
        }
        for (link, keys) in withdraw {
            for keys in keys.chunks(BATCH_MAX) {
                self.order(link, Order::Withdraw(keys.to_vec()));
            }
        }
    }

    /// Orders of one batch of events go out together, each slave's in their order.
    pub(super) fn order(&mut self, link: LinkId, order: Order) {
        let orders = self.orders.entry(link).or_default();
        match (orders.last_mut(), order) {
            (Some(Order::Acknowledge(known)), Order::Acknowledge(more)) if known.len() < BATCH_MAX => {
                known.extend(more)
            }
            (Some(Order::Stored(known)), Order::Stored(more)) if known.len() < BATCH_MAX => known.extend(more),
            (_, order) => orders.push(order),
        }
    }

    /// Programs in languages that nobody has fail at once, instead of waiting for ever.
    fn fail_impossible(&mut self) {
        let needs: Vec<Requirement> = self.scheduler.queue().needs().cloned().collect();
        for need in needs {
            let Some(detail) = self.impossible(&need) else { continue };
            let waiting: Vec<u64> = self.scheduler.queue().programs(&need).collect();
            for sequence in waiting {
                self.end_without_report(sequence, Outcome::NotSupported { detail: detail.clone() });
            }
        }
    }

    /// Why no slave of this fleet will run a program with these needs; none when one may.
    pub(super) fn impossible(&self, need: &Requirement) -> Option<String> {
        let language = need.language.as_deref()?;
        let has = |slave: &Slave| slave.languages.iter().any(|offer| offer.name.eq_ignore_ascii_case(language));
        if !self.slaves.values().any(|slave| slave.link.is_some()) {
            return None;
        }
        if let Some(name) = &need.slave {
            let slave = self.slaves.values().find(|slave| slave.name == *name && slave.link.is_some())?;
            return (!has(slave))
                .then(|| format!("The slave `{name}` does not have `{language}`. {}", self.who_offers_what()));
        }
        let nobody = !self.slaves.values().any(has);
        nobody.then(|| format!("No slave can run `{language}`. {}", self.who_offers_what()))
    }

    fn who_offers_what(&self) -> String {
        let mut offers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for slave in self.slaves.values() {
            for language in &slave.languages {
                offers.entry(&language.name).or_default().push(&slave.name);
            }
        }
        let offers = offers.into_iter().map(|(language, slaves)| match slaves.as_slice() {
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{language} ({first}, {second}, {third} and {} more)", rest.len())
            }
            few => format!("{language} ({})", few.join(", ")),
        });
        let offers = offers.collect::<Vec<_>>();
        if offers.is_empty() {
            return "No slave offers any language.".to_owned();
        }
        shorten(&format!("Slaves offer {}.", offers.join(", ")), 1_024)
    }
}

fn unknown_slave() -> UserError {
    UserError::new(ErrorCode::IdentityRefused, "this master does not know this slave any more")
}

/// A slave as it tells of itself, cut to its bounds.
fn registered(
    name: Arc<str>,
    address: String,
    link: LinkId,
    told: &Registration,
    attempts: BTreeMap<AttemptKey, u64>,
    now: Timestamp,
) -> Slave {
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
        draining: false,
        since: now,
        connected_since: now,
        offered: told.slots.min(SLOTS_MAX),
        languages: languages.collect(),
        isolation: Isolation { summary: shorten(&told.isolation.summary, 256), ..told.isolation.clone() },
        machine: shorten(&told.machine, 256),
        release: shorten(&told.release, PEER_NAME_BYTES_MAX),
        attempts,
        lease: None,
        lease_over: false,
    }
}
