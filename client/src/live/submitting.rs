//! A submit that a window watches: it goes through reconnections and a busy master.

use super::answer::session_ended;
use crate::{
    connection::{Client, lost},
    submit::Submission,
};
use common::{ErrorCode, ProgramId, ProgramSpec, UserError};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::{Notify, oneshot, watch};

/// Connections in a row that may be lost without bringing a submit forward: then it is no accident, and
/// sending it again would never end.
const LOSSES_MAX: u32 = 5;

/// The connection of the moment.
#[derive(Clone, Default)]
pub(super) struct Current {
    /// The round that it belongs to: each `connect` and `disconnect` of the window begins another.
    pub(super) round: u64,
    pub(super) client: Option<Client>,
}

/// What was acknowledged, in the order of the copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The programs.
    pub ids: Vec<ProgramId>,
    /// Their places in the history.
    pub sequences: Vec<u64>,
}

/// A submit on its way.
#[derive(Debug)]
pub struct SubmitAnswer {
    receiver: Option<oneshot::Receiver<Result<Submitted, UserError>>>,
    acknowledged: Arc<AtomicU32>,
    count: u32,
}

/// The session's end of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: ProgramSpec,
    pub(super) count: u32,
    pub(super) acknowledged: Arc<AtomicU32>,
    sender: oneshot::Sender<Result<Submitted, UserError>>,
}

pub(super) fn new(spec: ProgramSpec, count: u32) -> (Job, SubmitAnswer) {
    let (sender, receiver) = oneshot::channel();
    let acknowledged = Arc::new(AtomicU32::new(0));
    let job = Job { spec, count, acknowledged: Arc::clone(&acknowledged), sender };
    (job, SubmitAnswer { receiver: Some(receiver), acknowledged, count })
}

impl Job {
    /// Submits over whatever connection there is, until the end.
    pub(super) async fn run(self, current: watch::Receiver<Current>, signal: Arc<Notify>) {
        let result = self.submit(current).await;
        self.end(result);
        signal.notify_one();
    }

    async fn submit(&self, mut current: watch::Receiver<Current>) -> Result<Submitted, UserError> {
        let mut submission = Submission::new(self.spec.clone(), self.count)?;
        let round = current.borrow().round;
        let mut losses = 0;
        loop {
            let now = current
                .wait_for(|current| current.client.is_some() || current.round != round)
                .await
                .map_err(|_| session_ended())?
                .clone();
            let Some(client) = now.client.filter(|_| now.round == round) else {
                return Err(lost(
                    "the session was closed before the master acknowledged the submit; \
                                 the history shows whether it was accepted",
                ));
            };
            let before = submission.acknowledged();
            let acknowledged = &self.acknowledged;
            let sent = submission.send(&client, |submission| {
                let count = u32::try_from(submission.acknowledged()).unwrap_or(u32::MAX);
                acknowledged.store(count, Ordering::Relaxed);
            });
            match sent.await {
                Ok(()) => {
                    return Ok(Submitted { ids: submission.ids().to_vec(), sequences: submission.sequences() });
                }
                // Sent again under the same IDs over the next connection.
                Err(error) if error.is(ErrorCode::ConnectionLost) && losses < LOSSES_MAX => {
                    losses = if submission.acknowledged() == before { losses + 1 } else { 0 };
                    drop(client);
                    if current.changed().await.is_err() {
                        return Err(session_ended());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn end(self, result: Result<Submitted, UserError>) {
        // The window may have stopped waiting, which is its right.
        drop(self.sender.send(result));
    }
}

impl SubmitAnswer {
    /// Copies acknowledged so far, and copies in all.
    #[must_use]
    pub fn progress(&self) -> (u32, u32) {
        (self.acknowledged.load(Ordering::Relaxed), self.count)
    }

    /// The end once it is here; after it was taken, none for ever. Never waits.
    pub fn poll(&mut self) -> Option<Result<Submitted, UserError>> {
        let answer = match self.receiver.as_mut()?.try_recv() {
            Ok(answer) => answer,
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => Err(session_ended()),
        };
        self.receiver = None;
        Some(answer)
    }
}
