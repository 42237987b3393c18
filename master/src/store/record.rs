//! What the core wants kept. The store's own types: a change of the core never changes the file by accident.

use common::{
    ClientId, Duration, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp,
    escape::RawText,
    message::{Stream, Tail, status::Event},
    program::State,
    view::{LanguageOffer, Usage},
};
use std::sync::Arc;

/// One thing to keep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// A body that programs refer to by this key.
    Spec {
        /// Its key; grows.
        key: u64,
        /// The body.
        spec: Arc<ProgramSpec>,
        /// Tells whether a repeated submit has the same body.
        hash: [u8; 32],
    },
    /// A program is acknowledged.
    New(NewProgram),
    /// Copies are acknowledged together. None has a row before something else is recorded of it.
    Array(Box<NewArray>),
    /// A program goes on.
    Moved(Moved),
    /// People changed something of a program that has not ended.
    Changed(Changed),
    /// A program has ended; nothing of it changes afterwards.
    Ended(Box<Ended>),
    /// A slave registered.
    SlaveSeen(Box<SlaveSeen>),
    /// A person set a slave aside for this reason, or took it back.
    SlaveAside {
        /// The slave.
        id: SlaveId,
        /// Why; none when it takes programs again.
        reason: Option<String>,
    },
    /// A setting that people changed while the master ran.
    Setting {
        /// Its name.
        name: String,
        /// Its value; none restores the default.
        value: Option<String>,
    },
    /// Something for people to read.
    Event(Event),
    /// Something that was denied, for the audit.
    Denied {
        /// Who tried.
        who: String,
        /// What.
        what: String,
        /// When.
        at: Timestamp,
    },
}

/// A program as it is acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewProgram {
    pub(crate) sequence: u64,
    pub(crate) id: ProgramId,
    pub(crate) spec: u64,
    pub(crate) user: Arc<str>,
    pub(crate) client: ClientId,
    pub(crate) index: u32,
    pub(crate) copies: u32,
    pub(crate) submitted_at: Timestamp,
    /// What stands in the place of its arguments that the body leaves open.
    pub(crate) entry: Option<Arc<RawText>>,
}

/// Copies as they are acknowledged: sequences, IDs and indexes from 0 count up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewArray {
    pub(crate) first: u64,
    pub(crate) id: ProgramId,
    pub(crate) copies: u32,
    pub(crate) spec: u64,
    pub(crate) user: Arc<str>,
    pub(crate) client: ClientId,
    pub(crate) submitted_at: Timestamp,
}

/// What changes in a program's life before its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moved {
    pub(crate) sequence: u64,
    pub(crate) user: Arc<str>,
    pub(crate) was: State,
    pub(crate) state: State,
    pub(crate) attempt: u32,
    pub(crate) slave: Option<SlaveId>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) cancel_by: Option<Arc<str>>,
    /// Attempts so far that ended with the loss of their slave.
    pub(crate) crashes: u32,
}

/// What people change of a program that was accepted. Its body stays what was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) sequence: u64,
    /// How long it may run; none as the body says.
    pub(crate) wall_time: Option<Duration>,
    /// It shall stand still while it runs.
    pub(crate) suspend: bool,
}

/// How a program ended, and what is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) sequence: u64,
    pub(crate) user: Arc<str>,
    pub(crate) was: State,
    pub(crate) attempt: u32,
    pub(crate) slave: Option<SlaveId>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) usage: Option<Usage>,
    /// Bytes of each stream, in the order of `Stream::ALL`.
    pub(crate) bytes: [u64; Stream::COUNT],
    pub(crate) truncated: bool,
    pub(crate) last_line: String,
    /// What did not travel as a stream; everything before is in files.
    pub(crate) tails: [Tail; Stream::COUNT],
}

/// What is remembered of a slave between its connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SlaveSeen {
    pub(crate) id: SlaveId,
    pub(crate) instance: u64,
    pub(crate) languages: Vec<LanguageOffer>,
    pub(crate) slots: u32,
    pub(crate) at: Timestamp,
}
