//! PING and PONG: the peer is there, and how long the way takes.

use serde::{Deserialize, Serialize};

/// The body of PING; PONG repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counts up on each side.
    pub sequence: u64,
}
