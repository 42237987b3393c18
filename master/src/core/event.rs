//! All that can happen to a master.

use super::action::Then;
use crate::store::query::{Answer, KnownProgram};
use common::{
    AttemptKey, ClientId, SlaveId, Timestamp, UserError,
    id::Digest,
    message::{Registration, Report, Request, RequestId, Stream},
    session::Role,
    units::BootTime,
    view::ClientKind,
};
use std::{any::Any, sync::Arc};

/// The instant of an event on both clocks. Deadlines use only the second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// The wall clock, which may jump.
    pub(crate) wall: Timestamp,
    /// The clock that never jumps.
    pub(crate) boot: BootTime,
}

/// One connection of a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Lives as long as the bytes that it came with are in memory: gives their room back when dropped.
pub(crate) struct Guard(#[expect(dead_code, reason = "only its drop matters")] pub(crate) Option<Box<dyn Any + Send>>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

/// A client that logged in.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) id: ClientId,
    pub(crate) user: Arc<str>,
    pub(crate) role: Role,
    pub(crate) address: String,
    pub(crate) kind: ClientKind,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client logged in.
    ClientJoined(Joined),
    /// A client's connection is gone.
    ClientLeft(ClientId),
    /// A client asks.
    Request {
        client: ClientId,
        id: RequestId,
        request: Box<Request>,
        /// What the store knows of the IDs of a submit.
        known: Vec<KnownProgram>,
        /// When its session read it.
        received: BootTime,
        /// Room for its bytes until it is handled.
        guard: Guard,
    },
    /// A reading thread answered.
    Answered {
        client: ClientId,
        id: RequestId,
        then: Then,
        answer: Answer,
        /// What the store knows of the ID that a copy shall have.
        known: Vec<KnownProgram>,
    },
    /// A slave was enrolled; another may have lost its name to it.
    SlaveEnrolled { id: SlaveId, name: String, retired: Option<SlaveId> },
    /// A slave told what it is and holds.
    SlaveRegistered { link: LinkId, slave: SlaveId, address: String, registration: Box<Registration> },
    /// A slave reports.
    SlaveReported { link: LinkId, report: Report },
    /// A slave sends output.
    SlaveOutput { link: LinkId, key: AttemptKey, stream: Stream, offset: u64, bytes: Vec<u8>, guard: Guard },
    /// A slave's connection is gone.
    SlaveLeft(LinkId),
    /// Output is synced up to this offset.
    OutputStored { key: AttemptKey, stream: Stream, offset: u64 },
    /// An input file is whole, checked and synced.
    InputKept { digest: Digest, size: u64 },
    /// All records made before [`super::Core::mark`] returned this number are synced.
    Committed(u64),
    /// A slave's identity is good no more.
    SlaveRevoked(SlaveId),
    /// A user was removed or got another password: live connections end.
    UserChanged { user: String, why: UserError },
    /// Whether the store takes submits; why not.
    Storage(Option<UserError>),
    /// The configuration was read again.
    Reconfigured { max_processes: Option<u32>, programs_per_user: usize, fair_share: bool },
    /// The master stops.
    Stopping,
    /// A deadline has come.
    Tick,
}
