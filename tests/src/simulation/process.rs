//! What is inside the master's process while it runs, and dies with it.

use super::{Bug, context::Context, network::Side};
use common::{
    AttemptKey, ClientId, ErrorCode, ProgramId, UserError,
    message::{Message, Order, Report, Request, Stream},
};
use master::simulation::{Effect, Input, Kept, Master, Moment, Question};
use std::collections::{BTreeMap, VecDeque};

/// Inputs that one turn of the loop takes.
const INPUTS_AT_ONCE_MAX: usize = 64;

#[derive(Debug)]
pub(super) enum Session {
    Slave { registered: bool, slave: usize },
    Client(ClientId),
}

pub(super) enum Job {
    Append { key: AttemptKey, stream: Stream, offset: u64, bytes: Vec<u8> },
    Remove(AttemptKey),
}

pub(super) struct InFlight {
    pub(super) batch: Vec<Kept>,
    pub(super) effects: Vec<Effect>,
    pub(super) mark: u64,
}

pub(super) struct Running {
    pub(super) master: Master,
    pub(super) inbox: VecDeque<Input>,
    pub(super) turn_at: Option<u64>,
    pub(super) pending: Vec<Effect>,
    pub(super) in_flight: Option<InFlight>,
    /// Batches that were called synced and are not; only with a planted bug.
    pub(super) unsynced: VecDeque<Vec<Kept>>,
    pub(super) retry: bool,
    pub(super) refuses: bool,
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) clients: BTreeMap<ClientId, u64>,
    pub(super) questions: VecDeque<Question>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) stopping: bool,
    /// The newest attempt of each program; only for a planted bug.
    pub(super) newest: BTreeMap<ProgramId, u32>,
}

impl Running {
    pub(super) fn new(master: Master) -> Self {
        Self {
            master,
            inbox: VecDeque::new(),
            turn_at: None,
            pending: Vec::new(),
            in_flight: None,
            unsynced: VecDeque::new(),
            retry: false,
            refuses: false,
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            questions: VecDeque::new(),
            jobs: VecDeque::new(),
            stopping: false,
            newest: BTreeMap::new(),
        }
    }

    /// Takes what has arrived and lets the core decide.
    pub(super) fn turn(&mut self, moment: Moment) {
        let count = self.inbox.len().min(INPUTS_AT_ONCE_MAX);
        if count == 0 {
            self.master.handle(Input::Tick, moment);
            self.master.check_invariants();
        }
        for input in self.inbox.drain(..count) {
            self.master.handle(input, moment);
            self.master.check_invariants();
        }
        self.pending.extend(self.master.settle(moment));
        self.master.check_invariants();
    }

    pub(super) fn set_storage(&mut self, refuses: bool, moment: Moment) {
        if std::mem::replace(&mut self.refuses, refuses) != refuses {
            self.master.handle(Input::Storage(refuses.then(full)), moment);
        }
    }

    pub(super) fn to_client(&self, client: ClientId, message: Message, ctx: &mut Context) {
        if let Some(connection) = self.clients.get(&client) {
            ctx.send(*connection, Side::Master, message);
        }
    }

    /// A planted bug presents a report of an old attempt as one of the newest.
    pub(super) fn present(&self, mut report: Report, bug: Option<Bug>) -> Report {
        if let (Some(Bug::StaleFence), Report::Finished(finished)) = (bug, &mut report) {
            for finished in finished {
                if let Some(newest) = self.newest.get(&finished.key.program) {
                    finished.key.attempt = *newest;
                }
            }
        }
        report
    }
}

pub(super) fn short(order: &Order) -> String {
    if let Order::Assign(assignments) = order { format!("assign {}", assignments.len()) } else { format!("{order:?}") }
}

pub(super) fn full() -> UserError {
    UserError::new(ErrorCode::StorageFull, "the master's disk is full; nothing was accepted")
}

/// Whether a request needs a record, as the event loop decides while the disk is full.
pub(super) const fn needs_record(request: &Request) -> bool {
    matches!(
        request,
        Request::Submit { .. }
            | Request::SubmitCopies { .. }
            | Request::SubmitEntries { .. }
            | Request::Cancel { .. }
            | Request::SetMaxProcesses { .. }
            | Request::SetPolicy(_)
            | Request::Again { .. }
            | Request::SetAside { .. }
            | Request::TakeBack { .. }
    )
}
