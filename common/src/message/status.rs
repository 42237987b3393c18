//! STATUS: replies, reports and changes.

use super::request::RequestId;
use crate::{
    id::{AttemptKey, ClientId, Digest, ProgramId, SlaveId},
    outcome::Outcome,
    program::{ProgramSpec, State},
    session::Role,
    units::Timestamp,
    user_error::UserError,
    view::{
        Ceiling, ClientView, Explanation, Isolation, LanguageOffer, ProgramView, Progress, SlaveView, Summary, Usage,
    },
};
use serde::{Deserialize, Serialize};

/// A status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Status {
    /// Answer to `Hello`: the protocol that is spoken from now on.
    Welcome {
        /// The protocol version.
        protocol: u16,
        /// The master's release.
        release: String,
        /// The master's name, for people.
        master: String,
    },
    /// Answer to `Login` and `Resume`.
    LoggedIn {
        /// This connection.
        client: ClientId,
        /// The user's name.
        user: String,
        /// What the user may do.
        role: Role,
        /// Continues the session on the next connection.
        token: super::command::Secret,
    },
    /// Answer to `Enrol`.
    Enrolled {
        /// The slave's ID.
        slave: SlaveId,
        /// Its name.
        name: String,
        /// The chain, DER: the slave's certificate, then the CA's.
        certificates: Vec<serde_bytes::ByteBuf>,
    },
    /// Answer to a request.
    Reply {
        /// The request's number.
        id: RequestId,
        /// The answer.
        result: Result<Reply, UserError>,
    },
    /// A slave reports.
    Report(Report),
    /// What a watching client asked to see has changed.
    Changes(Vec<Change>),
    /// Answer to `Renew`.
    Renewed {
        /// The chain, DER: the slave's next certificate, then the CA's.
        certificates: Vec<serde_bytes::ByteBuf>,
    },
}

/// Answers to the variants of [`super::Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// Committed and synced, one sequence an ID, in the request's order; of `SubmitCopies` only that of the first.
    Submitted {
        /// The programs' places in the history.
        sequences: Vec<u64>,
    },
    /// A page of history.
    Page {
        /// Newest first.
        rows: Vec<ProgramView>,
        /// How many programs match in all.
        total: u64,
    },
    /// One program.
    Program(Box<ProgramView>),
    /// What was submitted.
    Spec(Box<ProgramSpec>),
    /// Output.
    Output {
        /// Place of the first byte.
        offset: u64,
        /// The bytes; empty when there are none yet or none any more.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// The program has ended and no byte follows these.
        end: bool,
    },
    /// All have ended.
    Ended {
        /// Each with its outcome; those of a `Wait` for all are only counted.
        programs: Vec<(ProgramId, Outcome)>,
        /// How many were waited for.
        count: u64,
    },
    /// What became of a cancel, in the request's order.
    Cancelled {
        /// Each program's state after the cancel was committed, or why it was refused.
        results: Vec<Result<State, UserError>>,
    },
    /// Why.
    Why(Explanation),
    /// Everybody who executes, by name.
    Slaves(Vec<SlaveView>),
    /// Everybody who is logged in, oldest first.
    Clients(Vec<ClientView>),
    /// The counts.
    Summary(Summary),
    /// Events, newest first.
    Events(Vec<Event>),
    /// What became of a suspend or resume, in the request's order.
    Changed {
        /// Each program's state afterwards, or why it was refused.
        results: Vec<Result<State, UserError>>,
    },
    /// Live input has reached the program.
    InputTaken {
        /// Every byte before this one.
        offset: u64,
    },
    /// Input files, in the request's order.
    InputsHeld {
        /// Bytes that the master has of each.
        files: Vec<InputHeld>,
    },
}

/// How much the master has of an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputHeld {
    /// All of it, checked.
    Whole,
    /// The first bytes; the next part begins there.
    Part(u64),
}

/// A line of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The slave, user or part that it is about.
    pub subject: String,
    /// What happened.
    pub text: String,
}

/// Something that a watcher sees change. Each carries the whole new row, so a lost or repeated
/// change does no harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A program is new or changed.
    Program(Box<ProgramView>),
    /// More programs changed than fit: ask for the visible page again.
    ManyPrograms,
    /// A slave is new or changed.
    Slave(Box<SlaveView>),
    /// A slave is no longer listed.
    SlaveGone(SlaveId),
    /// A client is new or changed.
    Client(ClientView),
    /// A client left.
    ClientGone(ClientId),
    /// The counts.
    Summary(Summary),
    /// Something happened.
    Event(Event),
}

/// What a slave is and holds, told at each connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Says that the slave remembers: as long as it is the same, what the slave does not tell of it never got.
    /// Made anew at each start of the machine, and whenever the slave's journal is not whole.
    pub instance: u64,
    /// The epoch of the master's history that what it holds belongs to; 0 before the first registration.
    pub epoch: u32,
    /// Slots that it offers.
    pub slots: u32,
    /// What it can run.
    pub languages: Vec<LanguageOffer>,
    /// What it can enforce.
    pub isolation: Isolation,
    /// Operating system and processor count, for people.
    pub machine: String,
    /// Its release.
    pub release: String,
    /// Attempts that it has and has not started.
    pub waiting: Vec<AttemptKey>,
    /// Attempts that run: when each started.
    pub running: Vec<(AttemptKey, Timestamp)>,
    /// Attempts that ended and whose results were not acknowledged; the results follow.
    pub finished: Vec<AttemptKey>,
    /// Of those that run, the ones that stand still.
    pub suspended: Vec<AttemptKey>,
    /// What the slave never exceeds, whatever a program asks for.
    pub ceiling: Ceiling,
}

/// The rest of a stream, in the report of a finished program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Place of the first byte: everything before it was sent as `Data::Output`.
    pub offset: u64,
    /// The bytes; at most `INLINE_OUTPUT_BYTES_MAX`.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// How an attempt ended, with all that is kept of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The attempt.
    pub key: AttemptKey,
    /// How it ended.
    pub outcome: Outcome,
    /// When the program was started; none when it never was.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it used.
    pub usage: Usage,
    /// The rest of each stream, in the order of `Stream::ALL`.
    pub tails: [Tail; super::data::Stream::COUNT],
    /// Whether the output limit cut the output.
    pub output_truncated: bool,
    /// The last line of output, shortened.
    pub last_line: String,
}

/// A slave's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// First after `Welcome`; answered by `Order::Registered`.
    Register(Box<Registration>),
    /// These started.
    Started(Vec<(AttemptKey, Timestamp)>),
    /// These ended; repeated until acknowledged.
    Finished(Vec<Finished>),
    /// These were given back and will not start.
    Withdrawn(Vec<AttemptKey>),
    /// A running program says how far it is.
    Progress {
        /// The attempt.
        key: AttemptKey,
        /// What it says.
        progress: Progress,
    },
    /// Nothing new is wanted: the slave finishes what it has and leaves.
    Draining,
    /// These stand still.
    Suspended(Vec<AttemptKey>),
    /// These go on.
    Resumed(Vec<AttemptKey>),
    /// Live input of a program is in its pipe or terminal.
    InputTaken {
        /// The attempt.
        key: AttemptKey,
        /// Every byte before this one.
        offset: u64,
    },
    /// The next bytes of an input file are wanted: `INPUT_WINDOW_BYTES` as `Data::Input`, or `Order::InputMissing`.
    Fetch {
        /// An attempt that needs it.
        key: AttemptKey,
        /// The file's content.
        digest: Digest,
        /// First byte wanted.
        offset: u64,
    },
    /// The slave did not do what an order said: it is beyond its ceiling, or it cannot.
    Refused {
        /// The attempt.
        key: AttemptKey,
        /// What and why, for people.
        detail: String,
    },
}
