//! A submit that a window watches: it goes through reconnections and a busy master.

use super::answer::session_ended;
use common::{ProgramId, ProgramSpec, UserError};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::oneshot;

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
