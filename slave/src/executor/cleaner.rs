//! Removes working folders in the background, so that a slot does not wait for a program's leftovers.

use super::removal::{Remover, Trash};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

/// Folders that wait to be removed; beyond that the whole trash is emptied when these are done.
const WAITING_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Cleaner {
    sender: Option<SyncSender<Remover>>,
    thread: Option<JoinHandle<()>>,
    /// The queue was full: something in the trash is not in it.
    missed: Arc<AtomicBool>,
}

impl Cleaner {
    /// Begins with what a start before this one left in the trash.
    pub(super) fn start(trash: Arc<Trash>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Remover>(WAITING_MAX);
        let missed = Arc::new(AtomicBool::new(true));
        let missing = missed.clone();
        let thread = std::thread::Builder::new().name("cleaner".to_owned()).spawn(move || {
            if missing.swap(false, Ordering::AcqRel) {
                trash.empty();
            }
            for remover in receiver {
                remover.run();
                if missing.swap(false, Ordering::AcqRel) {
                    // What is in the queue too is gone when its turn comes.
                    trash.empty();
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread), missed })
    }

    pub(super) fn remove(&self, remover: Remover) {
        let Some(sender) = &self.sender else { return };
        match sender.try_send(remover) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.missed.store(true, Ordering::Release),
            Err(TrySendError::Disconnected(remover)) => remover.run(),
        }
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cleaner failed");
        }
    }
}
