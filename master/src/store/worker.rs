//! The threads of the store: one that writes, two that read. Each has a name and a bounded inbox.

use super::{
    Record, Storage, StoreError,
    history::Reader,
    query::{Answer, Query},
};
use common::{ErrorCode, UserError};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

/// Batches and account operations that wait for the writing thread; the event loop has one batch out
/// at a time, the rest are logins.
const JOBS_MAX: usize = 64;
/// Questions that wait for a reading thread; more are refused as busy.
const QUERIES_MAX: usize = 1_024;

type Done = Box<dyn FnOnce(Result<(), StoreError>, Vec<Record>) + Send>;
/// Gives the error after which the store must not be used any more.
type Operation = Box<dyn FnOnce(&mut dyn Storage) -> Option<UserError> + Send>;

enum Job {
    Commit(Vec<Record>, Done),
    Operate(Operation),
    End,
}

/// Told when a thread cannot go on, from that thread: the master then ends, rather than promise what it cannot keep.
pub(crate) type Failed = Arc<dyn Fn(UserError) + Send + Sync>;

/// Tells of a thread that panics: whoever waits for its answer would wait for ever.
pub(crate) struct TellPanic(pub(crate) Failed);

impl Drop for TellPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let name = thread::current().name().unwrap_or("?").to_owned();
            (self.0)(UserError::new(ErrorCode::Internal, format!("the thread `{name}` of the master failed")));
        }
    }
}

fn gone() -> UserError {
    UserError::new(ErrorCode::Stopping, "the master is stopping")
}

/// Gives work to the writing thread.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: SyncSender<Job>,
    store: Arc<Shelf>,
}

/// Where the store is kept between two uses; none when it has failed, or is closed.
type Shelf = Mutex<Option<Box<dyn Storage>>>;

fn take_down(shelf: &Shelf) -> MutexGuard<'_, Option<Box<dyn Storage>>> {
    // Whoever panicked with it has ended the master.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Starts the thread. It ends after all that was given, when it is told to or the last `Writer` is dropped; or
    /// when the store fails. Of a commit that failed its `done` is told, of anything else `failed`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(store: Box<dyn Storage>, failed: Failed) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let store = Arc::new(Mutex::new(Some(store)));
        let shelf = store.clone();
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            let tell = TellPanic(failed);
            let result = write(&shelf, &inbox);
            // Closed here, whoever still holds a `Writer`.
            drop(take_down(&shelf).take());
            if let Err(error) = result {
                (tell.0)(error);
            }
        })?;
        Ok((Self { jobs, store }, thread))
    }

    /// Ends the thread after all that was given before; what comes later is refused. May wait for room.
    pub(crate) fn end(&self) {
        if self.jobs.send(Job::End).is_err() {
            tracing::debug!("the store's thread has ended already");
        }
    }

    /// Commits a batch; `done` is called on the writing thread and gets the records back.
    pub(crate) fn commit(&self, records: Vec<Record>, done: Done) {
        // Waits only while logins fill the inbox; a thread that ended is a bug that the loop notices.
        if self.jobs.send(Job::Commit(records, done)).is_err() {
            tracing::error!("the store's thread has ended");
        }
    }

    /// Commits a batch on the calling thread when the writing thread has nothing to do, and as [`Self::commit`]
    /// otherwise. Waits for the disk.
    pub(crate) fn commit_here(&self, records: Vec<Record>, done: Done) {
        let Ok(mut shelf) = self.store.try_lock() else { return self.commit(records, done) };
        let Some(store) = shelf.as_mut() else { return self.commit(records, done) };
        let result = store.commit(&records);
        if ends(&result) {
            drop(shelf.take());
        }
        drop(shelf);
        done(result, records);
    }

    /// Looks something up that is in memory as a rule: on the calling thread when the store is free at this moment,
    /// which spares two changes of threads, and as [`Self::operate`] otherwise.
    ///
    /// # Errors
    /// As [`Self::operate`].
    pub(crate) async fn look<R: Send + 'static>(
        &self,
        look: impl Fn(&mut dyn Storage) -> Result<R, UserError> + Send + 'static,
    ) -> Result<R, UserError> {
        let here = match self.store.try_lock() {
            Ok(mut store) => store.as_mut().map(|store| look(&mut **store)),
            Err(_) => None,
        };
        match here {
            // What ends the master is the writing thread's to find and to tell.
            None => self.operate(look).await,
            Some(Err(error)) if error.is(ErrorCode::StorageFailed) => self.operate(look).await,
            Some(result) => result,
        }
    }

    /// Does something with the accounts and waits for its result.
    ///
    /// # Errors
    /// What the operation says, or `E-STOPPING`. After `E-STORAGE-FAILED` the master ends.
    pub(crate) async fn operate<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut dyn Storage) -> Result<R, UserError> + Send + 'static,
    ) -> Result<R, UserError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let mut job = Job::Operate(Box::new(move |store| {
            let result = operation(store);
            let fatal = result.as_ref().err().filter(|error| error.is(ErrorCode::StorageFailed)).cloned();
            // Whoever asked may have left.
            drop(answer.send(result));
            fatal
        }));
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => job = back,
                Err(TrySendError::Disconnected(_)) => return Err(gone()),
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// After a failed write or sync nobody knows what is on the disk, and trying again would not tell: nothing more is
/// written, so nothing more is acknowledged.
fn write(shelf: &Shelf, inbox: &Receiver<Job>) -> Result<(), UserError> {
    while let Ok(job) = inbox.recv() {
        let mut store = take_down(shelf);
        let Some(store) = store.as_mut() else { return Ok(()) };
        match job {
            Job::Commit(records, done) => {
                let result = store.commit(&records);
                let ends = ends(&result);
                done(result, records);
                if ends {
                    return Ok(());
                }
            }
            Job::Operate(operation) => {
                if let Some(error) = operation(&mut **store) {
                    return Err(error);
                }
            }
            Job::End => return Ok(()),
        }
    }
    Ok(())
}

/// A full disk undid the transaction; the loop tries again. After any other error it ends.
fn ends(result: &Result<(), StoreError>) -> bool {
    !matches!(result, Ok(()) | Err(StoreError::Full(_)))
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
    pub(crate) fn start(long: Reader, short: Reader, failed: &Failed) -> std::io::Result<Self> {
        let start = |name: &str, mut reader: Reader| -> std::io::Result<SyncSender<(Query, Answered)>> {
            let (queries, inbox) = sync_channel::<(Query, Answered)>(QUERIES_MAX);
            let failed = failed.clone();
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                let _tell = TellPanic(failed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn f04_after_a_failed_write_of_an_account_nothing_more_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        let (told, failures) = sync_channel(8);
        let (writer, thread) =
            Writer::start(Box::new(store), Arc::new(move |error| told.send(error).unwrap())).unwrap();
        // A refusal is no failure.
        let unknown = writer.operate(|store| store.accounts().set_password("nobody", "x")).await.unwrap_err();
        assert!(unknown.is(ErrorCode::UserUnknown));
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let broken = rusqlite::Error::SqliteFailure(code, None);
        let failed = writer.operate::<()>(|_| Err(StoreError::from(broken).into())).await.unwrap_err();
        assert!(failed.is(ErrorCode::StorageFailed));
        thread.join().unwrap();
        assert!(failures.recv().unwrap().is(ErrorCode::StorageFailed));
        let later = writer.operate(|store| store.accounts().users()).await.unwrap_err();
        assert!(later.is(ErrorCode::Stopping), "{later}");
        let (done, was_done) = sync_channel(8);
        writer.commit(Vec::new(), Box::new(move |_, _| done.send(()).unwrap()));
        assert!(was_done.recv().is_err(), "it is never reported as committed");
    }

    #[tokio::test]
    async fn a_look_is_done_here_while_the_store_is_free_and_waits_its_turn_while_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        let (writer, _thread) = Writer::start(Box::new(store), Arc::new(|error| panic!("{error}"))).unwrap();
        let here = |_: &mut dyn Storage| Ok(thread::current().id());
        assert_eq!(writer.look(here).await.unwrap(), thread::current().id());
        let (began, has_begun) = sync_channel(1);
        let (release, released) = sync_channel::<()>(1);
        let busy = writer.operate(move |_| {
            began.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        });
        let looks = async {
            tokio::task::yield_now().await;
            has_begun.recv().unwrap();
            let mut look = std::pin::pin!(writer.look(here));
            let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(look.as_mut().poll(cx).is_ready()));
            assert!(!begun.await, "the store is busy");
            release.send(()).unwrap();
            assert_ne!(look.await.unwrap(), thread::current().id());
        };
        let (done, ()) = tokio::join!(busy, looks);
        done.unwrap();
    }

    #[tokio::test]
    async fn f04_after_a_failed_look_the_store_ends() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        let (told, failures) = sync_channel(8);
        let (writer, thread) =
            Writer::start(Box::new(store), Arc::new(move |error| told.send(error).unwrap())).unwrap();
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_READ);
        let failed =
            writer.look::<()>(move |_| Err(StoreError::from(rusqlite::Error::SqliteFailure(code, None)).into()));
        assert!(failed.await.unwrap_err().is(ErrorCode::StorageFailed));
        thread.join().unwrap();
        assert!(failures.recv().unwrap().is(ErrorCode::StorageFailed));
    }

    #[tokio::test]
    async fn f04_a_thread_that_panics_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        let (told, failures) = sync_channel(8);
        let (writer, thread) =
            Writer::start(Box::new(store), Arc::new(move |error| told.send(error).unwrap())).unwrap();
        let answer = writer.operate::<()>(|_| panic!("a bug")).await;
        assert!(answer.unwrap_err().is(ErrorCode::Stopping));
        assert!(thread.join().is_err());
        assert!(failures.recv().unwrap().sentence.contains("`store`"));
    }
}
