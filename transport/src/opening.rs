//! What a dialler says without waiting to be answered: it leaves in one flight with the end of its TLS handshake.

use crate::clock;
use common::{limits::FRAME_DATA_BYTES_MAX_BEFORE_LOGIN, message::Message};

/// Bytes of all frames of an opening: what a master holds of a peer that it does not know yet.
const OPENING_BYTES_MAX: usize = FRAME_DATA_BYTES_MAX_BEFORE_LOGIN;

/// The first messages of a connection, encoded before there is one. Nothing of them leaves before the peer has proved
/// to be the pinned master.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opening {
    bytes: Vec<u8>,
    full: bool,
}

// What it holds is a login, which belongs into no log.
impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("bytes", &self.bytes.len()).field("full", &self.full).finish()
    }
}

impl Opening {
    /// Adds a message behind the others. False when it does not fit any more: then it has to be sent over the
    /// connection, and so has everything after it, or the order would change.
    #[must_use]
    pub fn push(&mut self, message: &Message) -> bool {
        if self.full {
            return false;
        }
        let before = self.bytes.len();
        message.encode(clock::now(), &mut self.bytes);
        self.full = self.bytes.len() > OPENING_BYTES_MAX;
        if self.full {
            self.bytes.truncate(before);
        }
        !self.full
    }

    /// Nothing more fits: it has been handed on.
    pub fn close(&mut self) {
        self.bytes = Vec::new();
        self.full = true;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::message::Heartbeat;

    #[test]
    fn what_does_not_fit_and_all_after_it_is_given_back() {
        let mut opening = Opening::default();
        let ping = |sequence| Message::Ping(Heartbeat { sequence });
        let large = common::message::Alert::Notice { text: "x".repeat(OPENING_BYTES_MAX) }.into();
        assert!(opening.push(&ping(1)));
        let before = opening.clone();
        assert!(!opening.push(&large));
        assert_eq!(opening.bytes(), before.bytes());
        assert!(!opening.push(&ping(2)), "a small one does not overtake the large one");
        assert_eq!(opening.bytes(), before.bytes());
    }
}
