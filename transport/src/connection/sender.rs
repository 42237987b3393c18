//! The sending half.

use super::{
    outgoing::{Encoded, Outgoing, Phase},
    shared::{OWN_HEARTBEAT, Shared},
};
use common::{
    ErrorCode, UserError,
    message::{Alert, Heartbeat, Message},
};
use std::sync::Arc;

/// Sends without ever waiting. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
    /// The peer reads too slowly; the connection has been cut.
    #[error("the peer does not read fast enough; the connection is cut")]
    Full,
    /// The message is larger than any peer accepts. The connection goes on.
    #[error("the message is larger than a frame can be")]
    TooLarge,
}

impl From<SendError> for UserError {
    fn from(error: SendError) -> Self {
        let code = match error {
            SendError::Closed | SendError::Full => ErrorCode::ConnectionLost,
            SendError::TooLarge => ErrorCode::RequestInvalid,
        };
        Self::new(code, error.to_string())
    }
}

impl Sender {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues a message. Control messages keep their order among themselves and bulk among itself; control may
    /// overtake bulk.
    ///
    /// # Errors
    /// When the connection is closed, or was cut just now because too much waits for this peer.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.push(&message.into())?;
        self.shared.wake_writer();
        Ok(())
    }

    /// Queues several messages and wakes the writer once.
    ///
    /// # Errors
    /// As [`Self::send`]; the messages before the failing one are queued.
    pub fn send_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), SendError> {
        let result = messages.into_iter().try_for_each(|message| self.push(&message));
        self.shared.wake_writer();
        result
    }

    /// Queues a message that was encoded for several peers.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_encoded(&self, message: &Encoded) -> Result<(), SendError> {
        self.queue(|outgoing| outgoing.push_encoded(message))?;
        self.shared.wake_writer();
        Ok(())
    }

    /// Sends a heartbeat of the caller's own, with a number of the caller's. Unlike for those that the
    /// connection sends by itself, the receiver gives the answer out, as `Message::Pong` with that number.
    /// Numbers grow, and stay below 2^63.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn heartbeat(&self, number: u64) -> Result<(), SendError> {
        self.shared.expect_answer(number);
        self.send(Message::Ping(Heartbeat { sequence: number | OWN_HEARTBEAT }))
    }

    /// Bytes that wait to be written or are being written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.shared.outgoing().queued_bytes()
    }

    /// Resolves when the connection is gone, for whatever reason.
    pub async fn closed(&self) {
        self.shared.gone().await;
    }

    /// Takes nothing new, writes what waits, tells the peer and ends the connection, all in a few seconds at
    /// most; await [`Self::closed`] before the process ends. The receiver sees `Closed`.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Tells the peer why it is refused, and closes. Returns when the connection is gone, in a few seconds at
    /// most. Closing waits until the peer has read the reason or the time is over; ending at once would make the
    /// system drop the reason on the way.
    pub async fn refuse(&self, error: UserError) {
        self.push_last(&Alert::Refused(error).into());
        self.shared.close();
        self.shared.gone().await;
    }

    /// Also when closing has begun. When even this does not fit, the peer does not read, and nobody is told.
    fn push_last(&self, message: &Message) {
        let mut outgoing = self.shared.outgoing();
        if outgoing.phase != Phase::Gone {
            outgoing.push(message).unwrap_or_default();
        }
    }

    fn push(&self, message: &Message) -> Result<(), SendError> {
        self.queue(|outgoing| outgoing.push(message))
    }

    fn queue(&self, push: impl FnOnce(&mut Outgoing) -> Result<(), SendError>) -> Result<(), SendError> {
        let mut outgoing = self.shared.outgoing();
        if outgoing.phase != Phase::Open {
            return Err(SendError::Closed);
        }
        let result = push(&mut outgoing);
        drop(outgoing);
        if result == Err(SendError::Full) {
            tracing::debug!("a peer reads too slowly and is cut");
            self.shared.end();
        }
        result
    }
}
