//! What the checker found, in words.

use common::{ProgramId, program::State};
use std::fmt;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// Acknowledged, and not in the history.
    Lost(ProgramId),
    /// In the history, and nobody submitted it.
    Phantom(ProgramId),
    /// In the history, though its submit was refused.
    AcceptedThoughRefused(ProgramId),
    /// In the history more than once.
    Twice(ProgramId),
    /// Two looks at a final program differ.
    Changed(ProgramId, String),
    /// A client that was told yes did not find its program.
    NotVisible(ProgramId),
    /// Everything was quiet and it had not ended.
    NotEnded(ProgramId, State),
    /// It ended in a way that nothing excuses.
    Unexpected(ProgramId, State, String),
    /// Lost, though a start was left.
    GaveUp {
        /// The program.
        id: ProgramId,
        /// Attempts that there were.
        attempts: u32,
        /// Attempts that it may have.
        allowed: u32,
    },
    /// It ran, and nobody submitted it, or its submit was refused.
    RanUnasked(ProgramId),
    /// Shown as done, and no such attempt came to its end.
    NotWitnessed(ProgramId, u32),
    /// Its output differs from what the attempt printed.
    WrongOutput {
        /// The program.
        id: ProgramId,
        /// The first place that differs.
        place: usize,
        /// Bytes stored.
        stored: usize,
        /// Bytes printed.
        printed: usize,
    },
    /// Started too often.
    TooManyStarts {
        /// The program.
        id: ProgramId,
        /// Starts that the witness tells.
        starts: usize,
        /// Starts that it may have.
        allowed: u32,
    },
    /// Two attempts ran at once, or one attempt twice.
    Overlap {
        /// The program.
        id: ProgramId,
        /// The earlier attempt.
        first: u32,
        /// The later attempt.
        second: u32,
        /// By how many microseconds.
        micros: u64,
    },
    /// A later attempt was not given a greater fence.
    FenceBack(ProgramId, u64, u64),
    /// Something of it ran after it was shown as ended.
    AliveAfterEnd {
        /// The program.
        id: ProgramId,
        /// How it was shown.
        state: State,
        /// By how many microseconds.
        micros: u64,
    },
    /// Too few submits were acknowledged for the run to say anything.
    TooLittle {
        /// Acknowledged.
        acknowledged: usize,
        /// Submitted.
        submitted: usize,
        /// The least share.
        share_min: f64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(id) => write!(f, "{id}: acknowledged, and not in the history"),
            Self::Phantom(id) => write!(f, "{id}: in the history, and nobody submitted it"),
            Self::AcceptedThoughRefused(id) => write!(f, "{id}: in the history, though its submit was refused"),
            Self::Twice(id) => write!(f, "{id}: in the history twice"),
            Self::Changed(id, what) => write!(f, "{id}: changed after its end: {what}"),
            Self::NotVisible(id) => write!(f, "{id}: its own client did not find it after it was acknowledged"),
            Self::NotEnded(id, state) => write!(f, "{id}: still {state} when everything was quiet"),
            Self::Unexpected(id, state, detail) => write!(f, "{id}: {state} without a reason: {detail}"),
            Self::GaveUp { id, attempts, allowed } => {
                write!(f, "{id}: lost after {attempts} attempts, though {allowed} are allowed")
            }
            Self::RanUnasked(id) => write!(f, "{id}: ran, and no submit of it was accepted"),
            Self::NotWitnessed(id, attempt) => write!(f, "{id}: done, and its attempt {attempt} never came to its end"),
            Self::WrongOutput { id, place, stored, printed } => {
                write!(f, "{id}: its output differs at byte {place} ({stored} bytes stored, {printed} printed)")
            }
            Self::TooManyStarts { id, starts, allowed } => {
                write!(f, "{id}: started {starts} times, {allowed} are allowed")
            }
            Self::Overlap { id, first, second, micros } => {
                write!(f, "{id}: attempts {first} and {second} ran at once for {micros} µs")
            }
            Self::FenceBack(id, earlier, later) => write!(f, "{id}: the fence went from {earlier} to {later}"),
            Self::AliveAfterEnd { id, state, micros } => {
                write!(f, "{id}: wrote {micros} µs after it was shown as {state}")
            }
            Self::TooLittle { acknowledged, submitted, share_min } => {
                write!(f, "{acknowledged} of {submitted} submits were acknowledged, less than {share_min}")
            }
        }
    }
}

/// The judgement of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Programs that clients tried to submit.
    pub submitted: usize,
    /// Of these, answered with yes.
    pub acknowledged: usize,
    /// Refused by name.
    pub refused: usize,
    /// Never answered.
    pub unknown: usize,
    /// Never answered, and in the history all the same.
    pub recovered: usize,
    /// Attempts after the first.
    pub reruns: usize,
    /// Rows that are done.
    pub done: usize,
    /// Rows that failed.
    pub failed: usize,
    /// Rows that were cancelled.
    pub cancelled: usize,
    /// Rows that are lost.
    pub lost: usize,
    /// The rules that were broken.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether every rule holds.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} submitted: {} acknowledged, {} refused, {} unknown ({} recovered); {} done, {} failed, {} cancelled, \
             {} lost; {} reruns; {} violations",
            self.submitted,
            self.acknowledged,
            self.refused,
            self.unknown,
            self.recovered,
            self.done,
            self.failed,
            self.cancelled,
            self.lost,
            self.reruns,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(40) {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}
