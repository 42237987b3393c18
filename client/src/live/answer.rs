//! An answer that comes later, for a thread that polls.

use common::{ErrorCode, UserError, message::Reply};
use tokio::sync::oneshot;

/// The other end of an [`Answer`]. Dropped without an answer, it gives `E-CONNECTION-LOST`.
#[derive(Debug)]
pub(super) struct Sender(oneshot::Sender<Result<Reply, UserError>>);

impl Sender {
    pub(super) fn send(self, result: Result<Reply, UserError>) {
        // The window may have stopped waiting, which is its right.
        drop(self.0.send(result));
    }
}

/// An answer that comes later. Dropping it means that nobody wants it any more; the request is sent all the same.
#[derive(Debug)]
pub struct Answer(Option<oneshot::Receiver<Result<Reply, UserError>>>);

pub(super) fn new() -> (Sender, Answer) {
    let (sender, receiver) = oneshot::channel();
    (Sender(sender), Answer(Some(receiver)))
}

impl Answer {
    /// The answer once it is here; after it was taken, none for ever. Never waits.
    pub fn poll(&mut self) -> Option<Result<Reply, UserError>> {
        let answer = match self.0.as_mut()?.try_recv() {
            Ok(answer) => answer,
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => Err(session_ended()),
        };
        self.0 = None;
        Some(answer)
    }

    /// Waits for the answer; for tests and threads that may wait.
    ///
    /// # Errors
    /// What the master answered, or `E-CONNECTION-LOST`, also when the answer was already taken.
    pub fn wait(self) -> Result<Reply, UserError> {
        self.0.and_then(|receiver| receiver.blocking_recv().ok()).unwrap_or_else(|| Err(session_ended()))
    }
}

pub(super) fn session_ended() -> UserError {
    UserError::new(ErrorCode::ConnectionLost, "the session ended before the answer came")
}
