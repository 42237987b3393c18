//! All that a master can do.

use super::event::{Guard, LinkId};
use crate::store::{Record, query::Query};
use common::{
    AttemptKey, ClientId, ProgramId, UserError,
    id::Digest,
    message::{Alert, Order, RequestId, Status, Stream},
};

/// What to do. Everything is done only after all records made before it are synced.
#[derive(Debug)]
pub(crate) enum Action {
    /// Keep this.
    Record(Record),
    /// Tell a client.
    ToClient(ClientId, Status),
    /// Tell several clients the same.
    ToClients(Vec<ClientId>, Status),
    /// Warn a client.
    AlertClient(ClientId, Alert),
    /// Order a slave.
    ToSlave(LinkId, Order),
    /// Warn a slave.
    AlertSlave(LinkId, Alert),
    /// End a client's connection for this reason.
    CutClient(ClientId, UserError),
    /// End a slave's connection for this reason; none when another one took its place.
    CutSlave(LinkId, Option<UserError>),
    /// Ask a reading thread and hand back the answer.
    Ask { client: ClientId, id: RequestId, query: Query, then: Then },
    /// Append to an output and sync it.
    Append { key: AttemptKey, stream: Stream, offset: u64, bytes: Vec<u8>, guard: Guard },
    /// Remove the output of an attempt that another replaces.
    RemoveOutput(AttemptKey),
    /// Send a slave the next window of an input file, or tell it that there is none.
    SendInput { link: LinkId, digest: Digest, offset: u64 },
    /// Remove an input file that nothing needs.
    RemoveInput(Digest),
}

/// What an answer of a reading thread is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Then {
    /// `List`.
    Page,
    /// `Events`.
    Events,
    /// `Show`.
    Show,
    /// `Why`.
    Why,
    /// `Spec`.
    Spec,
    /// `Again` under this ID.
    Again(ProgramId),
    /// `Wait` for these.
    Wait(Vec<ProgramId>),
    /// `Cancel` these.
    Cancel(Vec<ProgramId>),
    /// `ReadOutput`.
    Output,
    /// `Suspend` these, or `Resume` them.
    Suspend(Vec<ProgramId>, bool),
    /// A request that only a program can get that has not ended.
    Late(ProgramId),
}
