//! Input files that this slave has: fetched once, checked, kept by their content within a budget. One thread does
//! all that touches the disk.

mod cache;

use cache::Cache;
pub use cache::Held;

use common::{id::Digest, limits::INPUT_WINDOW_BYTES, units::ByteSize};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};
use tokio::sync::mpsc::{Receiver, channel};

/// Files that are asked for at once.
pub const FETCHES_MAX: usize = 4;
/// Bytes of files that wait for the disk: all that is asked for at once, and once more what was asked for again.
const WAITING_BYTES_MAX: u64 = 2 * FETCHES_MAX as u64 * INPUT_WINDOW_BYTES;
/// What a piece of a file costs beside its bytes.
const PIECE_BYTES: u64 = 256;
/// Orders that the thread is given at once.
const ORDERS_MAX: usize = 4_096;
/// Answers of the thread that nobody has taken yet; then it waits.
const TOLD_MAX: usize = 1_024;

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
    /// Orders that the thread has no room for yet, in their order: none may be lost. Pieces of files are bounded by
    /// their bytes, the others by the files that attempts need.
    late: RefCell<VecDeque<Order>>,
    told: Receiver<Told>,
    /// Bytes that wait for the disk.
    waiting: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

const fn cost(bytes: &[u8]) -> u64 {
    bytes.len() as u64 + PIECE_BYTES
}

impl Files {
    /// Opens the folder, and removes what is too much for the budget.
    ///
    /// # Errors
    /// When the folder cannot be used or the system has no thread.
    pub fn start(data: &Path, bytes_max: ByteSize) -> io::Result<Self> {
        let mut cache = Cache::open(&folder(data), bytes_max.0)?;
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let (tell, told) = channel(TOLD_MAX);
        let waiting = Arc::new(AtomicU64::new(0));
        let done = waiting.clone();
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(move || {
            for order in inbox {
                let (digest, result) = match order {
                    Order::Look { digest, size } => (digest, cache.look(digest, size)),
                    Order::Take { digest, offset, size, bytes } => {
                        let taken = cache.take(digest, offset, size, &bytes);
                        done.fetch_sub(cost(&bytes), Ordering::Relaxed);
                        match taken {
                            Some(result) => (digest, result),
                            None => continue,
                        }
                    }
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
        let late = RefCell::default();
        Ok(Self { orders: Some(orders), late, told, waiting, thread: Some(thread) })
    }

    fn order(&self, order: Order) {
        self.late.borrow_mut().push_back(order);
        self.flush();
    }

    fn flush(&self) {
        let Some(orders) = &self.orders else { return };
        let mut late = self.late.borrow_mut();
        while let Some(order) = late.pop_front() {
            match orders.try_send(order) {
                Ok(()) => {}
                Err(TrySendError::Full(order)) => return late.push_front(order),
                Err(TrySendError::Disconnected(_)) => tracing::error!("the thread of input files has ended"),
            }
        }
    }

    /// Looks how much of a file is here, and keeps it until it is released.
    pub fn look(&self, digest: Digest, size: u64) {
        self.order(Order::Look { digest, size });
    }

    /// Takes what the master sent and was asked for; what does not follow is dropped. Answers false when more waits
    /// for the disk than was ever asked for: then it is dropped too, and asked for again.
    #[must_use]
    pub fn take(&self, digest: Digest, offset: u64, size: u64, bytes: Vec<u8>) -> bool {
        let cost = cost(&bytes);
        // Only here is anything added, so that nothing comes between.
        if self.waiting.load(Ordering::Relaxed).saturating_add(cost) > WAITING_BYTES_MAX {
            return false;
        }
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        self.order(Order::Take { digest, offset, size, bytes });
        true
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
        // The event loop comes here again and again.
        self.flush();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_what_waits_for_the_disk_is_bounded_and_no_look_is_lost() {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let late = RefCell::default();
        let waiting = Arc::new(AtomicU64::new(0));
        let files = Files { orders: Some(orders), late, told: channel(1).1, waiting, thread: None };
        let taken = (0..20_000_u64).filter(|n| files.take(Digest([1; 32]), n * 65_536, 1 << 40, vec![0; 65_536]));
        let taken = taken.count() as u64;
        assert!(taken * 65_536 <= WAITING_BYTES_MAX && taken >= 64, "{taken}");
        for _ in 0..20_000 {
            files.look(Digest([2; 32]), 1);
            files.release(Digest([2; 32]));
            files.damaged(Digest([2; 32]));
        }
        let mut others = 0;
        loop {
            let came: Vec<Order> = inbox.try_iter().collect();
            if came.is_empty() {
                break;
            }
            others += came.iter().filter(|order| !matches!(order, Order::Take { .. })).count();
            files.flush();
        }
        assert_eq!(others, 60_000);
    }
}
