//! What is said about steps that a keeper runs one after another.

use super::{Ended, NotStarted, Step};
use common::units::{Duration, Timestamp};
use serde::{Deserialize, Serialize};

/// Steps for [`super::ToKeeper::Queue`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Queue {
    /// In the order in which they start. There may be none.
    pub steps: Vec<QuickStep>,
    /// A descriptor of a working folder comes along, new and empty. All steps that start from now on have it, one
    /// after another, as long as nobody touches it.
    pub folder: bool,
    /// The agent has kept every end up to that of this number, and read dry the pipes of what outlived: the keeper
    /// forgets them. Steps that come before the end of the last one that outlived is kept are given back at once.
    pub kept: u64,
}

/// A step of a queue: a command without standard input, terminal and network. No descriptors of its own come along.
#[derive(Debug, Serialize, Deserialize)]
pub struct QuickStep {
    /// Grows from step to step for as long as the keeper lives, and is never used again; from 1.
    pub number: u64,
    /// What is started.
    pub step: Step,
}

/// What is done to a step of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// As [`super::ToKeeper::Cancel`]. One that is queued is taken out, and its end is [`QuickResult::Dropped`].
    Cancel {
        /// Time between the two.
        grace: Duration,
        /// Why, as the agent wants to know it again.
        note: Vec<u8>,
    },
    /// As [`super::ToKeeper::Kill`]. One that is queued is taken out, and its end is [`QuickResult::Dropped`].
    Kill {
        /// Why, as the agent wants to know it again.
        note: Vec<u8>,
    },
    /// As [`super::ToKeeper::Suspend`], answered by [`super::FromKeeper::QuickSuspended`]. One that is queued stands still from its
    /// start on.
    Suspend,
    /// As [`super::ToKeeper::Resume`], answered by [`super::FromKeeper::QuickSuspended`].
    Resume,
    /// As [`super::ToKeeper::SetWallTime`]; for one that is queued as well.
    SetWallTime(Duration),
    /// As [`super::ToKeeper::Signal`]; nothing for one that is queued.
    Signal(i32),
}

/// What a keeper holds of a queue. A step that is not told here, and whose end nobody said to have kept, was not
/// started and will not be: it never came. Descriptors come along: the working folder when `folder` says so, then the reading
/// ends of standard output and error when `pipes` says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickState {
    /// Ends that nobody has said to have kept, and what was given back likewise.
    pub ends: Vec<HeldEnd>,
    /// What runs. It has outlived [`super::QUICK`], or counts as if it had.
    pub running: Option<QuickRunning>,
    /// What will start, in order: number and tag. Nothing as long as something runs: it was given back.
    pub waiting: Vec<(u64, Vec<u8>)>,
    /// There is a working folder: that of what outlived last and is not kept (which may still run), or else the one
    /// that the next step would have.
    pub folder: bool,
    /// There are pipes, likewise.
    pub pipes: bool,
    /// Nothing starts before another working folder comes.
    pub wants_folder: bool,
    /// The highest number that it was given.
    pub last: u64,
}

/// A step of a queue that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickRunning {
    /// Which.
    pub number: u64,
    /// The step's tag.
    pub tag: Vec<u8>,
    /// Why it is being ended; empty when it is not.
    pub note: Vec<u8>,
    /// It stands still.
    pub suspended: bool,
    /// When it was started.
    pub started: Timestamp,
}

/// An end with what an agent needs to know whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldEnd {
    /// The step's tag.
    pub tag: Vec<u8>,
    /// Why it was ended; empty when it was not.
    pub note: Vec<u8>,
    /// How it ended.
    pub end: QuickEnd,
}

/// How a step of a queue ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickEnd {
    /// Which.
    pub number: u64,
    /// How.
    pub result: QuickResult,
    /// When it was started, or could not be.
    pub started: Timestamp,
    /// All that it wrote to standard output; empty when it outlived [`super::QUICK`], as the agent has the pipe then.
    #[serde(with = "serde_bytes")]
    pub output: Vec<u8>,
    /// All that it wrote to standard error, likewise.
    #[serde(with = "serde_bytes")]
    pub error: Vec<u8>,
    /// It has, or may have, changed its working folder, which is the agent's again: nothing starts before another one
    /// comes. Else the folder is surely as it was, and goes to the next step.
    pub touched: bool,
}

/// What became of a step of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuickResult {
    /// The program and everything that it started are gone.
    Ended(Ended),
    /// It could not be started.
    NotStarted(NotStarted),
    /// It was taken out of the queue, before it started.
    Dropped,
    /// It was given back, before it started. Only among what is held: the agent is told otherwise.
    Returned,
}
