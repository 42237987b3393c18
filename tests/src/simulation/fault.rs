//! What goes wrong in a run: kinds of faults, and the schedule that a seed makes of them.

use super::{
    context::SECOND,
    network::{Peer, Side},
    rng::Rng,
};

/// Something that goes wrong, and how long it lasts in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The master's process is killed and started again.
    MasterKilled {
        down: u64,
    },
    /// The same, while a batch is on its way to the disk.
    MasterKilledInCommit {
        down: u64,
    },
    /// The master's machine loses power.
    MasterWithoutPower {
        down: u64,
    },
    /// The master is asked to stop, and started again.
    MasterStopped {
        down: u64,
    },
    /// The master's process is stopped (SIGSTOP) and goes on.
    MasterPaused {
        length: u64,
    },
    DiskFull {
        length: u64,
    },
    DiskSlow {
        length: u64,
    },
    /// A sync of the disk fails.
    SyncFails {
        down: u64,
    },
    AgentKilled {
        slave: usize,
        down: u64,
    },
    MachineCrashed {
        slave: usize,
        down: u64,
    },
    /// The disk of a slave takes nothing.
    SlaveDiskFull {
        slave: usize,
        length: u64,
    },
    AgentStopped {
        slave: usize,
        down: u64,
    },
    AgentPaused {
        slave: usize,
        length: u64,
    },
    ClientKilled {
        client: usize,
        down: u64,
    },
    /// Nothing comes through in one direction.
    CutOneWay {
        peer: Peer,
        to: Side,
        length: u64,
    },
    /// Nothing comes through.
    Cut {
        peer: Peer,
        length: u64,
    },
    Slow {
        peer: Peer,
        way: u64,
        length: u64,
    },
    /// The connection ends at once, with what was on its way or a part of it.
    Reset {
        peer: Peer,
    },
    /// Only one end learns that the connection has ended.
    HalfOpen {
        peer: Peer,
        knows: Side,
    },
    /// Frames that were sent before come again.
    Replayed {
        slave: usize,
    },
    MasterClockJumps {
        micros: i64,
    },
    SlaveClockJumps {
        slave: usize,
        micros: i64,
    },
}

/// A kind of fault that a seed may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    MasterKilled,
    MasterKilledInCommit,
    MasterWithoutPower,
    MasterStopped,
    MasterPaused,
    DiskFull,
    DiskSlow,
    SyncFails,
    AgentKilled,
    MachineCrashed,
    SlaveDiskFull,
    AgentStopped,
    AgentPaused,
    ClientKilled,
    CutOneWay,
    Cut,
    Slow,
    Reset,
    HalfOpen,
    Replayed,
    ClockJumps,
}

/// Every class of faults that runs. A class that finds something that is not mended yet is taken out here, with
/// the reason beside it.
const CLASSES: &[Class] = &[
    Class::MasterKilled,
    Class::MasterKilledInCommit,
    Class::MasterWithoutPower,
    Class::MasterStopped,
    Class::MasterPaused,
    Class::DiskFull,
    Class::DiskSlow,
    Class::SyncFails,
    Class::AgentKilled,
    Class::MachineCrashed,
    Class::SlaveDiskFull,
    Class::AgentStopped,
    Class::AgentPaused,
    Class::ClientKilled,
    Class::CutOneWay,
    Class::Cut,
    Class::Slow,
    Class::Reset,
    Class::HalfOpen,
    Class::Replayed,
    Class::ClockJumps,
];

/// A fault and when it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) at: u64,
    pub(super) fault: Fault,
}

/// The faults of one run. Each run has only some classes, so that runs differ.
pub(super) fn schedule(rng: &mut Rng, until: u64, slaves: usize, clients: usize) -> Vec<Planned> {
    let count = rng.between(1, 6);
    let mut chosen: Vec<Class> = Vec::new();
    for _ in 0..count {
        chosen.extend(rng.pick(CLASSES));
    }
    let faults = rng.between(0, 9);
    let mut planned: Vec<Planned> = (0..faults)
        .filter_map(|_| {
            let class = *rng.pick(&chosen)?;
            let at = rng.between(0, until);
            Some(Planned { at, fault: make(class, rng, slaves, clients) })
        })
        .collect();
    if rng.chance(30) {
        // Cheap, and found seldom by chance alone.
        let slave = usize::try_from(rng.next() % slaves.max(1) as u64).unwrap_or(0);
        let replays = (0..8).map(|_| Planned { at: rng.between(0, until), fault: Fault::Replayed { slave } });
        planned.extend(replays.collect::<Vec<_>>());
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

/// Often shorter than a lease, sometimes longer.
fn length(rng: &mut Rng) -> u64 {
    match rng.between(0, 9) {
        0..=3 => rng.between(SECOND / 10, 5 * SECOND),
        4..=7 => rng.between(5 * SECOND, 40 * SECOND),
        _ => rng.between(40 * SECOND, 110 * SECOND),
    }
}

fn make(class: Class, rng: &mut Rng, slaves: usize, clients: usize) -> Fault {
    let any = |rng: &mut Rng, count: usize| usize::try_from(rng.next() % count.max(1) as u64).unwrap_or(0);
    let slave = any(rng, slaves);
    let client = any(rng, clients);
    let peer = if rng.chance(75) { Peer::Slave(slave) } else { Peer::Client(client) };
    let to = if rng.chance(50) { Side::Master } else { Side::Peer };
    let down = if rng.chance(80) { rng.between(SECOND / 2, 10 * SECOND) } else { rng.between(10, 80) * SECOND };
    let length = length(rng);
    match class {
        Class::MasterKilled => Fault::MasterKilled { down },
        Class::MasterKilledInCommit => Fault::MasterKilledInCommit { down },
        Class::MasterWithoutPower => Fault::MasterWithoutPower { down },
        Class::MasterStopped => Fault::MasterStopped { down },
        Class::MasterPaused => Fault::MasterPaused { length },
        Class::DiskFull => Fault::DiskFull { length },
        Class::DiskSlow => Fault::DiskSlow { length },
        Class::SyncFails => Fault::SyncFails { down },
        Class::AgentKilled => Fault::AgentKilled { slave, down },
        Class::MachineCrashed => Fault::MachineCrashed { slave, down },
        Class::SlaveDiskFull => Fault::SlaveDiskFull { slave, length },
        Class::AgentStopped => Fault::AgentStopped { slave, down },
        Class::AgentPaused => Fault::AgentPaused { slave, length },
        Class::ClientKilled => Fault::ClientKilled { client, down },
        Class::CutOneWay => Fault::CutOneWay { peer, to, length },
        Class::Cut => Fault::Cut { peer, length },
        Class::Slow => Fault::Slow { peer, way: rng.between(20_000, 3 * SECOND), length },
        Class::Reset => Fault::Reset { peer },
        Class::HalfOpen => Fault::HalfOpen { peer, knows: to },
        Class::Replayed => Fault::Replayed { slave },
        Class::ClockJumps => {
            let year = 365 * 86_400 * SECOND.cast_signed();
            let hour = 3_600 * SECOND.cast_signed();
            let micros = *rng.pick(&[year, -year, hour, -hour, -1]).unwrap_or(&hour);
            if rng.chance(50) { Fault::MasterClockJumps { micros } } else { Fault::SlaveClockJumps { slave, micros } }
        }
    }
}

/// The order of directions does not matter to what is cut.
pub(super) const BOTH: [Side; 2] = [Side::Master, Side::Peer];
