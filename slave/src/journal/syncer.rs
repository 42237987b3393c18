//! The thread that waits for the disk, so that nothing else does.

use super::medium::Medium;
use common::id::AttemptKey;
use std::{
    fs::File,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};
use tokio::sync::mpsc;

/// Orders that may wait; while the thread is behind, the journal gathers.
const ORDERS_MAX: usize = 4;
/// Failures that may wait to be heard; the first already stops the slave from taking work.
const FAILURES_MAX: usize = 16;

/// Something that is not on the disk although it should be.
#[derive(Debug)]
pub struct SyncFailure {
    /// Whose output; none when it is the journal itself.
    pub(super) output_of: Option<AttemptKey>,
    /// What the system says.
    pub(super) error: io::Error,
}

/// Files of outputs go first, then the journal that names them.
pub(super) struct Order {
    pub(super) journal: Arc<Medium>,
    pub(super) files: Vec<(AttemptKey, File)>,
}

#[derive(Debug)]
pub(super) struct Syncer {
    orders: Option<SyncSender<Order>>,
    failures: mpsc::Receiver<SyncFailure>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let (orders, waiting) = sync_channel(ORDERS_MAX);
        let (failed, failures) = mpsc::channel(FAILURES_MAX);
        let work = move || work(&waiting, &failed);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(work)?;
        Ok(Self { orders: Some(orders), failures, thread: Some(thread) })
    }

    /// Gives the order back when the thread is behind.
    pub(super) fn order(&self, order: Order) -> Result<(), Order> {
        let Some(orders) = &self.orders else { return Err(order) };
        orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => order,
        })
    }

    pub(super) async fn failure(&mut self) -> SyncFailure {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Waits until everything that was ordered is done; the failures that nobody has heard.
    pub(super) fn finish(&mut self) -> Vec<SyncFailure> {
        self.orders = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that syncs the journal has failed");
        }
        std::iter::from_fn(|| self.failures.try_recv().ok()).collect()
    }
}

fn work(waiting: &Receiver<Order>, failed: &mpsc::Sender<SyncFailure>) {
    let tell = |output_of, error| {
        // When nobody hears it any more, or enough was said.
        drop(failed.try_send(SyncFailure { output_of, error }));
    };
    while let Ok(mut order) = waiting.recv() {
        let mut files = std::mem::take(&mut order.files);
        // One sync serves all that wait.
        while let Ok(later) = waiting.try_recv() {
            files.extend(later.files);
            order.journal = later.journal;
        }
        for (key, file) in files {
            if let Err(error) = file.sync_data() {
                tell(Some(key), error);
            }
        }
        if let Err(error) = order.journal.sync() {
            tell(None, error);
        }
    }
}
