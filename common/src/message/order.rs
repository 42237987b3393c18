//! What the master orders a slave to do.

use super::data::Stream;
use crate::{
    id::{AttemptKey, Digest},
    program::{ProgramSignal, ProgramSpec, TerminalSize},
    units::Duration,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One attempt that a slave shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The attempt.
    pub key: AttemptKey,
    /// What runs; copies share it in memory.
    pub spec: Arc<ProgramSpec>,
    /// Its number among copies.
    pub index: u32,
    /// What a program may fence its own writes with: grows with each attempt and with each restored history
    /// ([`AttemptKey::fence`]).
    pub fence: u64,
}

/// How far the master has stored a stream, synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUpTo {
    /// Whose output.
    pub key: AttemptKey,
    /// Which stream.
    pub stream: Stream,
    /// Every byte before this one is stored.
    pub offset: u64,
}

/// An order. A slave that does not know the attempt ignores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Run these, in this order, as slots become free.
    Assign(Vec<Assignment>),
    /// Give these back if they have not started; answered by `Report::Withdrawn` or `Report::Started`.
    Withdraw(Vec<AttemptKey>),
    /// Stop these; each ends with `Report::Finished`.
    Cancel {
        /// The attempts.
        keys: Vec<AttemptKey>,
        /// The user who wants it.
        by: String,
    },
    /// These results are committed and synced, or will never be wanted: forget them.
    Acknowledge(Vec<AttemptKey>),
    /// These parts of outputs are stored: forget them and send on.
    Stored(Vec<StoredUpTo>),
    /// Run at most this many at once; those that run already go on.
    SetSlots(u32),
    /// Kill these without a result: another attempt has taken their place.
    Discard(Vec<AttemptKey>),
    /// What the session runs on, after registration.
    Registered {
        /// The slots that the master set.
        slots: u32,
        /// How long the slave may be cut off before it kills its programs: counted from when it sent the last
        /// heartbeat that the master answered.
        lease: Duration,
        /// Which history the master serves. It grows when one is restored from a backup; what a slave holds
        /// of an earlier one is not wanted any more.
        epoch: u32,
    },
    /// Let these stand still: they keep their slots and their time does not run. Answered by `Report::Suspended`.
    Suspend(Vec<AttemptKey>),
    /// Let these go on; answered by `Report::Resumed`.
    Resume(Vec<AttemptKey>),
    /// From now on this attempt may run for so long in all.
    SetWallTime {
        /// The attempt.
        key: AttemptKey,
        /// Since its start, without the time that it was suspended.
        wall_time: Duration,
    },
    /// Send this signal to the program's process group.
    Signal {
        /// The attempt.
        key: AttemptKey,
        /// The signal.
        signal: ProgramSignal,
    },
    /// Live input; answered by `Report::InputTaken` once it is in the program's pipe or terminal.
    Input {
        /// The attempt.
        key: AttemptKey,
        /// Place of the first byte; what the slave has already is skipped.
        offset: u64,
        /// At most `INPUT_CHUNK_BYTES_MAX`.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// Nothing follows.
        end: bool,
    },
    /// The program's terminal has another size now.
    Resize {
        /// The attempt.
        key: AttemptKey,
        /// Its size.
        size: TerminalSize,
    },
    /// The master does not have this input file.
    InputMissing(Digest),
}
