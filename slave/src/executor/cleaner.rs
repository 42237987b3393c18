//! Removes working folders in the background, so that a slot does not wait for a program's leftovers.

use super::folder::Remover;
use std::{
    io,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

/// Folders that wait to be removed; beyond that a slot removes its own.
const WAITING_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Cleaner {
    sender: Option<SyncSender<Remover>>,
    thread: Option<JoinHandle<()>>,
}

impl Cleaner {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Remover>(WAITING_MAX);
        let thread = std::thread::Builder::new().name("cleaner".to_owned()).spawn(move || {
            for remover in receiver {
                remover.run();
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) fn remove(&self, remover: Remover) {
        let Some(sender) = &self.sender else { return };
        if let Err(TrySendError::Full(remover) | TrySendError::Disconnected(remover)) = sender.try_send(remover) {
            remover.run();
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
