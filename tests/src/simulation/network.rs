//! Connections between the master and its peers: in order in each direction, control before bulk, with the
//! heartbeats and the silence limit of the transport. What goes wrong with them is decided elsewhere.

use common::{
    limits::{HEARTBEAT_INTERVAL, SILENCE_MAX},
    message::{Data, Message, Report, Status},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Heartbeats of the transport itself have numbers from here on.
pub(super) const TRANSPORT_PING: u64 = 1 << 63;

/// One of the two ends of a connection; for a direction, the end that receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Master,
    Peer,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Master => Self::Peer,
            Self::Peer => Self::Master,
        }
    }
}

/// Who is connected to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Slave(usize),
    Client(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Frame {
    Message(Box<Message>),
    Close,
}

impl Frame {
    fn is_bulk(&self) -> bool {
        matches!(self, Self::Message(message) if message.is_bulk())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => match &**message {
                Message::Data(Data::Output { bytes, .. } | Data::Input { bytes, .. }) => bytes.len(),
                Message::Status(Status::Report(Report::Finished(finished))) => {
                    finished.iter().flat_map(|finished| &finished.tails).map(|tail| tail.bytes.len()).sum()
                }
                Message::Status(_) | Message::Ping(_) | Message::Pong(_) | Message::Command(_) | Message::Alert(_) => {
                    64
                }
            },
            Self::Close => 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct End {
    open: bool,
    last_heard: u64,
    last_sent: u64,
}

#[derive(Debug, Default)]
struct Pipe {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Deliveries that could not be made while the direction was cut.
    owed: u64,
    /// Nothing comes through any more, and nobody is told.
    dead: bool,
}

#[derive(Debug)]
struct Connection {
    peer: Peer,
    ends: [End; 2],
    /// By the end that receives.
    pipes: [Pipe; 2],
}

/// What a delivery brings.
#[derive(Debug)]
pub(super) enum Delivered {
    Nothing,
    Message(Box<Message>),
    Closed,
    /// It came to an end that is closed: the other one must hear of it.
    Refused,
}

/// What an end's timer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Gone,
    Again(u64),
    Ping(u64),
    Silent,
}

/// All connections that anybody still believes in.
#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<u64, Connection>,
    next: u64,
    cut: BTreeSet<(Peer, Side)>,
    /// Longest way of a frame in microseconds, where it is not the usual one.
    slow: BTreeMap<Peer, u64>,
}

/// Longest way of a frame in microseconds.
const WAY_MAX: u64 = 3_000;

impl Network {
    pub(super) fn open(&mut self, peer: Peer, now: u64) -> u64 {
        self.next += 1;
        let end = End { open: true, last_heard: now, last_sent: now };
        let connection = Connection { peer, ends: [end, end], pipes: [Pipe::default(), Pipe::default()] };
        self.connections.insert(self.next, connection);
        self.next
    }

    pub(super) fn peer(&self, connection: u64) -> Option<Peer> {
        self.connections.get(&connection).map(|connection| connection.peer)
    }

    pub(super) fn way_max(&self, peer: Peer) -> u64 {
        self.slow.get(&peer).copied().unwrap_or(WAY_MAX)
    }

    pub(super) fn set_slow(&mut self, peer: Peer, way_max: Option<u64>) {
        match way_max {
            Some(way_max) => drop(self.slow.insert(peer, way_max)),
            None => drop(self.slow.remove(&peer)),
        }
    }

    pub(super) fn is_cut(&self, peer: Peer, to: Side) -> bool {
        self.cut.contains(&(peer, to))
    }

    pub(super) fn cut(&mut self, peer: Peer, to: Side) {
        self.cut.insert((peer, to));
    }

    /// Ends a cut; the deliveries that are owed, by connection.
    pub(super) fn mend(&mut self, peer: Peer, to: Side) -> Vec<(u64, u64)> {
        self.cut.remove(&(peer, to));
        let mine = self.connections.iter_mut().filter(|(_, connection)| connection.peer == peer);
        mine.map(|(id, connection)| (*id, std::mem::take(&mut connection.pipes[to as usize].owed)))
            .filter(|(_, owed)| *owed > 0)
            .collect()
    }

    /// Puts a frame on its way; false when the sender's end is closed. Control may overtake bulk.
    pub(super) fn push(&mut self, connection: u64, from: Side, frame: Frame, overtakes: bool, now: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&connection) else { return false };
        let end = &mut connection.ends[from as usize];
        if !end.open {
            return false;
        }
        end.last_sent = now;
        let pipe = &mut connection.pipes[from.other() as usize];
        pipe.bytes += frame.bytes();
        let bulk_behind = pipe.frames.iter().rev().take_while(|frame| frame.is_bulk()).count();
        let overtakes = overtakes && !frame.is_bulk() && matches!(frame, Frame::Message(_));
        let place = pipe.frames.len() - if overtakes { bulk_behind } else { 0 };
        pipe.frames.insert(place, frame);
        true
    }

    /// Puts the end of the connection on its way, whoever sends it.
    pub(super) fn push_close(&mut self, connection: u64, to: Side) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.pipes[to as usize].frames.push_back(Frame::Close);
        }
    }

    /// Bytes on their way.
    pub(super) fn queued_bytes(&self, connection: u64, from: Side) -> usize {
        self.connections.get(&connection).map_or(0, |connection| connection.pipes[from.other() as usize].bytes)
    }

    /// Takes the next frame out of a direction.
    pub(super) fn deliver(&mut self, id: u64, to: Side, now: u64) -> Delivered {
        let Some(connection) = self.connections.get_mut(&id) else { return Delivered::Nothing };
        let cut = self.cut.contains(&(connection.peer, to));
        let pipe = &mut connection.pipes[to as usize];
        if cut && !pipe.dead {
            pipe.owed += 1;
            return Delivered::Nothing;
        }
        let Some(frame) = pipe.frames.pop_front() else { return Delivered::Nothing };
        pipe.bytes -= frame.bytes();
        if pipe.dead {
            return Delivered::Nothing;
        }
        let end = &mut connection.ends[to as usize];
        match frame {
            _ if !end.open => Delivered::Refused,
            Frame::Close => {
                end.open = false;
                self.forget_when_over(id);
                Delivered::Closed
            }
            Frame::Message(message) => {
                end.last_heard = now;
                Delivered::Message(message)
            }
        }
    }

    /// Closes one end without a word; whether it was open.
    pub(super) fn close(&mut self, id: u64, side: Side) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let was = std::mem::replace(&mut connection.ends[side as usize].open, false);
        self.forget_when_over(id);
        was
    }

    fn forget_when_over(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|connection| connection.ends.iter().all(|end| !end.open)) {
            self.connections.remove(&id);
        }
    }

    /// Nothing comes through in this direction any more, and nobody is told.
    pub(super) fn kill_pipe(&mut self, id: u64, to: Side) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.pipes[to as usize].dead = true;
        }
    }

    /// Drops what is on its way in a direction but for the first `keep` frames; how many are left.
    pub(super) fn truncate(&mut self, id: u64, to: Side, keep: usize) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let pipe = &mut connection.pipes[to as usize];
            pipe.frames.truncate(keep);
            pipe.bytes = pipe.frames.iter().map(Frame::bytes).sum();
        }
    }

    pub(super) fn on_the_way(&self, id: u64, to: Side) -> usize {
        self.connections.get(&id).map_or(0, |connection| connection.pipes[to as usize].frames.len())
    }

    /// Open connections of a peer, oldest first.
    pub(super) fn of(&self, peer: Peer) -> Vec<u64> {
        self.connections.iter().filter(|(_, connection)| connection.peer == peer).map(|(id, _)| *id).collect()
    }

    pub(super) fn timer(&self, id: u64, side: Side, now: u64) -> Timer {
        let Some(connection) = self.connections.get(&id) else { return Timer::Gone };
        let end = &connection.ends[side as usize];
        if !end.open {
            return Timer::Gone;
        }
        let silent_at = end.last_heard + SILENCE_MAX.0;
        let ping_at = end.last_sent + HEARTBEAT_INTERVAL.0;
        if now >= silent_at {
            Timer::Silent
        } else if now >= ping_at {
            Timer::Ping(silent_at.min(now + HEARTBEAT_INTERVAL.0))
        } else {
            Timer::Again(silent_at.min(ping_at))
        }
    }
}
