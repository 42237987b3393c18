//! A session for a window: it connects, logs in, reconnects for ever, watches, and keeps a [`Mirror`].
//!
//! It runs on its own thread. The window reads snapshots ([`Live::mirror`]), asks ([`Live::request`])
//! and polls answers; it never waits.

mod answer;
mod serving;
mod session;
mod submitting;
mod view;

pub use answer::Answer;
pub use submitting::{Busy, SubmitAnswer, Submitted};

use crate::{
    connection::{Credentials, Target},
    files::Picked,
    mirror::{HistoryWindow, Mirror},
};
use common::{ErrorCode, ProgramId, ProgramSpec, UserError, message::Request, view::ClientKind};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, watch};

/// Requests that wait for the session's thread. A window makes a handful at a time; when it is full
/// the answer is `E-BUSY`.
const ORDERS_MAX: usize = 1_024;

/// Where to connect, as whom, and what to remember of it.
#[derive(Clone, Debug)]
pub struct LiveTarget {
    /// The master.
    pub target: Target,
    /// Who logs in. After a login with a password the session goes on with the token it was given.
    pub credentials: Credentials,
    /// The folder whose context is written after each login; none remembers nothing.
    pub remember_in: Option<PathBuf>,
}

/// The session. Dropping it ends the thread and closes the connection.
pub struct Live {
    orders: Option<mpsc::Sender<Order>>,
    wanted: watch::Sender<Wanted>,
    mirror: Arc<Mutex<Arc<Mirror>>>,
    thread: Option<JoinHandle<()>>,
}

/// What the window wants to be so. The session always knows the newest; nothing of it can be dropped.
#[derive(Clone, Debug, Default)]
struct Wanted {
    /// Counts the calls of `connect` and `disconnect`, so that connecting to the same place anew is seen.
    round: u64,
    target: Option<Arc<LiveTarget>>,
    window: HistoryWindow,
    pinned: BTreeSet<ProgramId>,
}

/// What the window wants to be done once.
enum Order {
    Request(Box<Request>, answer::Sender),
    Submit(Box<submitting::Job>),
}

impl Live {
    /// Starts the session's thread, connected to nothing. `wake` is called from that thread after the
    /// mirror changed or an answer came, at most about 20 times a second.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(kind: ClientKind, wake: impl Fn() + Send + Sync + 'static) -> Result<Self, UserError> {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let (wanted, wishes) = watch::channel(Wanted::default());
        let mirror = Arc::new(Mutex::new(Arc::new(Mirror::default())));
        let shared = Arc::clone(&mirror);
        let thread = std::thread::Builder::new()
            .name("ruche-session".to_owned())
            .spawn(move || session::run(kind, inbox, wishes, shared, Box::new(wake)))
            .map_err(|error| {
                UserError::new(ErrorCode::Internal, format!("the session's thread cannot be started: {error}"))
            })?;
        Ok(Self { orders: Some(orders), wanted, mirror, thread: Some(thread) })
    }

    /// Connects here from now on, in place of anywhere else, and tries for ever. How it goes is in
    /// `Mirror::link`.
    pub fn connect(&self, target: LiveTarget) {
        self.wanted.send_modify(|wanted| {
            wanted.round += 1;
            wanted.target = Some(Arc::new(target));
        });
    }

    /// Closes the connection and stays off; open requests are answered with `E-CONNECTION-LOST`.
    pub fn disconnect(&self) {
        self.wanted.send_modify(|wanted| {
            wanted.round += 1;
            wanted.target = None;
        });
    }

    /// The newest snapshot.
    #[must_use]
    pub fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(&self.mirror.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the master. The answer always comes: while there is no connection, or when it is lost before
    /// the answer, it is `E-CONNECTION-LOST`. That does not say whether the master did it; a `Submit` or
    /// `Again` may be repeated under the same IDs, which [`Live::submit`] does by itself.
    #[must_use]
    pub fn request(&self, request: Request) -> Answer {
        let (sender, answer) = answer::new();
        self.order(Order::Request(Box::new(request), sender));
        answer
    }

    /// Submits `count` copies of `spec` in as many requests as that takes, through reconnections and a
    /// busy master.
    #[must_use]
    pub fn submit(&self, spec: ProgramSpec, count: u32) -> SubmitAnswer {
        self.submit_with(spec, count, Vec::new())
    }

    /// The same, having sent those of `files` that the master does not have; the caller puts them into `spec.inputs`.
    /// How far that is tells [`SubmitAnswer::sending`].
    #[must_use]
    pub fn submit_with(&self, spec: ProgramSpec, count: u32, files: Vec<Picked>) -> SubmitAnswer {
        let (job, answer) = submitting::new(spec, count, files);
        self.order(Order::Submit(Box::new(job)));
        answer
    }

    /// Says which part of the history is visible; the session keeps it, and what is near it, fresh.
    /// Cheap when nothing changes, so it may be called on each frame.
    pub fn show_history(&self, window: &HistoryWindow) {
        self.wanted.send_if_modified(|wanted| {
            let changes = wanted.window != *window;
            if changes {
                wanted.window.clone_from(window);
            }
            changes
        });
    }

    /// Keeps this program's row in `Mirror::pinned` until [`Live::unpin`].
    pub fn pin(&self, id: ProgramId) {
        self.wanted.send_if_modified(|wanted| wanted.pinned.insert(id));
    }

    /// Forgets a pinned program.
    pub fn unpin(&self, id: ProgramId) {
        self.wanted.send_if_modified(|wanted| wanted.pinned.remove(&id));
    }

    fn order(&self, order: Order) {
        let Some(orders) = &self.orders else { return };
        match orders.try_send(order) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(order)) => {
                let error = UserError::new(ErrorCode::Busy, format!("{ORDERS_MAX} requests wait to be sent"))
                    .with_hint("wait until some are answered");
                order.refuse(error);
            }
            // Dropping the order answers it with `E-CONNECTION-LOST`.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

impl Order {
    fn refuse(self, error: UserError) {
        match self {
            Self::Request(_, sender) => sender.send(Err(error)),
            Self::Submit(job) => job.end(Err(error)),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the session's thread panicked");
        }
    }
}
