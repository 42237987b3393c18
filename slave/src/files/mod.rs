//! Input files that this slave has: fetched once, checked, kept by their content within a budget. One thread does
//! all that touches the disk.

mod cache;

use cache::Cache;
pub use cache::Held;

use common::{id::Digest, units::ByteSize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};
use tokio::sync::mpsc::{Receiver, channel};

/// Orders that wait for the thread. What the master was asked for fits; more is dropped and asked for again.
const ORDERS_MAX: usize = 16_384;

/// The folder of input files in a data folder.
#[must_use]
pub fn folder(data: &Path) -> PathBuf {
    data.join("cache")
}

/// What is done with a file.
enum Order {
    /// Look how much of it is here, and keep it until it is released.
    Look { digest: Digest, size: u64 },
    /// Append these bytes.
    Take { digest: Digest, offset: u64, size: u64, bytes: Vec<u8> },
    /// Nothing needs it any more.
    Release(Digest),
    /// What is here of it is damaged.
    Drop(Digest),
}

/// What became of a file. One comes for each look, and for each part that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The file.
    pub digest: Digest,
    /// How much of it is here; or why it cannot be kept, for people.
    pub result: Result<Held, String>,
}

/// The thread that keeps input files. Its answers come through [`Files::next`].
#[derive(Debug)]
pub struct Files {
    orders: Option<SyncSender<Order>>,
    told: Receiver<Told>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

impl Files {
    /// Opens the folder, and removes what is too much for the budget.
    ///
    /// # Errors
    /// When the folder cannot be used or the system has no thread.
    pub fn start(data: &Path, bytes_max: ByteSize) -> io::Result<Self> {
        let mut cache = Cache::open(&folder(data), bytes_max.0)?;
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let (tell, told) = channel(ORDERS_MAX);
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(move || {
            for order in inbox {
                let (digest, result) = match order {
                    Order::Look { digest, size } => (digest, cache.look(digest, size)),
                    Order::Take { digest, offset, size, bytes } => match cache.take(digest, offset, size, &bytes) {
                        Some(result) => (digest, result),
                        None => continue,
                    },
                    Order::Release(digest) => {
                        cache.release(digest);
                        continue;
                    }
                    Order::Drop(digest) => {
                        cache.remove(digest);
                        continue;
                    }
                };
                if tell.blocking_send(Told { digest, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders: Some(orders), told, thread: Some(thread) })
    }

    fn order(&self, order: Order) {
        let Some(orders) = &self.orders else { return };
        match orders.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::warn!("more input files come than the disk takes"),
            Err(TrySendError::Disconnected(_)) => tracing::error!("the thread of input files has ended"),
        }
    }

    /// Looks how much of a file is here, and keeps it until it is released.
    pub fn look(&self, digest: Digest, size: u64) {
        self.order(Order::Look { digest, size });
    }

    /// Takes what the master sent. What nobody asked for, or what does not follow, is dropped.
    pub fn take(&self, digest: Digest, offset: u64, size: u64, bytes: Vec<u8>) {
        self.order(Order::Take { digest, offset, size, bytes });
    }

    /// Nothing needs a file any more: it stays while the budget allows it.
    pub fn release(&self, digest: Digest) {
        self.order(Order::Release(digest));
    }

    /// What is here of a file is damaged.
    pub fn damaged(&self, digest: Digest) {
        self.order(Order::Drop(digest));
    }

    /// What became of a file. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Some(told) => told,
            // The thread has failed; nothing will come any more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.orders = None;
        // A thread that waits for room to tell something goes on.
        self.told.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of input files failed");
        }
    }
}
