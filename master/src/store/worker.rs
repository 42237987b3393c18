//! The threads of the store: one that writes, two that read. Each has a name and a bounded inbox.

use super::{
    Record, Storage, StoreError,
    history::Reader,
    query::{Answer, Query},
};
use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

/// Batches and account operations that wait for the writing thread; the event loop has one batch out
/// at a time, the rest are logins.
const JOBS_MAX: usize = 64;
/// Questions that wait for a reading thread; more are refused as busy.
const QUERIES_MAX: usize = 1_024;

type Done = Box<dyn FnOnce(Result<(), StoreError>, Vec<Record>) + Send>;
type Operation = Box<dyn FnOnce(&mut dyn Storage) + Send>;

enum Job {
    Commit(Vec<Record>, Done),
    Operate(Operation),
}

/// Gives work to the writing thread.
#[derive(Clone)]
pub(crate) struct Writer(SyncSender<Job>);

impl Writer {
    /// Starts the thread. It ends when the last `Writer` is dropped, after all that was given.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(store: Box<dyn Storage>) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || write(store, &inbox))?;
        Ok((Self(jobs), thread))
    }

    /// Commits a batch; `done` is called on the writing thread and gets the records back.
    pub(crate) fn commit(&self, records: Vec<Record>, done: Done) {
        // Waits only while logins fill the inbox; a thread that ended is a bug that the loop notices.
        if self.0.send(Job::Commit(records, done)).is_err() {
            tracing::error!("the store's thread has ended");
        }
    }

    /// Does something with the accounts and waits for its result.
    pub(crate) async fn operate<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut dyn Storage) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let job = Job::Operate(Box::new(move |store| {
            // Whoever asked may have left.
            drop(answer.send(operation(store)));
        }));
        let jobs = self.0.clone();
        let mut job = Some(job);
        loop {
            match jobs.try_send(job.take()?) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => job = Some(back),
                Err(TrySendError::Disconnected(_)) => return None,
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        answered.await.ok()
    }
}

fn write(mut store: Box<dyn Storage>, inbox: &Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Commit(records, done) => {
                let result = store.commit(&records);
                done(result, records);
            }
            Job::Operate(operation) => operation(&mut *store),
        }
    }
}

type Answered = Box<dyn FnOnce(Answer) + Send>;

/// Gives questions to the two reading threads.
#[derive(Clone)]
pub(crate) struct Readers {
    long: SyncSender<(Query, Answered)>,
    short: SyncSender<(Query, Answered)>,
}

impl Readers {
    /// Starts one thread for pages, which may take long, and one for single programs and outputs.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(long: Reader, short: Reader) -> std::io::Result<Self> {
        let start = |name: &str, mut reader: Reader| -> std::io::Result<SyncSender<(Query, Answered)>> {
            let (queries, inbox) = sync_channel::<(Query, Answered)>(QUERIES_MAX);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Ok((query, answered)) = inbox.recv() {
                    answered(reader.answer(&query));
                }
            })?;
            Ok(queries)
        };
        Ok(Self { long: start("history", long)?, short: start("lookup", short)? })
    }

    /// Asks; never waits. Gives the question back when too many wait.
    pub(crate) fn ask(&self, query: Query, answered: Answered) -> Result<(), Answered> {
        let inbox = if query.is_long() { &self.long } else { &self.short };
        inbox.try_send((query, answered)).map_err(|error| match error {
            TrySendError::Full((_, answered)) | TrySendError::Disconnected((_, answered)) => answered,
        })
    }
}
