//! DATA: bulk that flows with credit, so that control overtakes it.

use crate::id::{AttemptKey, Digest};
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
    /// Files of the working folder that were asked back, packed as `common::collected` says.
    Files,
}

impl Stream {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All streams.
    pub const ALL: [Self; Self::COUNT] = [Self::Stdout, Self::Stderr, Self::Compile, Self::Files];
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
    /// Master to slave: a part of an input file, as `Report::Fetch` asked for it.
    Input {
        /// The file's content.
        digest: Digest,
        /// Place of the first byte.
        offset: u64,
        /// Bytes of the whole file.
        size: u64,
        /// At most `OUTPUT_CHUNK_BYTES_MAX`.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}
