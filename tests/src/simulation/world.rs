//! One run: everybody, and what happens to whom.

use super::{
    Bug, audit,
    client::ClientNode,
    clock::Clock,
    context::{ClientWake, Context, MILLI, MachineWake, Process, SECOND, Wake},
    fault::{self, BOTH, Fault, Planned},
    master::{Death, MasterNode},
    network::{Delivered, Peer, Side},
    program::Kind,
    rng::{Rng, mix},
    slave::SlaveNode,
};
use common::{
    AttemptKey,
    message::{Data, HistoryQuery, Message, Reply, Report, Request, Status},
    program::State,
};
use std::{collections::BTreeMap, path::Path};

/// After the faults have stopped, everything that can end has ended by then.
const QUIET_AFTER_MAX: u64 = 40 * 60 * SECOND;
/// An agent that is killed leaves its programs to be ended; a new one does not start before that.
const AGENT_DOWN_MIN: u64 = 500 * MILLI;

/// Everybody.
pub(super) struct World {
    pub(super) ctx: Context,
    pub(super) master: MasterNode,
    pub(super) slaves: Vec<SlaveNode>,
    pub(super) clients: Vec<ClientNode>,
    pub(super) faults: Vec<Planned>,
    /// Processes that are stopped, and until when.
    paused: BTreeMap<Process, u64>,
    /// How long the master stays down when it ends by itself.
    master_down: u64,
    calm_at: u64,
    calm: bool,
    over: bool,
}

impl World {
    /// Who takes part and what will go wrong, all from the seed.
    pub(super) fn new(seed: u64, bug: Option<Bug>, tell: bool, data: &Path) -> Result<Self, String> {
        let mut rng = Rng::new(mix(&[seed, 1]));
        let slaves: Vec<SlaveNode> = (0..rng.between(1, 3))
            .map(|number| {
                let slots = u32::try_from(rng.between(1, 3)).unwrap_or(1);
                SlaveNode::new(usize::try_from(number).unwrap_or(0), slots, Clock::new(rng.between(0, 1 << 40)))
            })
            .collect();
        let kinds = match rng.between(0, 9) {
            0..=3 => vec![Kind::Good],
            4..=7 => vec![Kind::Good, Kind::Good, Kind::Bad, Kind::Flaky],
            _ => vec![Kind::Good, Kind::Good, Kind::Good, Kind::Good, Kind::Bad, Kind::Flaky, Kind::Poison],
        };
        let clients: Vec<ClientNode> = (0..rng.between(1, 2))
            .map(|number| {
                let client = usize::try_from(number).unwrap_or(0);
                ClientNode::new(client, rng.between(4, 16), kinds.clone())
            })
            .collect();
        let calm_at = rng.between(10, 90) * SECOND;
        let faults = fault::schedule(&mut rng, calm_at, slaves.len(), clients.len());
        let clock = Clock::new(rng.between(0, 1 << 40));
        std::fs::create_dir_all(data.join("outputs")).map_err(|error| error.to_string())?;
        for (number, slave) in slaves.iter().enumerate() {
            let enrolled = master::simulation::enrol(data, slave.id, &format!("slave{number}"), clock.wall(0));
            enrolled.map_err(|error| format!("a slave cannot be enrolled: {error}"))?;
        }
        let ids = slaves.iter().map(|slave| slave.id).collect();
        let mut world = Self {
            ctx: Context::new(seed, bug, tell),
            master: MasterNode::new(data.to_owned(), ids, clock, bug),
            slaves,
            clients,
            faults,
            paused: BTreeMap::new(),
            master_down: SECOND,
            calm_at,
            calm: false,
            over: false,
        };
        world.plan();
        Ok(world)
    }

    fn plan(&mut self) {
        let ctx = &mut self.ctx;
        ctx.at(0, Wake::MasterStarts);
        for slave in 0..self.slaves.len() {
            let at = ctx.rng.between(0, 2 * SECOND);
            ctx.at(at, Wake::AgentStarts { slave });
        }
        for client in 0..self.clients.len() {
            let at = ctx.rng.between(0, SECOND);
            ctx.at(at, Wake::Client { client, generation: 0, what: ClientWake::Dial });
        }
        for (place, planned) in self.faults.iter().enumerate() {
            ctx.at(planned.at, Wake::Fault(place));
        }
        ctx.at(self.calm_at, Wake::Calm);
    }

    /// Runs until everything has ended and is read, or something is wrong.
    pub(super) fn run(&mut self) -> Result<(), String> {
        while !self.over
            && let Some(wake) = self.ctx.next()
        {
            self.step(wake);
            if let Some(wrong) = self.ctx.violation.take() {
                return Err(wrong);
            }
        }
        audit::audit(self)
    }

    /// Whose process must run for this to happen.
    fn process_of(&self, wake: &Wake) -> Option<Process> {
        let of_peer = |peer| match peer {
            Peer::Slave(slave) => Process::Agent(slave),
            Peer::Client(client) => Process::Client(client),
        };
        match wake {
            Wake::Deliver { connection, to: side } | Wake::LinkTimer { connection, side } => match side {
                Side::Master => Some(Process::Master),
                Side::Peer => self.ctx.net.peer(*connection).map(of_peer),
            },
            Wake::DialArrives { .. } | Wake::Master { .. } => Some(Process::Master),
            Wake::DialFails { peer, .. } | Wake::Connected { peer, .. } => Some(of_peer(*peer)),
            Wake::Agent { slave, .. } => Some(Process::Agent(*slave)),
            Wake::Client { client, .. } => Some(Process::Client(*client)),
            Wake::MasterStarts
            | Wake::AgentStarts { .. }
            | Wake::Machine { .. }
            | Wake::Fault(_)
            | Wake::Mend(_)
            | Wake::Calm
            | Wake::Look => None,
        }
    }

    fn step(&mut self, wake: Wake) {
        if let Some(until) = self.process_of(&wake).and_then(|process| self.paused.get(&process).copied())
            && until > self.ctx.now
        {
            // What has arrived in the meantime is seen first, then that time has passed.
            let after = u64::from(!matches!(wake, Wake::Deliver { .. })) * MILLI;
            return self.ctx.at(until + after, wake);
        }
        let ctx = &mut self.ctx;
        match wake {
            Wake::Deliver { connection, to } => self.deliver(connection, to),
            Wake::LinkTimer { connection, side } => {
                if ctx.link_timer(connection, side) {
                    ctx.note(2, connection, || format!("connection {connection} is silent for its {side:?}"));
                    let peer = ctx.net.peer(connection);
                    ctx.close(connection, side, true);
                    self.lost(connection, side, peer);
                }
            }
            Wake::DialArrives { peer, dial } => self.dial_arrives(peer, dial),
            Wake::DialFails { peer, dial } => match peer {
                Peer::Slave(slave) => self.slaves[slave].dial_failed(dial, ctx),
                Peer::Client(client) => self.clients[client].dial_failed(dial, ctx),
            },
            Wake::Connected { peer, dial, connection } => match peer {
                Peer::Slave(slave) => self.slaves[slave].connected(dial, connection, ctx),
                Peer::Client(client) => self.clients[client].connected(dial, connection, ctx),
            },
            Wake::Master { generation, what } => {
                if generation == self.master.generation {
                    self.master.wake(what, ctx);
                }
            }
            Wake::MasterStarts => self.master.start(ctx),
            Wake::Agent { slave, generation, what } => {
                let node = &mut self.slaves[slave];
                if generation == 0 || generation == node.generation {
                    node.wake(what, ctx);
                }
            }
            Wake::AgentStarts { slave } => self.slaves[slave].start(ctx),
            Wake::Machine { slave, generation, what } => self.machine(slave, generation, what),
            Wake::Client { client, generation: 0, .. } => {
                if !self.clients[client].is_up() {
                    self.clients[client].start(ctx);
                }
            }
            Wake::Client { client, generation, what } => {
                if generation == self.clients[client].generation {
                    self.clients[client].wake(what, ctx);
                }
            }
            Wake::Fault(place) => self.fault(place),
            Wake::Mend(place) => self.mend(place),
            Wake::Calm => self.calm(),
            Wake::Look => self.look(),
        }
        self.start_again();
    }

    /// Processes that ended by themselves are started again, as their service manager does.
    fn start_again(&mut self) {
        if let Some(_death) = self.master.ended.take() {
            let down = if self.calm { SECOND } else { self.master_down };
            self.paused.remove(&Process::Master);
            self.ctx.after(down, Wake::MasterStarts);
        }
        for slave in 0..self.slaves.len() {
            if std::mem::take(&mut self.slaves[slave].left) {
                let down = self.ctx.rng.between(3 * SECOND, 20 * SECOND);
                self.ctx.after(down, Wake::AgentStarts { slave });
            }
        }
    }

    fn machine(&mut self, slave: usize, generation: u64, what: MachineWake) {
        let node = &mut self.slaves[slave];
        if generation != node.machine.generation {
            return;
        }
        if let MachineWake::Crash(key) = what {
            if node.machine.is_running(key) {
                self.ctx.note(34, 0, || format!("{key} brings down the machine of slave {slave}"));
                let down = self.ctx.rng.between(SECOND, 15 * SECOND);
                self.crash_machine(slave, down);
            }
            return;
        }
        if what == MachineWake::Repair && node.is_up() {
            return node.repair(&mut self.ctx);
        }
        let (boot, wall) = (node.clock.boot(self.ctx.now), node.clock.wall(self.ctx.now));
        node.machine.wake(what, boot, wall, &mut self.ctx);
    }

    fn crash_machine(&mut self, slave: usize, down: u64) {
        let node = &mut self.slaves[slave];
        self.paused.remove(&Process::Agent(slave));
        node.kill_agent(&mut self.ctx, true);
        node.clock.boot_again(self.ctx.now);
        self.ctx.after(down, Wake::AgentStarts { slave });
    }

    fn deliver(&mut self, connection: u64, to: Side) {
        let peer = self.ctx.net.peer(connection);
        match self.ctx.net.deliver(connection, to, self.ctx.now) {
            Delivered::Nothing => {}
            Delivered::Refused => self.ctx.reset(connection, to.other()),
            Delivered::Closed => self.lost(connection, to, peer),
            Delivered::Message(message) => {
                let ctx = &mut self.ctx;
                match (to, peer) {
                    (Side::Master, _) => self.master.message(connection, *message, ctx),
                    (Side::Peer, Some(Peer::Slave(slave))) => self.slaves[slave].message(connection, *message, ctx),
                    (Side::Peer, Some(Peer::Client(client))) => self.clients[client].message(connection, *message, ctx),
                    (Side::Peer, None) => {}
                }
            }
        }
    }

    fn lost(&mut self, connection: u64, side: Side, peer: Option<Peer>) {
        let ctx = &mut self.ctx;
        match (side, peer) {
            (Side::Master, _) => self.master.lost(connection, ctx),
            (Side::Peer, Some(Peer::Slave(slave))) => self.slaves[slave].lost(connection, ctx),
            (Side::Peer, Some(Peer::Client(client))) => self.clients[client].lost(connection, ctx),
            (Side::Peer, None) => {}
        }
    }

    fn dial_arrives(&mut self, peer: Peer, dial: u64) {
        let dialling = match peer {
            Peer::Slave(slave) => self.slaves[slave].is_dialling(dial),
            Peer::Client(client) => self.clients[client].is_dialling(dial),
        };
        let ctx = &mut self.ctx;
        let cut = BOTH.into_iter().any(|to| ctx.net.is_cut(peer, to));
        if !dialling || cut {
            // Nobody answers; the dial ends with its own time.
            return;
        }
        if !self.master.is_up() {
            return ctx.after(MILLI, Wake::DialFails { peer, dial });
        }
        let connection = ctx.open(peer);
        ctx.note(3, connection, || format!("connection {connection} of {peer:?}"));
        self.master.accept(connection, peer, ctx);
        let way = ctx.rng.between(50, ctx.net.way_max(peer));
        // Before what the master sends on it: the dial is answered first.
        ctx.after(way.min(50), Wake::Connected { peer, dial, connection });
    }

    fn pause(&mut self, process: Process, length: u64) {
        self.paused.insert(process, self.ctx.now + length);
    }

    fn kill_master(&mut self, death: Death, down: u64) {
        self.master.die(death, &mut self.ctx);
        self.paused.remove(&Process::Master);
        self.ctx.after(down, Wake::MasterStarts);
    }

    fn fault(&mut self, place: usize) {
        let fault = self.faults[place].fault;
        self.ctx.note(90, place as u64, || format!("FAULT {fault:?}"));
        let ctx = &mut self.ctx;
        match fault {
            Fault::MasterKilled { down } => self.kill_master(Death::Killed, down),
            Fault::MasterWithoutPower { down } => self.kill_master(Death::NoPower, down),
            Fault::MasterKilledInCommit { down } => {
                self.master.disk.kill_in_commit = true;
                self.master_down = down;
            }
            Fault::SyncFails { down } => {
                self.master.disk.fails = true;
                self.master_down = down;
            }
            Fault::MasterStopped { down } => {
                self.master_down = down;
                self.master.stop(ctx);
            }
            Fault::MasterPaused { length } => self.pause(Process::Master, length),
            Fault::DiskFull { length } => {
                self.master.disk.full = true;
                ctx.after(length, Wake::Mend(place));
            }
            Fault::DiskSlow { length } => {
                self.master.disk.slow = true;
                ctx.after(length, Wake::Mend(place));
            }
            Fault::AgentKilled { slave, down } => {
                self.paused.remove(&Process::Agent(slave));
                self.slaves[slave].kill_agent(ctx, false);
                ctx.after(down.max(AGENT_DOWN_MIN), Wake::AgentStarts { slave });
            }
            Fault::SlaveDiskFull { slave, length } => {
                self.slaves[slave].machine.disk_full = true;
                ctx.after(length, Wake::Mend(place));
            }
            Fault::MachineCrashed { slave, down } => self.crash_machine(slave, down),
            Fault::AgentStopped { slave, .. } => self.slaves[slave].ask_to_stop(ctx),
            Fault::AgentPaused { slave, length } => self.pause(Process::Agent(slave), length),
            Fault::ClientKilled { client, down } => {
                self.clients[client].kill(ctx);
                ctx.after(down, Wake::Client { client, generation: 0, what: ClientWake::Dial });
            }
            Fault::CutOneWay { peer, to, length } => {
                ctx.net.cut(peer, to);
                ctx.after(length, Wake::Mend(place));
            }
            Fault::Cut { peer, length } => {
                BOTH.into_iter().for_each(|to| ctx.net.cut(peer, to));
                ctx.after(length, Wake::Mend(place));
            }
            Fault::Slow { peer, way, length } => {
                ctx.net.set_slow(peer, Some(way));
                ctx.after(length, Wake::Mend(place));
            }
            Fault::Reset { peer } => self.reset(peer, &BOTH),
            Fault::HalfOpen { peer, knows } => self.reset(peer, &[knows]),
            Fault::Replayed { slave } => self.replay(slave),
            Fault::MasterClockJumps { micros } => self.master.clock.jump(micros),
            Fault::SlaveClockJumps { slave, micros } => self.slaves[slave].clock.jump(micros),
        }
    }

    /// Ends a peer's connections: what is on its way may arrive in part. Whoever is not told learns nothing.
    fn reset(&mut self, peer: Peer, told: &[Side]) {
        let ctx = &mut self.ctx;
        for connection in ctx.net.of(peer) {
            for to in BOTH {
                let keep = ctx.rng.between(0, ctx.net.on_the_way(connection, to) as u64);
                ctx.net.truncate(connection, to, usize::try_from(keep).unwrap_or(0));
                if told.contains(&to) {
                    ctx.reset(connection, to);
                } else {
                    ctx.net.kill_pipe(connection, to);
                }
            }
        }
    }

    /// Frames of a slave come again: on their own connection, which is old, and, as far as they are of what is
    /// over or tell an end, on the one of now. TLS keeps everything else of a connection in its order.
    fn replay(&mut self, slave: usize) {
        let remembered = self.slaves[slave].remembered.clone();
        let current = self.ctx.net.of(Peer::Slave(slave)).pop();
        let is_end = |message: &Message| matches!(message, Message::Status(Status::Report(Report::Finished(_))));
        let ends: Vec<_> = remembered.iter().filter(|(_, message)| is_end(message)).cloned().collect();
        for _ in 0..self.ctx.rng.between(1, 12) {
            let from = if self.ctx.rng.chance(50) { &ends } else { &remembered };
            let Some((connection, message)) = self.ctx.rng.pick(from).cloned() else { continue };
            if Some(connection) != current && self.ctx.rng.chance(50) {
                self.master.stale(connection, message, &mut self.ctx);
            } else if let Some(current) = current
                && self.is_past(&message)
            {
                self.ctx.note(91, current, || format!("replayed on connection {current}: {message:.200?}"));
                self.master.message(current, message, &mut self.ctx);
            }
        }
    }

    fn is_past(&self, message: &Message) -> bool {
        let over = |key: &AttemptKey| {
            let ended = self.ctx.history.submits.get(&key.program).is_some_and(|one| one.ended.is_some());
            ended || self.ctx.witness.attempts(key.program).any(|(attempt, _)| attempt > key.attempt)
        };
        match message {
            Message::Status(Status::Report(Report::Finished(_))) => true,
            Message::Data(Data::Output { key, .. }) => over(key),
            Message::Status(Status::Report(Report::Started(started))) => started.iter().all(|(key, _)| over(key)),
            Message::Data(Data::Input { .. })
            | Message::Status(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Command(_)
            | Message::Alert(_) => false,
        }
    }

    fn mend(&mut self, place: usize) {
        let fault = self.faults[place].fault;
        self.ctx.note(92, place as u64, || format!("mended: {fault:?}"));
        match fault {
            Fault::DiskFull { .. } => self.master.disk.full = false,
            Fault::DiskSlow { .. } => self.master.disk.slow = false,
            Fault::SlaveDiskFull { slave, .. } => self.slaves[slave].machine.disk_full = false,
            Fault::CutOneWay { peer, to, .. } => self.ctx.mend(peer, to),
            Fault::Cut { peer, .. } => BOTH.into_iter().for_each(|to| self.ctx.mend(peer, to)),
            Fault::Slow { peer, .. } => self.ctx.net.set_slow(peer, None),
            Fault::MasterKilled { .. }
            | Fault::MasterKilledInCommit { .. }
            | Fault::MasterWithoutPower { .. }
            | Fault::MasterStopped { .. }
            | Fault::MasterPaused { .. }
            | Fault::SyncFails { .. }
            | Fault::AgentKilled { .. }
            | Fault::MachineCrashed { .. }
            | Fault::AgentStopped { .. }
            | Fault::AgentPaused { .. }
            | Fault::ClientKilled { .. }
            | Fault::Reset { .. }
            | Fault::HalfOpen { .. }
            | Fault::Replayed { .. }
            | Fault::MasterClockJumps { .. }
            | Fault::SlaveClockJumps { .. } => {}
        }
    }

    /// Nothing goes wrong any more: everything is mended and started.
    fn calm(&mut self) {
        self.ctx.note(93, 0, || "everything is mended".to_owned());
        self.calm = true;
        self.ctx.calm = true;
        for place in 0..self.faults.len() {
            self.mend(place);
        }
        self.master.disk.kill_in_commit = false;
        self.master.disk.fails = false;
        let now = self.ctx.now;
        self.paused.values_mut().for_each(|until| *until = now.min(*until));
        self.ctx.after(SECOND, Wake::MasterStarts);
        for slave in 0..self.slaves.len() {
            self.ctx.after(SECOND, Wake::AgentStarts { slave });
        }
        for client in 0..self.clients.len() {
            self.ctx.after(SECOND, Wake::Client { client, generation: 0, what: ClientWake::Dial });
        }
        self.ctx.after(SECOND, Wake::Look);
    }

    /// Looks whether everything has ended.
    fn look(&mut self) {
        let quiet = self.clients.iter().all(ClientNode::is_done)
            && self.slaves.iter().all(SlaveNode::is_idle)
            && match self.master.audit(Request::Summary, self.ctx.now) {
                Ok(Reply::Summary(summary)) => summary.waiting + summary.running == 0,
                Ok(_) | Err(_) => false,
            }
            // Asking may be what ends a lease.
            && self.master.is_idle();
        if quiet {
            self.over = true;
            return;
        }
        if self.ctx.now > self.calm_at + QUIET_AFTER_MAX {
            let wrong = self.what_is_missing();
            return self.ctx.wrong(wrong);
        }
        self.master.plan_turn(&mut self.ctx, 0);
        self.ctx.after(SECOND, Wake::Look);
    }

    fn what_is_missing(&mut self) -> String {
        let now = self.ctx.now;
        let summary = self.master.audit(Request::Summary, now);
        let query = HistoryQuery { states: vec![State::Waiting, State::Running], limit: 5, ..HistoryQuery::default() };
        let mut alive = Vec::new();
        if let Ok(Reply::Page { rows, .. }) = self.master.audit(Request::List(query), now) {
            for row in rows {
                let why = self.master.audit(Request::Why { id: row.id }, now);
                alive.push(format!("{} #{} {}: {why:?}", row.id, row.attempt, row.state));
            }
        }
        format!(
            "not everything has ended {} s after the last fault: {summary:?}; alive: {alive:?}; slaves idle {:?}, up {:?}; clients done {:?}; master idle {}",
            QUIET_AFTER_MAX / SECOND,
            self.slaves.iter().map(SlaveNode::is_idle).collect::<Vec<_>>(),
            self.slaves.iter().map(SlaveNode::is_up).collect::<Vec<_>>(),
            self.clients.iter().map(ClientNode::is_done).collect::<Vec<_>>(),
            self.master.is_idle(),
        )
    }
}
