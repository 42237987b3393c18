//! The master's decisions: a pure state machine. An event comes in, actions come out; time comes in
//! with the event. It holds only what is alive: ended programs are in the store alone.

mod accept;
pub(crate) mod action;
mod arrays;
mod aside;
mod assign;
mod bodies;
mod change;
mod clients;
mod control;
pub(crate) mod event;
mod inputs;
mod live;
mod lookups;
mod outputs;
pub(crate) mod permission;
mod program;
mod recover;
mod register;
mod requests;
mod results;
mod retry;
mod revoke;
mod settings;
mod slaves;
mod strays;
#[cfg(test)]
mod tests;
mod views;
mod waiters;
mod watch;

use crate::store::Record;
use action::Action;
use clients::Client;
use common::{
    AttemptKey, ClientId, Duration, ProgramId, SlaveId, Timestamp, UserError,
    message::{Order, Stream, status::Event as LogEvent},
    program::State,
    units::BootTime,
    view::ProgramView,
};
use event::{Event, LinkId, Now};
use program::{Program, ProgramState};
pub(crate) use program::{identity, report_bytes, request_bytes, weight};
use scheduler::Scheduler;
use slaves::Slave;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A slave that is away for this long is no longer listed.
const SLAVE_LISTED_MAX: Duration = Duration::from_secs(3_600);

/// What the core is told at its start and does not change by itself.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a slave may be away before its programs are lost.
    pub(crate) lease: Duration,
    /// Slots of every slave, unless people set something else while the master ran.
    pub(crate) max_processes: Option<u32>,
    /// Which history is served: grows when one is restored from a backup.
    pub(crate) epoch: u32,
    /// Programs of one user that may wait or run.
    pub(crate) programs_per_user: usize,
    /// Whether the user with the fewest programs on slaves comes first.
    pub(crate) fair_share: bool,
}

impl Settings {
    /// The slave's part of the lease: it ends earlier than the master's by more than the time to
    /// notice a dead connection. Short leases are for tests, where a connection ends with a message.
    pub(crate) fn slave_lease(&self) -> Duration {
        let margin = common::limits::LEASE_MASTER.0 - common::limits::LEASE_SLAVE.0;
        Duration(self.lease.0.saturating_sub(margin).max(self.lease.0 * 2 / 5))
    }

    /// How often the core is called at least while a lease runs.
    fn turn_interval(&self) -> Duration {
        Duration(self.lease.0 / 16).min(Duration::from_secs(1))
    }

    /// A longer time between two calls means that the master was stopped: with the default lease 6 s. A busy
    /// machine may let it wait for a second.
    fn gap_max(&self) -> Duration {
        Duration(self.lease.0 / 8).max(Duration::from_secs(1))
    }
}

/// A program that ended and whose record may not be synced yet.
#[derive(Debug)]
struct JustEnded {
    mark: u64,
    hash: [u8; 32],
    view: ProgramView,
}

/// The master's whole state.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    now: Now,
    actions: Vec<Action>,
    scheduler: Scheduler,
    programs: BTreeMap<u64, Program>,
    by_id: BTreeMap<ProgramId, u64>,
    /// Copies that wait and that nobody touched.
    arrays: arrays::Arrays,
    just_ended: BTreeMap<ProgramId, JustEnded>,
    slaves: BTreeMap<SlaveId, Slave>,
    /// Names of all enrolled slaves, listed or not.
    enrolled: BTreeMap<String, SlaveId>,
    links: BTreeMap<LinkId, SlaveId>,
    /// Slaves that reported for another one since this master started.
    impostors: BTreeSet<SlaveId>,
    leases: BTreeSet<(BootTime, SlaveId)>,
    clients: BTreeMap<ClientId, Client>,
    waiters: waiters::Waiters,
    inputs_live: live::Inputs,
    watch: watch::Watch,
    totals: BTreeMap<State, u64>,
    failed_today: (u64, u64),
    next_sequence: u64,
    next_spec: u64,
    /// No program has an ID beyond this one: what is submitted with a later one is new.
    last_id: Option<ProgramId>,
    bodies: bodies::Bodies,
    /// Bytes of entries of all programs that wait or run.
    entries_bytes: usize,
    /// Programs that no slave will ever run wait still: they are ended part by part.
    impossible_left: bool,
    slots_set: settings::SlotsSet,
    refuse: Option<UserError>,
    stopping: bool,
    mark: u64,
    orders: BTreeMap<LinkId, Vec<Order>>,
    pauses: retry::Pauses,
    strays: strays::Strays,
    /// Stored output of attempts whose start was not committed before the master crashed.
    stored_early: BTreeMap<AttemptKey, [u64; Stream::COUNT]>,
    /// When results that wait for output are looked at again.
    parked: BTreeSet<(BootTime, u64)>,
    /// Why persons set slaves aside, listed or not.
    asides: BTreeMap<SlaveId, String>,
    /// When slaves that failed everything are tried again.
    trials: BTreeSet<(BootTime, SlaveId)>,
    /// Programs of each user that wait or run.
    of_users: BTreeMap<Arc<str>, usize>,
    /// When this was called the last time.
    last_turn: BootTime,
    /// When nothing of the history before a restored one can run any more; none when that is noted.
    epoch_safe_at: Option<BootTime>,
    inputs: inputs::Inputs,
}

impl Core {
    /// Decides what follows from one event. What it decides comes out of [`Self::settle`].
    pub(crate) fn handle(&mut self, event: Event, now: Now) {
        self.pass_time(now);
        match event {
            Event::ClientJoined(joined) => self.client_joined(joined),
            Event::ClientLeft(client) => self.client_left(client),
            Event::Request { client, id, request, known, received, guard } => {
                self.request(client, id, *request, &known, received);
                drop(guard);
            }
            Event::Answered { client, id, then, answer, known } => self.answered(client, id, then, answer, &known),
            Event::SlaveEnrolled { id, name, retired } => self.slave_enrolled(id, name, retired),
            Event::SlaveRegistered { link, slave, address, registration } => {
                self.slave_registered(link, slave, address, *registration);
            }
            Event::SlaveReported { link, report } => self.slave_reported(link, report),
            Event::SlaveOutput { link, key, stream, offset, bytes, guard } => {
                self.slave_output(link, key, stream, offset, bytes, guard);
            }
            Event::SlaveLeft(link) => self.slave_left(link),
            Event::OutputStored { key, stream, offset } => self.output_stored(key, stream, offset),
            Event::InputKept { digest, size } => self.input_kept(digest, size),
            Event::Committed(mark) => {
                self.just_ended.retain(|_, ended| ended.mark > mark);
                if self.impossible_left {
                    self.fail_impossible();
                }
            }
            Event::SlaveRevoked(slave) => self.slave_revoked(slave),
            Event::UserChanged { user, why } => self.user_changed(&user, &why),
            Event::Storage(refuse) => self.refuse = refuse,
            Event::Reconfigured { max_processes, programs_per_user, fair_share } => {
                self.settings.programs_per_user = programs_per_user;
                self.settings.fair_share = fair_share;
                self.scheduler.set_fair(fair_share);
                self.reconfigured(max_processes);
            }
            Event::Stopping => self.stop(),
            Event::Tick => {}
        }
        self.end_leases();
        self.lose_strays();
        self.complete_parked();
        self.try_slaves();
        self.resume();
    }

    /// Decides what the events since the last call lead to together, and hands out all actions.
    pub(crate) fn settle(&mut self, now: Now) -> Vec<Action> {
        self.pass_time(now);
        if !self.stopping {
            self.schedule();
        }
        self.flush_watch();
        for (link, orders) in std::mem::take(&mut self.orders) {
            self.actions.extend(orders.into_iter().map(|order| Action::ToSlave(link, order)));
        }
        std::mem::take(&mut self.actions)
    }

    /// Actions that were decided and not handed out yet.
    pub(crate) const fn undone(&self) -> usize {
        self.actions.len()
    }

    /// Whether programs wait in the queue: then what counts is how many get through, and batches may grow.
    pub(crate) fn is_busy(&self) -> bool {
        !self.scheduler.queue().is_empty()
    }

    /// Closes a batch of records; [`Event::Committed`] with this number says that all are synced.
    pub(crate) fn mark(&mut self) -> u64 {
        self.mark += 1;
        self.scheduler.adapt();
        self.mark - 1
    }

    /// When to call again though nothing happens, and why.
    pub(crate) fn next_deadline(&self) -> Option<(BootTime, &'static str)> {
        let lease = self.leases.first().map(|(at, _)| (*at, "a slave's lease ends"));
        let watch = self.watch.deadline().map(|at| (at, "changes are due"));
        let pause = self.pauses.next().map(|at| (at, "a program's pause ends"));
        let stray = self.strays.next().map(|at| (at, "an attempt counts as lost"));
        let parked = self.parked.first().map(|(at, _)| (*at, "a result waits no longer for its output"));
        let trial = self.trials.first().map(|(at, _)| (*at, "a slave is tried again"));
        let epoch = self.epoch_safe_at.map(|at| (at, "nothing of the history before can run"));
        // While leases run, calls come often: a gap between two of them tells that the master was stopped.
        let runs = self.leases_run();
        let turn = runs.then(|| (self.last_turn.plus(self.settings.turn_interval()), "leases run"));
        lease
            .into_iter()
            .chain(watch)
            .chain(pause)
            .chain(stray)
            .chain(parked)
            .chain(trial)
            .chain(epoch)
            .chain(turn)
            .min()
    }

    /// Whether a slave's lease, or that of an attempt, runs out if nothing happens.
    fn leases_run(&self) -> bool {
        self.strays.next().is_some()
            || self
                .leases
                .iter()
                .take_while(|(at, _)| *at <= self.now.boot.plus(self.settings.lease))
                .any(|(_, id)| self.slaves.get(id).is_some_and(|slave| !slave.lease_over))
    }

    /// Time given out never goes back, whatever the wall clock does.
    fn pass_time(&mut self, now: Now) {
        self.now.wall = self.now.wall.max(now.wall);
        self.now.boot = self.now.boot.max(now.boot);
        let gap = self.now.boot.since(self.last_turn);
        self.last_turn = self.now.boot;
        if gap > self.settings.gap_max() && self.leases_run() {
            tracing::warn!(%gap, "the master did not run for a while; slaves that are away get their whole lease");
            self.renew_leases();
        }
    }

    fn record(&mut self, record: Record) {
        self.actions.push(Action::Record(record));
    }

    /// Something that people should read later.
    fn log(&mut self, subject: &str, text: String) {
        let event = LogEvent { at: self.now.wall, subject: subject.to_owned(), text };
        tracing::info!(subject, text = event.text, "event");
        self.watch.event(&event);
        self.record(Record::Event(event));
    }

    fn failed_today(&self) -> u64 {
        let today = self.day();
        if self.failed_today.0 == today { self.failed_today.1 } else { 0 }
    }

    const fn day(&self) -> u64 {
        let Timestamp(micros) = self.now.wall;
        micros / 86_400_000_000
    }

    /// Asserts what must always hold; for tests.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn check_invariants(&self) {
        self.scheduler.check_invariants();
        assert_eq!(self.by_id.len(), self.programs.len());
        let mut held = 0;
        for (sequence, program) in &self.programs {
            assert_eq!(self.by_id.get(&program.id), Some(sequence));
            assert!(!self.just_ended.contains_key(&program.id));
            if let Some(slave) = program.slave() {
                held += 1;
                assert_eq!(self.slaves[&slave].attempts.get(&program.key()), Some(sequence), "{:?}", program.key());
            }
        }
        assert_eq!(held, self.slaves.values().map(|slave| slave.attempts.len()).sum::<usize>());
        for (id, slave) in &self.slaves {
            let held = self.scheduler.slave(*id).map_or(0, scheduler::SlaveSlots::assigned);
            // A result that waits for its output has left its slot.
            let running = |sequence: &&u64| {
                self.programs.get(sequence).is_some_and(|program| matches!(program.state, ProgramState::Running(_)))
            };
            let released = slave.attempts.len() - held as usize;
            assert!(released <= slave.attempts.values().filter(running).count(), "what the scheduler believes of {id}");
            if let Some(link) = slave.link {
                assert_eq!(self.links.get(&link), Some(id));
            }
            assert_eq!(slave.lease_at(), self.leases.iter().find(|(_, other)| other == id).map(|(at, _)| *at));
        }
        self.arrays.check(|sequence, id| self.programs.contains_key(&sequence) || self.by_id.contains_key(&id));
        let alive = |state| {
            let untouched = if state == State::Waiting { self.arrays.copies() } else { 0 };
            self.programs.values().filter(|program| program.shown_state() == state).count() as u64 + untouched
        };
        for state in [State::Waiting, State::Running, State::Suspended] {
            assert_eq!(self.totals.get(&state).copied().unwrap_or(0), alive(state), "{state} in the summary");
        }
        let mut bodies: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        for program in self.programs.values() {
            *bodies.entry(program.lot.body.hash).or_default() += 1;
        }
        for (_, array) in self.arrays.iter() {
            *bodies.entry(array.lot.body.hash).or_default() += array.count;
        }
        self.bodies.check(&bodies);
        assert_eq!(
            self.entries_bytes,
            self.programs.values().map(Program::own_bytes).sum::<usize>(),
            "bytes of entries"
        );
        self.inputs.check(self.bodies.specs());
        self.waiters.check(|sequence| self.programs.contains_key(&sequence), self.inputs_live.waiting());
        self.inputs_live.check(|sequence| self.programs.contains_key(&sequence));
        let waits = |sequence: u64| self.programs.get(&sequence).is_some_and(|program| program.slave().is_none());
        self.pauses.check(waits);
        self.strays.check(|key| self.slaves.values().any(|slave| slave.attempts.contains_key(&key)));
        assert_eq!(self.of_users.values().sum::<usize>() as u64, self.alive_count(), "programs of users");
        let queued = self.programs.values().filter(|program| program.slave().is_none()).count();
        let lined_up = self.arrays.iter().map(|(_, array)| if array.held { 0 } else { array.count }).sum::<u64>();
        assert_eq!(
            queued as u64 + lined_up,
            self.scheduler.queue().len() + self.pauses.len() as u64,
            "what waits is queued or pauses"
        );
    }
}
