//! DATA: bulk that flows with credit, so that control overtakes it.

use crate::id::AttemptKey;
use serde::{Deserialize, Serialize};

/// A stream of bytes that a program makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What the compiler or syntax check printed.
    Compile,
}

impl Stream {
    /// All streams.
    pub const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Compile];
}

/// Bulk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// Slave to master: bytes of a running program's output.
    Output {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place of the first byte in the stream.
        offset: u64,
        /// At most `OUTPUT_CHUNK_BYTES_MAX`.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}
