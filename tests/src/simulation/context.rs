//! What all parts of a run share: virtual time, what happens next, chance, the network, and the book of what
//! happened.

use super::{
    Bug,
    history::History,
    network::{Frame, Network, Peer, Side, TRANSPORT_PING, Timer},
    rng::{Rng, mix},
    witness::Witness,
};
use common::{
    AttemptKey,
    message::{Heartbeat, Message},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Microseconds in a second.
pub(super) const SECOND: u64 = 1_000_000;
/// Microseconds in a millisecond.
pub(super) const MILLI: u64 = 1_000;
/// Lines of the trace that a failure prints, unless `RUCHE_SIMULATION_LINES` says otherwise.
const TRACE_LINES: usize = 160;

/// What happens to the master's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MasterWake {
    /// The event loop takes what has arrived.
    Turn,
    /// The batch that is out is synced.
    Committed,
    /// The oldest unsynced batch reaches the disk; only with a planted bug.
    LateSync,
    /// A chunk of output is synced.
    OutputSynced,
    /// A reading thread answers.
    Answer,
    /// A batch that did not fit is tried again.
    Retry,
}

/// What happens to a slave's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentWake {
    /// A deadline of its core, or something of the executor.
    Turn,
    /// It tries to connect.
    Dial,
}

/// What happens on a slave's machine, whether or not its agent lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MachineWake {
    /// A program is born.
    Begins(AttemptKey),
    /// A program that was handed over has run for a while.
    Outlives(AttemptKey),
    /// A program writes.
    Writes(AttemptKey),
    /// A program ends by itself.
    Ends(AttemptKey),
    /// A program that was stopped is gone.
    Killed(AttemptKey),
    /// A program brings down the machine.
    Crash(AttemptKey),
    /// The watchdog looks at the lease.
    Watchdog,
    /// The journal is synced up to this record.
    Synced(u64),
    /// What was forgotten is written into the journal.
    Flush,
    /// The journal is tried again after its disk was full.
    Repair,
}

/// What happens to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientWake {
    Act,
    Dial,
}

/// A process that can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    Master,
    Agent(usize),
    Client(usize),
}

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Deliver { connection: u64, to: Side },
    LinkTimer { connection: u64, side: Side },
    DialArrives { peer: Peer, dial: u64 },
    DialFails { peer: Peer, dial: u64 },
    Connected { peer: Peer, dial: u64, connection: u64 },
    Master { generation: u64, what: MasterWake },
    MasterStarts,
    Agent { slave: usize, generation: u64, what: AgentWake },
    AgentStarts { slave: usize },
    Machine { slave: usize, generation: u64, what: MachineWake },
    Client { client: usize, generation: u64, what: ClientWake },
    Fault(usize),
    Mend(usize),
    Calm,
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    at: u64,
    order: u64,
    wake: Wake,
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The shared part of a run.
#[derive(Debug)]
pub(super) struct Context {
    /// Microseconds since the run began.
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) net: Network,
    pub(super) witness: Witness,
    pub(super) history: History,
    pub(super) bug: Option<Bug>,
    /// The faults are over.
    pub(super) calm: bool,
    /// The first thing that broke the contract.
    pub(super) violation: Option<String>,
    queue: BinaryHeap<Reverse<Planned>>,
    order: u64,
    hash: u64,
    /// Lines are written only when a failed seed is run again.
    trace: Option<VecDeque<String>>,
    trace_lines: usize,
}

impl Context {
    pub(super) fn new(seed: u64, bug: Option<Bug>, tell: bool) -> Self {
        Self {
            now: 0,
            rng: Rng::new(mix(&[seed, 77])),
            net: Network::default(),
            witness: Witness::default(),
            history: History::default(),
            bug,
            calm: false,
            violation: None,
            queue: BinaryHeap::new(),
            order: 0,
            hash: seed,
            trace: tell.then(VecDeque::new),
            trace_lines: std::env::var("RUCHE_SIMULATION_LINES")
                .ok()
                .and_then(|lines| lines.parse().ok())
                .unwrap_or(TRACE_LINES),
        }
    }

    pub(super) fn at(&mut self, at: u64, wake: Wake) {
        self.order += 1;
        self.queue.push(Reverse(Planned { at: at.max(self.now), order: self.order, wake }));
    }

    pub(super) fn after(&mut self, micros: u64, wake: Wake) {
        self.at(self.now + micros, wake);
    }

    /// The next wake; time goes on to it.
    pub(super) fn next(&mut self) -> Option<Wake> {
        let Reverse(planned) = self.queue.pop()?;
        self.now = planned.at;
        Some(planned.wake)
    }

    pub(super) fn wrong(&mut self, what: String) {
        self.note(99, 0, || format!("WRONG: {what}"));
        self.violation.get_or_insert(what);
    }

    /// Writes something down: numbers for the hash of the run, and a line when lines are wanted.
    pub(super) fn note(&mut self, kind: u64, number: u64, line: impl FnOnce() -> String) {
        self.hash = mix(&[self.hash, self.now, kind, number]);
        if let Some(trace) = &mut self.trace {
            if trace.len() >= self.trace_lines {
                trace.pop_front();
            }
            trace.push_back(format!("{:>14.6} s  {}", self.now as f64 / SECOND as f64, line()));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        mix(&[self.hash, self.witness.hash()])
    }

    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().into_iter().flatten().collect()
    }

    /// How long a frame is on its way to or from this peer.
    fn way(&mut self, peer: Peer) -> u64 {
        let most = self.net.way_max(peer);
        self.rng.between(50, most)
    }

    /// Opens a connection, both ends with their timers.
    pub(super) fn open(&mut self, peer: Peer) -> u64 {
        let connection = self.net.open(peer, self.now);
        for side in [Side::Master, Side::Peer] {
            self.after(common::limits::HEARTBEAT_INTERVAL.0, Wake::LinkTimer { connection, side });
        }
        connection
    }

    pub(super) fn send(&mut self, connection: u64, from: Side, message: Message) {
        let overtakes = self.rng.chance(50);
        self.push(connection, from, Frame::Message(Box::new(message)), overtakes);
    }

    fn push(&mut self, connection: u64, from: Side, frame: Frame, overtakes: bool) {
        let Some(peer) = self.net.peer(connection) else { return };
        if self.net.push(connection, from, frame, overtakes, self.now) {
            let way = self.way(peer);
            self.after(way, Wake::Deliver { connection, to: from.other() });
        }
    }

    /// Ends one's own end of a connection; the other end hears of it unless its machine is gone.
    pub(super) fn close(&mut self, connection: u64, side: Side, politely: bool) {
        if politely {
            self.push(connection, side, Frame::Close, false);
        }
        self.net.close(connection, side);
    }

    /// The other end is told that its connection is over, whatever was on the way.
    pub(super) fn reset(&mut self, connection: u64, to: Side) {
        let Some(peer) = self.net.peer(connection) else { return };
        let waiting = self.net.on_the_way(connection, to);
        // Frames that are on their way have their deliveries; one more is for the end.
        self.net.push_close(connection, to);
        let way = self.way(peer);
        self.after(way, Wake::Deliver { connection, to });
        self.note(1, waiting as u64, || format!("connection {connection} is reset towards {to:?}"));
    }

    pub(super) fn mend(&mut self, peer: Peer, to: Side) {
        for (connection, owed) in self.net.mend(peer, to) {
            for _ in 0..owed {
                let way = self.way(peer);
                self.after(way, Wake::Deliver { connection, to });
            }
        }
    }

    /// What an end's timer is for; true when the end must close for silence.
    pub(super) fn link_timer(&mut self, connection: u64, side: Side) -> bool {
        let next = match self.net.timer(connection, side, self.now) {
            Timer::Gone => return false,
            Timer::Silent => return true,
            Timer::Again(at) => at,
            Timer::Ping(at) => {
                self.send(connection, side, Message::Ping(Heartbeat { sequence: TRANSPORT_PING }));
                at
            }
        };
        self.at(next, Wake::LinkTimer { connection, side });
        false
    }
}
