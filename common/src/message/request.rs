//! What a client may ask.

use super::data::Stream;
use crate::{
    escape::RawText,
    id::{Digest, ProgramId},
    program::{ProgramSignal, ProgramSpec, State, TerminalSize},
    units::{Duration, Timestamp},
    view::Policy,
};
use serde::{Deserialize, Serialize};

/// A number that ties a reply to its request on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u32);

/// Which part of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// Only these states; empty is all.
    pub states: Vec<State>,
    /// Only programs whose name, language, slave, user or ID contains this text, in any case.
    pub search: String,
    /// Only programs of the asking user.
    pub mine: bool,
    /// Only programs acknowledged before this sequence; none begins with the newest.
    pub before: Option<u64>,
    /// Skip this many rows: a table that jumps to its middle. Prefer `before`.
    pub skip: u64,
    /// Rows wanted, at most `PAGE_ROWS_MAX`.
    pub limit: u32,
}

/// A client's request. Who may ask what stands in the master's permission table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Accept these programs: `ids[n]` is copy `first_index + n` of `copies`.
    /// A repeat with the same body is acknowledged again; with another body it is refused.
    /// Answered by `Reply::Submitted` once all are committed and synced.
    Submit {
        /// The programs' IDs, made by the client; at most `COPIES_PER_REQUEST_MAX`.
        ids: Vec<ProgramId>,
        /// Index of the first.
        first_index: u32,
        /// Copies in all requests of this submit together.
        copies: u32,
        /// What runs.
        spec: Box<ProgramSpec>,
    },
    /// A page of history, newest first; `Reply::Page`.
    List(HistoryQuery),
    /// One program; `Reply::Program`.
    Show {
        /// The program.
        id: ProgramId,
    },
    /// What was submitted, to edit it or to run it again; `Reply::Spec`.
    Spec {
        /// The program.
        id: ProgramId,
    },
    /// Output from `offset`; `Reply::Output`.
    ReadOutput {
        /// The program.
        id: ProgramId,
        /// Which of its streams.
        stream: Stream,
        /// First byte wanted.
        offset: u64,
        /// At most this many bytes; at most `OUTPUT_CHUNK_BYTES_MAX` are sent.
        bytes_max: u32,
        /// Answer only when there is a byte after `offset` or the program has ended.
        follow: bool,
    },
    /// Answer `Reply::Ended` when all of these have ended.
    Wait {
        /// The programs; empty means all that the user may see and that have not ended now.
        ids: Vec<ProgramId>,
    },
    /// Stop these; `Reply::Cancelled`.
    Cancel {
        /// The programs.
        ids: Vec<ProgramId>,
    },
    /// Why it waits, or ended as it did; `Reply::Why`.
    Why {
        /// The program.
        id: ProgramId,
    },
    /// Everybody who executes; `Reply::Slaves`.
    Slaves,
    /// Everybody who is logged in; `Reply::Clients`.
    Clients,
    /// The counts; `Reply::Summary`.
    Summary,
    /// Set how many programs may run at once; `Reply::Ok`.
    SetMaxProcesses {
        /// The slave by name; none sets every slave.
        slave: Option<String>,
        /// The number, 0 (nothing new starts) to `SLOTS_MAX`.
        slots: u32,
    },
    /// Set how waiting programs are ordered; `Reply::Ok`.
    SetPolicy(Policy),
    /// From now on send `Status::Changes` for what is chosen; replaces the earlier choice. `Reply::Ok`.
    Watch {
        /// Rows of programs that change, and the summary.
        programs: bool,
        /// Slaves.
        slaves: bool,
        /// Clients.
        clients: bool,
    },
    /// End this session for ever: its token is forgotten. `Reply::Ok`.
    Logout,
    /// Events of the master, newest first; `Reply::Events`.
    Events {
        /// At most this many.
        limit: u32,
        /// Only before this instant.
        before: Option<Timestamp>,
    },
    /// The same program once more under a new ID; `Reply::Submitted`.
    Again {
        /// The program to repeat.
        id: ProgramId,
        /// The ID of the new one, made by the client.
        new_id: ProgramId,
    },
    /// Give a slave nothing new: it finishes what it has; `Reply::Ok`.
    SetAside {
        /// The slave by name.
        slave: String,
        /// Why, for people.
        reason: String,
    },
    /// Give a slave programs again, whoever set it aside; `Reply::Ok`.
    TakeBack {
        /// The slave by name.
        slave: String,
    },
    /// Let running programs stand still; `Reply::Changed`.
    Suspend {
        /// The programs.
        ids: Vec<ProgramId>,
    },
    /// Let suspended programs go on; `Reply::Changed`.
    Resume {
        /// The programs.
        ids: Vec<ProgramId>,
    },
    /// Change how long a program may run, whether it waits or runs; `Reply::Ok`.
    SetWallTime {
        /// The program.
        id: ProgramId,
        /// Since its start, without the time that it was suspended.
        wall_time: Duration,
    },
    /// Live input for a program; `Reply::InputTaken` once the program's pipe or terminal has it.
    Input {
        /// The program.
        id: ProgramId,
        /// Place of the first byte in all of its live input; a repeat is harmless.
        offset: u64,
        /// At most `INPUT_CHUNK_BYTES_MAX`.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// Nothing follows.
        end: bool,
    },
    /// The terminal of a program has another size now; `Reply::Ok`.
    Resize {
        /// The program.
        id: ProgramId,
        /// Its size.
        size: TerminalSize,
    },
    /// Send a signal to a running program; `Reply::Ok`.
    Signal {
        /// The program.
        id: ProgramId,
        /// The signal.
        signal: ProgramSignal,
    },
    /// How much the master has of these input files; `Reply::InputsHeld`.
    InputsHeld {
        /// At most `INPUT_FILES_MAX`.
        digests: Vec<Digest>,
    },
    /// A part of an input file, in order; `Reply::InputsHeld` with one entry once it is kept.
    PutInput {
        /// The whole file's content.
        digest: Digest,
        /// Bytes of the whole file.
        size: u64,
        /// Place of the first byte: how much the master has.
        offset: u64,
        /// At most 1 MiB.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Accept `copies` programs of one body at once: copy `n` has the ID `first.nth(n)` and the index `n`.
    /// All or nothing; a repeat of the whole is acknowledged again, anything else that has one of these IDs is a
    /// conflict. Answered by `Reply::Submitted` with the sequence of the first: those of the others follow it.
    SubmitCopies {
        /// The first one's ID, made by the client, with room for the others after it.
        first: ProgramId,
        /// 1 to `COPIES_MAX`.
        copies: u32,
        /// What runs.
        spec: Box<ProgramSpec>,
    },
    /// Accept one program for each entry, a part of a submit that may be of any length: entry `k` has the index
    /// `first_index + k` and the ID `first.nth` of that. Its arguments are those of `ProgramSpec::with_entry`.
    /// Otherwise as `Submit`: all of the part or nothing, a repeat is harmless.
    SubmitEntries {
        /// The ID of index 0 of the whole submit, made by the client, with room for the others after it.
        first: ProgramId,
        /// Index of the first entry of this part.
        first_index: u32,
        /// Programs of all parts together; 0 when that is not known yet.
        copies: u32,
        /// What runs; its arguments are a template.
        spec: Box<ProgramSpec>,
        /// At most `ENTRIES_PER_REQUEST_MAX`, each of at most `ENTRY_BYTES_MAX`.
        #[serde(deserialize_with = "crate::bounded::items")]
        entries: Vec<RawText>,
    },
}
