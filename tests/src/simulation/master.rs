//! The master's process: the real core and store, and around them what the event loop does: gather, commit,
//! then speak. Its disk may be slow, full or failing, and a kill loses what is not synced.

use super::{
    Bug,
    clock::Clock,
    context::{Context, MILLI, MasterWake, SECOND, Wake},
    network::{Peer, Side},
    process::{InFlight, Job, Running, Session, full, needs_record, short},
};
use common::{
    ClientId, Duration, SlaveId,
    limits::LEASE_MASTER,
    message::{Alert, Command, Data, Message, Order, Reply, Report, Request, RequestId, Status, command::Secret},
    session::Role,
};
use master::simulation::{Effect, Input, Master, Moment};
use std::path::PathBuf;
use uuid::Uuid;

/// Pause before a batch that did not fit is tried again.
const FULL_PAUSE: u64 = 500 * MILLI;

/// What the disk does wrong.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) full: bool,
    pub(super) slow: bool,
    /// The next sync fails, and the process with it.
    pub(super) fails: bool,
    /// The process is killed while the next batch is out.
    pub(super) kill_in_commit: bool,
}

/// How a master's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Killed: what the kernel has is not lost, and peers hear of it.
    Killed,
    /// Without power: peers hear nothing.
    NoPower,
    /// It ended by itself.
    Stopped,
}

pub(super) struct MasterNode {
    data: PathBuf,
    lease: Duration,
    pub(super) clock: Clock,
    pub(super) generation: u64,
    pub(super) disk: Disk,
    slaves: Vec<SlaveId>,
    process: Option<Running>,
    /// It is killed at the moment at which the batch that is out would be synced.
    dying: bool,
    /// The process has ended by itself and waits for a new start.
    pub(super) ended: Option<Death>,
}

impl MasterNode {
    pub(super) fn new(data: PathBuf, slaves: Vec<SlaveId>, clock: Clock, bug: Option<Bug>) -> Self {
        let lease = if bug == Some(Bug::RerunEarly) { Duration::from_secs(4) } else { LEASE_MASTER };
        Self {
            data,
            lease,
            clock,
            generation: 0,
            disk: Disk::default(),
            slaves,
            process: None,
            dying: false,
            ended: None,
        }
    }

    fn moment(&self, now: u64) -> Moment {
        Moment { wall: self.clock.wall(now), boot: self.clock.boot(now) }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn start(&mut self, ctx: &mut Context) {
        if self.process.is_some() {
            return;
        }
        self.generation += 1;
        self.disk.kill_in_commit = false;
        self.disk.fails = false;
        self.dying = false;
        self.ended = None;
        let master = match Master::start(&self.data, self.lease, self.moment(ctx.now)) {
            Ok(master) => master,
            Err(error) => return ctx.wrong(format!("the master does not start: {error}")),
        };
        ctx.note(10, self.generation, || "the master starts".to_owned());
        self.process = Some(Running::new(master));
        self.plan_turn(ctx, 0);
    }

    /// Ends the process. What was out may have reached the disk or not.
    pub(super) fn die(&mut self, death: Death, ctx: &mut Context) {
        let Some(mut process) = self.process.take() else { return };
        self.generation += 1;
        ctx.note(11, self.generation, || format!("the master ends: {death:?}"));
        if let Some(InFlight { batch, .. }) = process.in_flight.take()
            && process.unsynced.is_empty()
            && death != Death::Stopped
            && ctx.rng.chance(50)
        {
            ctx.note(12, batch.len() as u64, || "what was out reached the disk all the same".to_owned());
            if let Err(error) = process.master.commit(&batch) {
                ctx.wrong(format!("a batch cannot be committed: {error}"));
            }
        }
        let reached = usize::try_from(ctx.rng.between(0, process.jobs.len() as u64)).unwrap_or(0);
        for job in process.jobs.drain(..).take(reached) {
            if let Job::Append { key, stream, offset, bytes } = job {
                let part = usize::try_from(ctx.rng.between(0, bytes.len() as u64)).unwrap_or(0);
                // A part of a chunk may be all that was written.
                drop(process.master.append(key, stream, offset, &bytes[..part]));
            }
        }
        for connection in process.sessions.into_keys() {
            ctx.close(connection, Side::Master, death != Death::NoPower);
        }
    }

    pub(super) fn plan_turn(&mut self, ctx: &mut Context, after: u64) {
        let at = ctx.now + after;
        if let Some(process) = &mut self.process
            && process.turn_at.is_none_or(|planned| at < planned)
        {
            process.turn_at = Some(at);
            ctx.at(at, Wake::Master { generation: self.generation, what: MasterWake::Turn });
        }
    }

    fn give(&mut self, ctx: &mut Context, input: Input) {
        if let Some(process) = &mut self.process {
            process.inbox.push_back(input);
            let soon = ctx.rng.between(10, 400);
            self.plan_turn(ctx, soon);
        }
    }

    /// A peer has connected.
    pub(super) fn accept(&mut self, connection: u64, peer: Peer, ctx: &mut Context) {
        let Some(process) = &mut self.process else { return ctx.close(connection, Side::Master, true) };
        match peer {
            Peer::Slave(slave) => {
                process.sessions.insert(connection, Session::Slave { registered: false, slave });
            }
            Peer::Client(number) => {
                let client = ClientId(Uuid::from_u128(u128::from(connection) << 32 | number as u128));
                process.sessions.insert(connection, Session::Client(client));
                process.clients.insert(client, connection);
                let user = super::client::user(number);
                let status = Status::LoggedIn {
                    client,
                    user: user.clone(),
                    role: Role::Submitter,
                    token: Secret(String::new()),
                };
                ctx.send(connection, Side::Master, status.into());
                self.give(ctx, Input::ClientJoined { client, user, role: Role::Submitter });
            }
        }
    }

    /// A connection is over.
    pub(super) fn lost(&mut self, connection: u64, ctx: &mut Context) {
        let Some(process) = &mut self.process else { return };
        match process.sessions.remove(&connection) {
            Some(Session::Slave { registered: true, .. }) => self.give(ctx, Input::SlaveLeft(connection)),
            Some(Session::Client(client)) => {
                process.clients.remove(&client);
                self.give(ctx, Input::ClientLeft(client));
            }
            Some(Session::Slave { registered: false, .. }) | None => {}
        }
    }

    /// A frame has come.
    pub(super) fn message(&mut self, connection: u64, message: Message, ctx: &mut Context) {
        let Some(process) = &mut self.process else { return };
        let input = match (process.sessions.get_mut(&connection), message) {
            (_, Message::Ping(heartbeat)) => return ctx.send(connection, Side::Master, Message::Pong(heartbeat)),
            (
                Some(Session::Slave { registered: registered @ false, slave }),
                Message::Status(Status::Report(Report::Register(registration))),
            ) => {
                *registered = true;
                let Some(slave) = self.slaves.get(*slave) else { return };
                Input::SlaveRegistered { link: connection, slave: *slave, registration }
            }
            (Some(Session::Slave { registered: true, .. }), Message::Status(Status::Report(report))) => {
                Input::SlaveReported { link: connection, report: process.present(report, ctx.bug) }
            }
            (
                Some(Session::Slave { registered: true, .. }),
                Message::Data(Data::Output { key, stream, offset, bytes }),
            ) => Input::SlaveOutput { link: connection, key, stream, offset, bytes },
            (Some(Session::Client(client)), Message::Command(Command::Request { id, request })) => {
                let client = *client;
                if process.retry && needs_record(&request) {
                    let status = Status::Reply { id, result: Err(full()) };
                    return ctx.send(connection, Side::Master, status.into());
                }
                Input::Request { client, id, request: Box::new(request) }
            }
            (_, _) => return,
        };
        self.give(ctx, input);
    }

    /// What a frame that has no connection any more, or not its own, is worth to the core.
    pub(super) fn stale(&mut self, link: u64, message: Message, ctx: &mut Context) {
        match message {
            Message::Status(Status::Report(report)) => self.give(ctx, Input::SlaveReported { link, report }),
            Message::Data(Data::Output { key, stream, offset, bytes }) => {
                self.give(ctx, Input::SlaveOutput { link, key, stream, offset, bytes });
            }
            Message::Data(Data::Input { .. })
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Command(_)
            | Message::Alert(_)
            | Message::Status(_) => {}
        }
    }

    pub(super) fn stop(&mut self, ctx: &mut Context) {
        if let Some(process) = &mut self.process {
            process.stopping = true;
            self.give(ctx, Input::Stopping);
        }
    }

    pub(super) fn wake(&mut self, what: MasterWake, ctx: &mut Context) {
        let moment = self.moment(ctx.now);
        let Some(process) = &mut self.process else { return };
        match what {
            // An earlier turn may have taken its place.
            MasterWake::Turn if process.turn_at.is_none_or(|at| at > ctx.now) => return,
            MasterWake::Turn => {
                process.turn_at = None;
                process.turn(moment);
            }
            MasterWake::Committed => self.committed(ctx),
            MasterWake::Retry => {
                process.retry = false;
                self.plan_commit(ctx);
            }
            MasterWake::LateSync => {
                if let Some(batch) = process.unsynced.pop_front()
                    && let Err(error) = process.master.commit(&batch)
                {
                    ctx.wrong(format!("a batch cannot be committed: {error}"));
                }
            }
            MasterWake::OutputSynced => self.output_synced(ctx),
            MasterWake::Answer => {
                if let Some(question) = process.questions.pop_front() {
                    let answered = process.master.answer(question);
                    process.inbox.push_back(Input::Answered(answered));
                    process.turn(moment);
                }
            }
        }
        self.go_on(ctx);
    }

    /// Ships what is gathered, and plans the next turn.
    fn go_on(&mut self, ctx: &mut Context) {
        self.ship(ctx);
        let Some(process) = &mut self.process else { return };
        if process.stopping && process.in_flight.is_none() && process.pending.is_empty() && process.inbox.is_empty() {
            self.ended = Some(Death::Stopped);
            return self.die(Death::Stopped, ctx);
        }
        if !process.inbox.is_empty() {
            return self.plan_turn(ctx, 20);
        }
        if let Some(at) = process.master.next_deadline() {
            let after = self.clock.when(at, ctx.now) - ctx.now;
            self.plan_turn(ctx, after.max(1));
        }
    }

    fn ship(&mut self, ctx: &mut Context) {
        let Some(process) = &mut self.process else { return };
        if process.retry || process.in_flight.is_some() || process.pending.is_empty() {
            return;
        }
        let mut batch = Vec::new();
        let mut effects = Vec::new();
        for effect in process.pending.drain(..) {
            match effect {
                Effect::Keep(kept) => batch.push(*kept),
                Effect::ToClient(..)
                | Effect::AlertClient(..)
                | Effect::ToSlave(..)
                | Effect::CutClient(..)
                | Effect::CutSlave(..)
                | Effect::Ask(_)
                | Effect::Append { .. }
                | Effect::RemoveOutput(_) => effects.push(effect),
            }
        }
        if batch.is_empty() {
            return self.perform(effects, ctx);
        }
        let mark = process.master.mark();
        ctx.note(13, batch.len() as u64, || format!("batch {mark} of {} records is out", batch.len()));
        let now = if ctx.bug == Some(Bug::AckBeforeCommit) { std::mem::take(&mut effects) } else { Vec::new() };
        process.in_flight = Some(InFlight { batch, effects, mark });
        self.perform(now, ctx);
        self.plan_commit(ctx);
    }

    fn plan_commit(&mut self, ctx: &mut Context) {
        let most = if self.disk.slow { 3 * SECOND } else { 8 * MILLI };
        let length = ctx.rng.between(150, most);
        if std::mem::take(&mut self.disk.kill_in_commit) {
            let length = ctx.rng.between(100, length);
            self.dying = true;
            return ctx.after(length, Wake::Master { generation: self.generation, what: MasterWake::Committed });
        }
        ctx.after(length, Wake::Master { generation: self.generation, what: MasterWake::Committed });
    }

    fn committed(&mut self, ctx: &mut Context) {
        let moment = self.moment(ctx.now);
        let generation = self.generation;
        if std::mem::take(&mut self.dying) || std::mem::take(&mut self.disk.fails) {
            // A failed sync: nobody knows what is on the disk.
            self.ended = Some(Death::Killed);
            return self.die(Death::Killed, ctx);
        }
        let Some(process) = &mut self.process else { return };
        let Some(InFlight { batch, effects, mark }) = process.in_flight.take() else { return };
        if self.disk.full {
            if process.stopping {
                self.ended = Some(Death::Stopped);
                return self.die(Death::Stopped, ctx);
            }
            process.in_flight = Some(InFlight { batch, effects, mark });
            process.retry = true;
            process.set_storage(true, moment);
            return ctx.after(FULL_PAUSE, Wake::Master { generation, what: MasterWake::Retry });
        }
        if ctx.bug == Some(Bug::SkipSync) {
            process.unsynced.push_back(batch);
            ctx.after(4 * SECOND, Wake::Master { generation, what: MasterWake::LateSync });
        } else if let Err(error) = process.master.commit(&batch) {
            return ctx.wrong(format!("a batch cannot be committed: {error}"));
        }
        process.set_storage(false, moment);
        ctx.note(14, mark, || format!("batch {mark} is synced"));
        self.perform(effects, ctx);
        if let Some(process) = &mut self.process {
            process.master.handle(Input::Committed(mark), moment);
            process.master.check_invariants();
            process.turn(moment);
        }
    }

    fn output_synced(&mut self, ctx: &mut Context) {
        let wake = Wake::Master { generation: self.generation, what: MasterWake::OutputSynced };
        let full = self.disk.full;
        let Some(process) = &mut self.process else { return };
        if full {
            return ctx.after(FULL_PAUSE, wake);
        }
        match process.jobs.pop_front() {
            Some(Job::Append { key, stream, offset, bytes }) => {
                match process.master.append(key, stream, offset, &bytes) {
                    Ok(offset) => self.give(ctx, Input::OutputStored { key, stream, offset }),
                    Err(error) => ctx.wrong(format!("an output cannot be written: {error}")),
                }
            }
            Some(Job::Remove(key)) => process.master.remove_output(key),
            None => {}
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, ctx: &mut Context) {
        let mut to_slaves = Vec::new();
        for effect in effects {
            let Some(process) = &mut self.process else { return };
            match effect {
                Effect::Keep(_) => {}
                Effect::ToClient(client, status) => process.to_client(client, status.into(), ctx),
                Effect::AlertClient(client, alert) => process.to_client(client, alert.into(), ctx),
                Effect::ToSlave(link, order) => to_slaves.push((link, order)),
                Effect::CutClient(client, error) => {
                    process.to_client(client, Alert::Refused(error).into(), ctx);
                    if let Some(connection) = process.clients.remove(&client) {
                        process.sessions.remove(&connection);
                        ctx.close(connection, Side::Master, true);
                    }
                }
                Effect::CutSlave(link, error) => {
                    if let Some(error) = error {
                        ctx.send(link, Side::Master, Alert::Refused(error).into());
                    }
                    if process.sessions.remove(&link).is_some() {
                        ctx.close(link, Side::Master, true);
                        self.give(ctx, Input::SlaveLeft(link));
                    }
                }
                Effect::Ask(question) => {
                    process.questions.push_back(*question);
                    let after = ctx.rng.between(50, 4_000);
                    ctx.after(after, Wake::Master { generation: self.generation, what: MasterWake::Answer });
                }
                Effect::Append { key, stream, offset, bytes } => {
                    self.job(Job::Append { key, stream, offset, bytes }, ctx);
                }
                Effect::RemoveOutput(key) => self.job(Job::Remove(key), ctx),
            }
        }
        for (link, order) in to_slaves {
            self.order(link, order, ctx);
        }
    }

    fn job(&mut self, job: Job, ctx: &mut Context) {
        if let Some(process) = &mut self.process {
            process.jobs.push_back(job);
            let most = if self.disk.slow { SECOND } else { 6 * MILLI };
            let after = ctx.rng.between(200, most);
            ctx.after(after, Wake::Master { generation: self.generation, what: MasterWake::OutputSynced });
        }
    }

    fn order(&mut self, link: u64, mut order: Order, ctx: &mut Context) {
        let Some(process) = &mut self.process else { return };
        if let Order::Assign(assignments) = &order {
            for assignment in assignments {
                let key = assignment.key;
                process.newest.insert(key.program, key.attempt);
                ctx.note(15, u64::from(key.attempt), || format!("{key} is assigned on connection {link}"));
            }
        } else {
            ctx.note(16, link, || format!("order on connection {link}: {}", short(&order)));
        }
        if let (Order::Registered { lease, .. }, Some(Bug::RerunEarly)) = (&mut order, ctx.bug) {
            *lease = common::limits::LEASE_SLAVE;
        }
        ctx.send(link, Side::Master, Command::Order(order).into());
    }

    /// Asks the core while nothing else happens, as a client who may see everything.
    pub(super) fn audit(&mut self, request: Request, now: u64) -> Result<Reply, String> {
        const AUDITOR: ClientId = ClientId(Uuid::from_u128(1));
        let moment = self.moment(now);
        let Some(process) = &mut self.process else { return Err("the master is not there".to_owned()) };
        let master = &mut process.master;
        master.handle(Input::ClientLeft(AUDITOR), moment);
        master.handle(Input::ClientJoined { client: AUDITOR, user: "auditor".into(), role: Role::Admin }, moment);
        let id = RequestId(1);
        master.handle(Input::Request { client: AUDITOR, id, request: Box::new(request) }, moment);
        for _ in 0..10 {
            let mut answers = Vec::new();
            let mut reply = None;
            for effect in master.settle(moment) {
                match effect {
                    Effect::ToClient(AUDITOR, Status::Reply { result, .. }) => {
                        reply = Some(result.map_err(|error| error.to_string()));
                    }
                    Effect::Ask(question) => answers.push(master.answer(*question)),
                    effect @ (Effect::Keep(_)
                    | Effect::ToClient(..)
                    | Effect::AlertClient(..)
                    | Effect::ToSlave(..)
                    | Effect::CutClient(..)
                    | Effect::CutSlave(..)
                    | Effect::Append { .. }
                    | Effect::RemoveOutput(_)) => process.pending.push(effect),
                }
            }
            if let Some(reply) = reply {
                return reply;
            }
            for answered in answers {
                master.handle(Input::Answered(answered), moment);
            }
        }
        Err("no answer came".to_owned())
    }

    /// Whether nothing is on its way inside the process.
    pub(super) fn is_idle(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            process.inbox.is_empty()
                && process.pending.is_empty()
                && process.in_flight.is_none()
                && process.jobs.is_empty()
                && process.unsynced.is_empty()
        })
    }

    pub(super) fn check_store(&self) -> Result<(), String> {
        let Some(process) = &self.process else { return Err("the master is not there".to_owned()) };
        match process.master.check_store() {
            Ok(problems) if problems.is_empty() => Ok(()),
            Ok(problems) => Err(format!("the store is not sound: {problems:?}")),
            Err(error) => Err(format!("the store cannot be checked: {error}")),
        }
    }
}
