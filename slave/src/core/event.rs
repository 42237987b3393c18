//! All that can happen to a slave, and all that it can do.

use crate::executor::{AttemptEnd, Stop};
use common::{
    id::AttemptKey,
    message::{Assignment, Order, Report, Stream},
    units::{BootTime, Timestamp},
    view::Progress,
};

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
    /// An attempt ended.
    Ended(Box<AttemptEnd>),
    /// The slave shall stop, in order.
    Stop,
    /// The deadline has come.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this attempt.
    Start(Assignment),
    /// Stop this attempt; it ends with an event.
    Stop(AttemptKey, Stop),
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
    /// Nothing of this attempt is needed any more.
    Forget(AttemptKey),
    /// Everything is done: leave.
    Leave,
}

/// A finished attempt; the bytes of the tails are still in the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedHead {
    /// How it ended.
    pub end: AttemptEnd,
    /// Of each stream, in the order of `Stream::ALL`: where the rest begins and how long it is.
    pub tails: [(u64, usize); 3],
}
