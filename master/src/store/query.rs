//! What the reading threads are asked, and what they answer.

use common::{
    AttemptKey, Outcome, ProgramId, ProgramSpec, Timestamp, UserError,
    limits::{OUTPUT_CHUNK_BYTES_MAX, PAGE_ROWS_MAX},
    message::{HistoryQuery, Stream, status::Event},
    view::ProgramView,
};
use std::{collections::BTreeMap, sync::Arc};

/// A question to a reading thread.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Query {
    /// A page of history; `owner` limits it to one user's programs.
    Page {
        /// Which part.
        query: HistoryQuery,
        /// Only this user's.
        owner: Option<Arc<str>>,
    },
    /// Events, newest first.
    Events {
        /// At most this many.
        limit: u32,
        /// Only before this instant.
        before: Option<Timestamp>,
        /// Only about this one; none for all.
        subject: Option<Arc<str>>,
    },
    /// These programs, as far as they exist.
    Programs(Vec<ProgramId>),
    /// How these ended, for a `Wait`.
    Outcomes(Vec<ProgramId>),
    /// A program's body.
    Spec(ProgramId),
    /// Output of a program that ended.
    Output {
        /// The program.
        id: ProgramId,
        /// Which of its streams.
        stream: Stream,
        /// First byte.
        offset: u64,
        /// At most this many bytes.
        bytes_max: u32,
    },
    /// Output of an attempt that runs, of which `end` bytes are stored.
    LiveOutput {
        /// The attempt.
        key: AttemptKey,
        /// Which of its streams.
        stream: Stream,
        /// First byte.
        offset: u64,
        /// At most this many bytes.
        bytes_max: u32,
    },
}

impl Query {
    /// Whether it may take long: such questions have a thread of their own.
    pub(crate) const fn is_long(&self) -> bool {
        matches!(self, Self::Page { .. } | Self::Events { .. })
    }

    /// About how many bytes the answer takes.
    pub(crate) fn answer_bytes(&self) -> usize {
        match self {
            Self::Page { query, .. } => 512 * query.limit.min(PAGE_ROWS_MAX) as usize,
            Self::Events { limit, .. } => 256 * (*limit).min(PAGE_ROWS_MAX) as usize,
            Self::Programs(ids) => 512 * ids.len(),
            Self::Outcomes(ids) => 16 * ids.len(),
            // Most are small, and some far larger.
            Self::Spec(_) => 4 << 10,
            Self::Output { bytes_max, .. } | Self::LiveOutput { bytes_max, .. } => {
                (*bytes_max as usize).min(OUTPUT_CHUNK_BYTES_MAX)
            }
        }
    }
}

/// What a reading thread found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// A page and how many match in all.
    Page(Vec<ProgramView>, u64),
    /// Events.
    Events(Vec<Event>),
    /// The programs, one for each ID asked.
    Programs(Vec<Option<ProgramView>>),
    /// Owner and outcome of those that exist; the outcome is none while it is alive.
    Outcomes(BTreeMap<ProgramId, (String, Option<Outcome>)>),
    /// Body and owner.
    Spec(Option<Box<(ProgramSpec, String)>>),
    /// Owner, offset, bytes, and whether nothing follows.
    Output(Option<StoredOutput>),
    /// It could not be read.
    Failed(UserError),
}

/// A part of an output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredOutput {
    /// Whose program it is; none when the asker was checked before.
    pub(crate) owner: Option<String>,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: bool,
}

/// What is asked about the IDs of a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// There are none.
    Nothing,
    /// Of each of these.
    These(Vec<ProgramId>),
    /// Of the first and the last, and whether any lies between.
    Between(ProgramId, ProgramId),
}

/// A program that the store knows under an ID that a client submits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownProgram {
    pub(crate) id: ProgramId,
    pub(crate) sequence: u64,
    pub(crate) owner: String,
    /// Of its body, and of its entry if it has one ([`crate::core::identity`]).
    pub(crate) identity: [u8; 32],
    pub(crate) index: u32,
    pub(crate) copies: u32,
}
