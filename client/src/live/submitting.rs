//! A submit that a window watches: it goes through reconnections and a busy master.

use super::answer::session_ended;
use crate::{
    connection::{Client, lost},
    files::{Picked, Sending, upload},
    submit::{BUSY_WAIT, Submission},
};
use common::{ErrorCode, ProgramId, ProgramSpec, Timestamp, UserError};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::{Notify, oneshot, watch};

/// Connections in a row that may be lost without bringing a submit forward: then it is no accident, and
/// sending it again would never end.
const LOSSES_MAX: u32 = 5;

/// Times that input files are sent again because the master does not have them any more.
const MISSING_MAX: u32 = 3;

/// The connection of the moment.
#[derive(Clone, Default)]
pub(super) struct Current {
    /// The round that it belongs to: each `connect` and `disconnect` of the window begins another.
    pub(super) round: u64,
    pub(super) client: Option<Client>,
}

/// What was acknowledged. IDs and places of the copies follow those of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The first program.
    pub first: ProgramId,
    /// Its place in the history.
    pub sequence: u64,
    /// How many they are.
    pub count: u32,
}

/// A busy master has put off a submit; it is sent again by itself, under the same IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// What the master said.
    pub reason: UserError,
    /// When it is sent again.
    pub retry_at: Timestamp,
}

/// What a submit's two ends share.
#[derive(Debug, Default)]
pub(super) struct Progress {
    acknowledged: AtomicU32,
    busy: Mutex<Option<Busy>>,
    sending: Mutex<Option<Sending>>,
    /// Bytes of input files that were sent when it was looked the last time.
    looked: Mutex<u64>,
}

impl Progress {
    fn set_busy(&self, busy: Option<Busy>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = busy;
    }

    /// Whether more of the input files went since this was asked the last time.
    fn took_sent(&self) -> bool {
        let sent =
            self.sending.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |sending| sending.sent);
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *looked, sent) < sent
    }

    fn set_sending(&self, sending: Option<Sending>) {
        *self.sending.lock().unwrap_or_else(PoisonError::into_inner) = sending;
    }
}

/// A submit on its way.
#[derive(Debug)]
pub struct SubmitAnswer {
    receiver: Option<oneshot::Receiver<Result<Submitted, UserError>>>,
    progress: Arc<Progress>,
    count: u32,
}

/// The session's end of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: ProgramSpec,
    pub(super) count: u32,
    files: Vec<Picked>,
    progress: Arc<Progress>,
    sender: oneshot::Sender<Result<Submitted, UserError>>,
}

pub(super) fn new(spec: ProgramSpec, count: u32, files: Vec<Picked>) -> (Job, SubmitAnswer) {
    let (sender, receiver) = oneshot::channel();
    let progress = Arc::new(Progress::default());
    let job = Job { spec, count, files, progress: Arc::clone(&progress), sender };
    (job, SubmitAnswer { receiver: Some(receiver), progress, count })
}

impl Job {
    /// Submits over whatever connection there is, until the end.
    pub(super) async fn run(self, current: watch::Receiver<Current>, signal: Arc<Notify>) {
        let result = self.submit(current, &signal).await;
        self.end(result);
        signal.notify_one();
    }

    async fn submit(&self, mut current: watch::Receiver<Current>, signal: &Notify) -> Result<Submitted, UserError> {
        let mut submission = Submission::new(self.spec.clone(), self.count)?;
        let round = current.borrow().round;
        let (mut losses, mut missing) = (0, 0);
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
            let sent = match self.send_files(&client, signal).await {
                Ok(()) => self.send(&mut submission, &client, signal).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => {
                    let (first, count) = (submission.first(), submission.count());
                    return Ok(Submitted { first, sequence: submission.sequence().unwrap_or_default(), count });
                }
                // The master made room for others since it was asked.
                Err(error) if error.is(ErrorCode::InputMissing) && !self.files.is_empty() && missing < MISSING_MAX => {
                    missing += 1;
                }
                // Sent again under the same IDs over the next connection.
                Err(error) if error.is(ErrorCode::ConnectionLost) && losses < LOSSES_MAX => {
                    let forward = submission.acknowledged() > before || self.progress.took_sent();
                    losses = if forward { 0 } else { losses + 1 };
                    drop(client);
                    if current.changed().await.is_err() {
                        return Err(session_ended());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the input files that the master does not have.
    async fn send_files(&self, client: &Client, signal: &Notify) -> Result<(), UserError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let sent = upload(client, &self.files, |sending| {
            self.progress.set_sending(Some(sending.clone()));
            signal.notify_one();
        });
        let result = sent.await;
        if result.is_ok() {
            self.progress.set_sending(None);
            signal.notify_one();
        }
        result
    }

    /// Sends what is not acknowledged; a busy master is asked again after the time that it names, and the window
    /// is told until when it waits.
    async fn send(&self, submission: &mut Submission, client: &Client, signal: &Notify) -> Result<(), UserError> {
        let mut started = submission.begin(client);
        loop {
            let sent = submission.finish(&mut started).await;
            self.progress.acknowledged.store(submission.acknowledged(), Ordering::Relaxed);
            match sent {
                Err(reason) if reason.is(ErrorCode::Busy) => {
                    let wait = reason.retry_after.unwrap_or(BUSY_WAIT);
                    let retry_at = Timestamp(transport::clock::now().0.saturating_add(wait.0));
                    self.progress.set_busy(Some(Busy { reason, retry_at }));
                    signal.notify_one();
                    tokio::time::sleep(wait.to_std()).await;
                    self.progress.set_busy(None);
                    signal.notify_one();
                    started = submission.begin(client);
                }
                result => return result,
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
        (self.progress.acknowledged.load(Ordering::Relaxed), self.count)
    }

    /// That the master is busy and when it is asked again, while that is so.
    #[must_use]
    pub fn busy(&self) -> Option<Busy> {
        self.progress.busy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which input file is being sent and how far all of them are, while that is so.
    #[must_use]
    pub fn sending(&self) -> Option<Sending> {
        self.progress.sending.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
