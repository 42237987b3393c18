//! All that can happen to a slave, and all that it can do.

use crate::{
    executor::{AttemptEnd, Control, Stop},
    files::Held,
};
use common::{
    id::{AttemptKey, Digest},
    message::{Assignment, Order, Report, Stream},
    units::{BootTime, Timestamp},
    view::Progress,
};
use std::collections::{BTreeMap, BTreeSet};

/// The moment of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// To show and to report.
    pub wall: Timestamp,
    /// For deadlines.
    pub boot: BootTime,
    /// Whether the connection takes bulk; when much waits to be written it does not.
    pub takes_bulk: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A session began; the registration is to be sent on it now.
    Connected,
    /// The master has answered the heartbeat with this number, on the session on which it was sent.
    HeartbeatAnswered(u64),
    /// The session ended, or an attempt to make one failed.
    Disconnected,
    /// The master orders.
    Order(Order),
    /// A program wrote.
    Output {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place after the last byte.
        end: u64,
    },
    /// Output that was kept cannot be read any more.
    OutputLost {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place of the first byte that is lost; the stream ends there.
        offset: u64,
    },
    /// A program says how far it is.
    Progress {
        /// Which.
        key: AttemptKey,
        /// What it says.
        progress: Progress,
    },
    /// A program stands still, or goes on.
    Suspended {
        /// Which.
        key: AttemptKey,
        /// Whether it stands still.
        suspended: bool,
    },
    /// Live input is in a program's pipe or terminal.
    InputTaken {
        /// Whose.
        key: AttemptKey,
        /// Every byte before this one; the end of the input counts as a byte.
        offset: u64,
    },
    /// So much of an input file is here; or why it cannot be kept.
    InputHeld {
        /// The file.
        digest: Digest,
        /// How much.
        result: Result<Held, String>,
    },
    /// An attempt ended.
    Ended(Box<AttemptEnd>),
    /// An attempt that was handed over runs since then, and goes on for a while.
    Started {
        /// Which.
        key: AttemptKey,
        /// When it was started.
        at: Timestamp,
    },
    /// These were not started, for want of a disk that keeps their start, or were handed over and came back; they are
    /// told nowhere yet.
    NotStarted(Vec<Assignment>),
    /// Whether the slave can take anything new. What runs is not touched.
    Fit(bool),
    /// The slave shall stop, in order.
    Stop,
    /// The deadline has come.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Register with this on the session that began.
    Register(Holdings),
    /// Send a heartbeat with this number.
    Heartbeat(u64),
    /// Programs may run until then, even if nobody can tell them otherwise any more.
    SetLease(BootTime),
    /// The session is of no use: end it and make another.
    Reconnect,
    /// From now on everything belongs to this epoch of the master's history.
    RememberEpoch(u32),
    /// Start this attempt.
    Start(Assignment),
    /// Have this attempt started, in a free slot or in that of another, when everything before it there has ended. It
    /// ends with an event; when it runs for longer than others, [`Event::Started`] tells that it does; and it may come
    /// back by [`Event::NotStarted`].
    HandOver {
        /// The attempt.
        assignment: Assignment,
        /// The last attempt of its slot; none for a free one.
        behind: Option<AttemptKey>,
    },
    /// Give back what was handed over with this attempt and has not started.
    TakeBack(AttemptKey),
    /// Stop this attempt; it ends with an event.
    Stop(AttemptKey, Stop),
    /// Do this to an attempt that runs.
    Control(AttemptKey, Control),
    /// Tell the master.
    Report(Report),
    /// Tell the master the end of an attempt, with the rest of its output.
    ReportFinished(FinishedHead),
    /// Send this part of an output.
    SendOutput {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place of the first byte.
        offset: u64,
        /// How many bytes.
        count: usize,
    },
    /// The master has stored everything before `offset`.
    ForgetBefore {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place of the first byte that is still needed.
        offset: u64,
    },
    /// Look how much of this input file is here, and keep it: answered by `Event::InputHeld`, as each part of it is
    /// that comes.
    LookForInput {
        /// The file.
        digest: Digest,
        /// Its size.
        size: u64,
    },
    /// Nothing needs this input file any more.
    ReleaseInput(Digest),
    /// Nothing of this attempt is needed any more.
    Forget(AttemptKey),
    /// Keep this in the audit: an order was not followed.
    Audit {
        /// Whose order it was, when it was about one attempt.
        key: Option<AttemptKey>,
        /// What was asked and why it was refused.
        text: String,
    },
    /// Everything is done: leave.
    Leave,
}

/// What a slave holds when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Attempts that it has and has not started.
    pub waiting: Vec<AttemptKey>,
    /// Attempts that run, and since when.
    pub running: Vec<(AttemptKey, Timestamp)>,
    /// Of those that run, the ones that stand still.
    pub suspended: Vec<AttemptKey>,
    /// Attempts that ended and are not acknowledged.
    pub finished: Vec<AttemptKey>,
    /// The epoch of the master's history that they belong to; 0 when the slave never registered.
    pub epoch: u32,
}

/// What an earlier start of the agent left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Left {
    /// The epoch of the master's history that it belongs to.
    pub epoch: u32,
    /// Attempts that run or were handed over, since when, and the place after the last byte of each stream.
    pub running: Vec<(AttemptKey, Timestamp, [u64; Stream::COUNT])>,
    /// Of these, the place of the first byte that is kept of each stream, where it is not the first of all.
    pub begins: BTreeMap<AttemptKey, [u64; Stream::COUNT]>,
    /// Of these, the ones that are not known to have started.
    pub handed_over: BTreeSet<AttemptKey>,
    /// Of those that run, the ones that stand still.
    pub suspended: BTreeSet<AttemptKey>,
    /// How much live input those have taken that take any.
    pub inputs: BTreeMap<AttemptKey, u64>,
    /// Attempts that ended, with the first kept byte of each stream and the place after its last.
    pub ended: Vec<(AttemptEnd, [(u64, u64); Stream::COUNT])>,
}

/// A finished attempt; the bytes of the tails are still in the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedHead {
    /// How it ended.
    pub end: AttemptEnd,
    /// Of each stream, in the order of `Stream::ALL`: where the rest begins and how long it is.
    pub tails: [(u64, usize); Stream::COUNT],
}
