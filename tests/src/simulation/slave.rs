//! A slave's agent: the real core, and around it what its event loop does with the connection, the executor and
//! the outputs.

use super::{
    Bug,
    clock::Clock,
    context::{AgentWake, Context, MILLI, SECOND, Wake},
    machine::Machine,
    network::{Peer, Side},
    witness::How,
};
use common::{
    AttemptKey, Duration, SlaveId,
    limits::SLOTS_MAX,
    message::{
        Alert, Assignment, Command, Data, Finished, Heartbeat, Message, Order, Registration, Report, Status, Stream,
        Tail,
    },
    view::Isolation,
};
use slave::{
    core::{Action, Core, Event, FinishedHead, Holdings, Now},
    executor::Stop,
};
use std::collections::VecDeque;
use uuid::Uuid;

/// How long programs may go on when a slave is stopped.
const GRACE: Duration = Duration::from_secs(10);
/// A dial that nobody answers is given up.
const DIAL_MAX: u64 = 30 * SECOND;
const BACKOFF_FIRST: u64 = 200 * MILLI;
const BACKOFF_LONGEST: u64 = 10 * SECOND;
/// Above this much on its way, no more output is put into the connection.
const BULK_QUEUED_BYTES_MAX: usize = 4 << 20;
/// Frames that are remembered for replays.
const REMEMBERED_MAX: usize = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Resting,
    Dialling(u64),
    Connected(u64),
}

struct Agent {
    core: Core,
    link: Link,
    backoff: u64,
    instance: u64,
    turn_at: Option<u64>,
    leaving: bool,
}

pub(super) struct SlaveNode {
    pub(super) id: SlaveId,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    pub(super) generation: u64,
    agent: Option<Agent>,
    dials: u64,
    /// What it sent lately, with the connection.
    pub(super) remembered: Vec<(u64, Message)>,
    /// When the master and this slave heard of each other last in a registered session.
    last_contact: u64,
    /// Since when its agent, or all of it, was gone, until the master hears of it again.
    gone_since: Option<u64>,
    /// The agent has left by itself and waits for a new start.
    pub(super) left: bool,
}

impl SlaveNode {
    pub(super) fn new(slave: usize, slots: u32, clock: Clock) -> Self {
        Self {
            id: SlaveId(Uuid::from_u128(0x51a7e_u128 << 64 | slave as u128)),
            machine: Machine::new(slave, slots),
            clock,
            generation: 0,
            agent: None,
            dials: 0,
            remembered: Vec::new(),
            last_contact: 0,
            gone_since: None,
            left: false,
        }
    }

    const fn slave(&self) -> usize {
        self.machine.slave
    }

    pub(super) fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// Whether it holds nothing that its master should know of.
    pub(super) fn is_idle(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.core.counts() == (0, 0, 0)) && self.machine.is_empty()
    }

    pub(super) fn start(&mut self, ctx: &mut Context) {
        if self.agent.is_some() {
            return;
        }
        self.generation += 1;
        self.left = false;
        let slave = self.slave();
        ctx.note(40, self.generation, || format!("the agent of slave {slave} starts"));
        let left = self.machine.agent_starts(self.clock.wall(ctx.now), ctx);
        let instance = self.machine.journal.instance();
        let mut core = Core::new(self.machine.slots, SLOTS_MAX, GRACE);
        if self.machine.hands_over() {
            core = core.handing_over(usize::MAX);
        }
        core.restore(left);
        self.agent =
            Some(Agent { core, link: Link::Resting, backoff: BACKOFF_FIRST, instance, turn_at: None, leaving: false });
        self.plan_dial(ctx, 0);
        self.machine.journal.trouble = self.machine.disk_full;
        if self.machine.disk_full {
            self.machine.plan_repair(ctx);
            self.handle(Event::Fit(false), ctx);
        }
    }

    /// The agent's process is gone. Its machine goes on, unless it is the machine that went down.
    pub(super) fn kill_agent(&mut self, ctx: &mut Context, machine_too: bool) {
        let slave = self.slave();
        if let Some(agent) = self.agent.take() {
            ctx.note(41, self.generation, || format!("the agent of slave {slave} is gone (machine: {machine_too})"));
            self.generation += 1;
            if let Link::Connected(connection) = agent.link {
                ctx.close(connection, Side::Peer, !machine_too);
            }
            if self.machine.journal.trouble {
                // Only the agent knew how some programs had ended.
                self.gone_since.get_or_insert(ctx.now);
            }
        }
        self.machine.agent_gone();
        if machine_too {
            self.gone_since.get_or_insert(ctx.now);
            ctx.history.excuse(slave, ctx.now, ctx.now);
            self.machine.crash(ctx);
            self.remembered.clear();
        }
    }

    /// The agent leaves by itself and ends what still runs.
    fn leave(&mut self, ctx: &mut Context) {
        self.kill_agent(ctx, false);
        self.machine.end_all(How::Killed, ctx);
        self.gone_since.get_or_insert(ctx.now);
        self.left = true;
    }

    pub(super) fn ask_to_stop(&mut self, ctx: &mut Context) {
        let slave = self.slave();
        ctx.note(42, 0, || format!("slave {slave} is asked to stop"));
        ctx.history.excuse(slave, ctx.now, ctx.now + GRACE.0 + 10 * SECOND);
        self.handle(Event::Stop, ctx);
    }

    pub(super) fn wake(&mut self, what: AgentWake, ctx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        match what {
            AgentWake::Turn => {
                // An earlier turn may have taken its place.
                if self.machine.events.is_empty() && agent.turn_at.is_none_or(|at| at > ctx.now) {
                    return;
                }
                agent.turn_at = None;
                while let Some(event) = self.machine.events.pop_front() {
                    self.handle(event, ctx);
                }
                self.handle(Event::Tick, ctx);
            }
            AgentWake::Dial => {
                self.dials += 1;
                let dial = self.dials;
                agent.link = Link::Dialling(dial);
                let peer = Peer::Slave(self.machine.slave);
                let way = ctx.rng.between(100, 2 * ctx.net.way_max(peer));
                ctx.after(way, Wake::DialArrives { peer, dial });
                ctx.after(DIAL_MAX, Wake::DialFails { peer, dial });
            }
        }
    }

    pub(super) fn is_dialling(&self, dial: u64) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.link == Link::Dialling(dial))
    }

    pub(super) fn dial_failed(&mut self, dial: u64, ctx: &mut Context) {
        if self.is_dialling(dial) {
            self.disconnected(ctx);
        }
    }

    pub(super) fn connected(&mut self, dial: u64, connection: u64, ctx: &mut Context) {
        if !self.is_dialling(dial) {
            return ctx.close(connection, Side::Peer, true);
        }
        if let Some(agent) = &mut self.agent {
            agent.link = Link::Connected(connection);
        }
        self.handle(Event::Connected, ctx);
    }

    fn is_connected(&self, connection: u64) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.link == Link::Connected(connection))
    }

    /// A connection is over.
    pub(super) fn lost(&mut self, connection: u64, ctx: &mut Context) {
        if self.is_connected(connection) {
            self.disconnected(ctx);
        }
    }

    fn disconnected(&mut self, ctx: &mut Context) {
        self.rest(ctx);
        self.handle(Event::Disconnected, ctx);
    }

    fn rest(&mut self, ctx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if let Link::Connected(connection) = agent.link {
            ctx.close(connection, Side::Peer, true);
        }
        agent.link = Link::Resting;
        let whole = agent.backoff;
        agent.backoff = (whole * 2).min(BACKOFF_LONGEST);
        let delay = ctx.rng.between(whole / 2, whole);
        self.plan_dial(ctx, delay);
    }

    fn plan_dial(&self, ctx: &mut Context, after: u64) {
        ctx.after(after, Wake::Agent { slave: self.slave(), generation: self.generation, what: AgentWake::Dial });
    }

    /// A frame has come.
    pub(super) fn message(&mut self, connection: u64, message: Message, ctx: &mut Context) {
        if let Message::Ping(heartbeat) = message {
            return ctx.send(connection, Side::Peer, Message::Pong(heartbeat));
        }
        if !self.is_connected(connection) {
            return;
        }
        match message {
            Message::Command(Command::Order(order)) => {
                if matches!(order, Order::Registered { .. })
                    && let Some(agent) = &mut self.agent
                {
                    agent.backoff = BACKOFF_FIRST;
                }
                self.contact(ctx);
                self.handle(Event::Order(order), ctx);
            }
            Message::Pong(heartbeat) if heartbeat.sequence & super::network::TRANSPORT_PING == 0 => {
                self.contact(ctx);
                self.handle(Event::HeartbeatAnswered(heartbeat.sequence), ctx);
            }
            Message::Alert(Alert::Refused(_)) => self.disconnected(ctx),
            Message::Ping(_)
            | Message::Pong(_)
            | Message::Command(_)
            | Message::Data(_)
            | Message::Status(_)
            | Message::Alert(_) => {}
        }
    }

    /// Master and slave hear of each other. A long time without excuses a loss.
    pub(super) fn contact(&mut self, ctx: &mut Context) {
        if ctx.now - self.last_contact > 20 * SECOND {
            ctx.history.excuse(self.machine.slave, self.last_contact, ctx.now);
        }
        self.last_contact = ctx.now;
        if let Some(since) = self.gone_since.take() {
            ctx.history.excuse(self.machine.slave, since, ctx.now);
        }
    }

    fn handle(&mut self, event: Event, ctx: &mut Context) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(agent) = &mut self.agent else { return };
            if let Event::Ended(end) = &event {
                self.machine.keep_end(end, ctx);
            }
            if let Event::NotStarted(back) = &event {
                back.iter().for_each(|assignment| self.machine.journal.forget(assignment.key));
                self.machine.journal.flush();
            }
            let takes_bulk = match agent.link {
                Link::Connected(connection) => ctx.net.queued_bytes(connection, Side::Peer) < BULK_QUEUED_BYTES_MAX,
                Link::Resting | Link::Dialling(_) => false,
            };
            let now = Now { wall: self.clock.wall(ctx.now), boot: self.clock.boot(ctx.now), takes_bulk };
            let mut actions = agent.core.handle(event, now);
            let not_started = self.note_starts(&mut actions, ctx);
            for action in actions {
                events.extend(self.perform(action, ctx));
            }
            if !not_started.is_empty() {
                events.extend([Event::Fit(false), Event::NotStarted(not_started)]);
            }
        }
        self.plan_turn(ctx);
        if self.agent.as_ref().is_some_and(|agent| agent.leaving) {
            self.leave(ctx);
        }
    }

    /// Notes what is about to be started. What cannot be noted is taken out of the actions, its report too.
    fn note_starts(&mut self, actions: &mut Vec<Action>, ctx: &mut Context) -> Vec<Assignment> {
        let mut refused = Vec::new();
        let wall = self.clock.wall(ctx.now);
        for action in actions.iter() {
            if let Action::Start(assignment) | Action::HandOver { assignment, .. } = action {
                if self.machine.disk_full || self.machine.journal.trouble {
                    refused.push(assignment.clone());
                } else {
                    self.machine.journal.start(assignment, wall);
                }
            }
        }
        if refused.is_empty() {
            return refused;
        }
        if !std::mem::replace(&mut self.machine.journal.trouble, true) {
            ctx.note(44, 0, || format!("the disk of slave {} takes nothing", self.machine.slave));
            self.machine.plan_repair(ctx);
        }
        let is_refused = |key: AttemptKey| refused.iter().any(|assignment| assignment.key == key);
        actions.retain_mut(|action| {
            if let Action::Report(Report::Started(started)) = action {
                started.retain(|(key, _)| !is_refused(*key));
                return !started.is_empty();
            }
            !matches!(
                action,
                Action::Start(assignment) | Action::HandOver { assignment, .. } if is_refused(assignment.key)
            )
        });
        refused
    }

    /// The journal is tried again.
    pub(super) fn repair(&mut self, ctx: &mut Context) {
        if self.machine.disk_full {
            return self.machine.plan_repair(ctx);
        }
        if self.machine.journal.trouble {
            self.machine.journal.repair();
            self.handle(Event::Fit(true), ctx);
        }
    }

    fn plan_turn(&mut self, ctx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        let Some((at, _)) = agent.core.next_deadline() else { return };
        let at = self.clock.when(at, ctx.now).max(ctx.now + 1);
        if agent.turn_at.is_none_or(|planned| at < planned || planned < ctx.now) {
            agent.turn_at = Some(at);
            let slave = self.machine.slave;
            ctx.at(at, Wake::Agent { slave, generation: self.generation, what: AgentWake::Turn });
        }
    }

    fn perform(&mut self, action: Action, ctx: &mut Context) -> Option<Event> {
        match action {
            Action::Register(holdings) => self.register(holdings, ctx),
            Action::Heartbeat(sequence) => self.send(Message::Ping(Heartbeat { sequence }), ctx),
            Action::SetLease(until) => self.machine.set_lease(until, self.clock.boot(ctx.now), ctx),
            Action::Reconnect => self.rest(ctx),
            Action::Start(assignment) => self.machine.start(&assignment, self.clock.wall(ctx.now), ctx),
            Action::HandOver { assignment, behind } => {
                self.machine.hand_over(&assignment, behind, self.clock.wall(ctx.now), ctx);
            }
            Action::TakeBack(key) => self.machine.give_back_behind(key, ctx),
            Action::Stop(key, stop) => {
                if stop == Stop::Discarded {
                    self.machine.forget_in_journal(key, ctx);
                }
                self.machine.stop(key, stop, ctx);
            }
            Action::Report(report) => self.send(Status::Report(report).into(), ctx),
            Action::ReportFinished(head) => return self.finished(head, ctx),
            Action::SendOutput { key, stream, offset, count } => {
                let bytes = self.machine.read(key, stream, offset, count);
                if bytes.len() != count {
                    ctx.wrong(format!(
                        "slave {} wants to send {key} {stream:?} {offset}+{count}, of which only {} bytes are there",
                        self.machine.slave,
                        bytes.len()
                    ));
                }
                self.send(Data::Output { key, stream, offset, bytes }.into(), ctx);
            }
            Action::ForgetBefore { key, stream, offset } => self.machine.forget_before(key, stream, offset),
            Action::Forget(key) => {
                self.machine.forget_in_journal(key, ctx);
                self.machine.forget(key);
            }
            Action::RememberEpoch(epoch) => self.machine.journal.set_epoch(epoch),
            // Programs of the simulation are not spoken to while they run.
            Action::Control(..) => {}
            // Programs of the simulation have no input files.
            Action::LookForInput { .. } | Action::ReleaseInput(_) => {}
            Action::Audit { .. } => {}
            Action::Leave => {
                if let Some(agent) = &mut self.agent {
                    agent.leaving = true;
                }
            }
        }
        None
    }

    fn register(&mut self, holdings: Holdings, ctx: &mut Context) {
        let Some(agent) = &self.agent else { return };
        let Holdings { waiting, running, finished, suspended, epoch } = holdings;
        let registration = Registration {
            instance: agent.instance,
            epoch,
            slots: self.machine.slots,
            languages: Vec::new(),
            isolation: Isolation::default(),
            machine: "simulated".to_owned(),
            release: "simulated".to_owned(),
            waiting,
            running,
            finished,
            suspended,
            ceiling: Default::default(),
        };
        self.send(Status::Report(Report::Register(Box::new(registration))).into(), ctx);
    }

    fn finished(&mut self, head: FinishedHead, ctx: &mut Context) -> Option<Event> {
        let FinishedHead { end, tails } = head;
        let key = end.key;
        if ctx.bug == Some(Bug::DropResult) && ctx.rng.chance(10) {
            // Forgotten before anybody has acknowledged it.
            return Some(Event::Order(Order::Acknowledge(vec![key])));
        }
        let mut read: [Tail; Stream::COUNT] = Default::default();
        for ((stream, (offset, count)), tail) in Stream::ALL.into_iter().zip(tails).zip(&mut read) {
            let mut bytes = self.machine.read(key, stream, offset, count);
            if bytes.len() != count {
                ctx.wrong(format!(
                    "slave {} reports {key} {stream:?} {offset}+{count}, of which only {} bytes are there",
                    self.machine.slave,
                    bytes.len()
                ));
            }
            if ctx.bug == Some(Bug::SwallowTail) && ctx.rng.chance(20) {
                bytes.clear();
            }
            *tail = Tail { offset, bytes };
        }
        ctx.note(43, u64::from(key.attempt), || format!("{key} is reported as {:?}", end.outcome));
        let finished = Finished {
            key,
            outcome: end.outcome,
            started_at: end.started_at,
            ended_at: end.ended_at,
            usage: end.usage,
            tails: read,
            output_truncated: end.output_truncated,
            last_line: end.last_line,
        };
        self.send(Status::Report(Report::Finished(vec![finished])).into(), ctx);
        None
    }

    fn send(&mut self, message: Message, ctx: &mut Context) {
        let Some(Agent { link: Link::Connected(connection), .. }) = self.agent else { return };
        if self.remembered.len() < REMEMBERED_MAX || ctx.rng.chance(20) {
            let place = usize::try_from(ctx.rng.between(0, REMEMBERED_MAX as u64 - 1)).unwrap_or(0);
            if place < self.remembered.len() {
                self.remembered[place] = (connection, message.clone());
            } else {
                self.remembered.push((connection, message.clone()));
            }
        }
        ctx.send(connection, Side::Peer, message);
    }
}
