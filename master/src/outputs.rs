//! Threads that append streamed output to files and sync it. Nothing is told before it is synced.

use crate::{
    core::event::Guard,
    store::{
        files,
        worker::{Failed, TellPanic},
    },
};
use common::{AttemptKey, ErrorCode, UserError, message::Stream};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// Threads; the outputs of one program always go to the same one.
const THREADS: usize = 2;
/// Chunks that wait for one thread. The sessions' budget of bytes holds fewer.
const CHUNKS_MAX: usize = 32_768;
/// Files that one thread keeps open.
const FILES_MAX: usize = 128;
/// Chunks of one round, written before one sync of each file.
const ROUND_MAX: usize = 256;
/// Pause after a failed write, such as on a full disk; nothing is dropped.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A part of an output on its way to the disk.
pub(crate) struct Chunk {
    pub(crate) key: AttemptKey,
    pub(crate) stream: Stream,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) guard: Guard,
}

enum Job {
    Append(Chunk),
    Remove(AttemptKey),
}

/// Called on a thread of the store of outputs when a stream is synced up to an offset.
pub(crate) type Stored = dyn Fn(AttemptKey, Stream, u64) + Send + Sync;

/// Gives chunks to the threads.
pub(crate) struct Outputs(Vec<Inbox>);

/// A channel that takes memory only for what is in it; its bound is counted beside it.
struct Inbox {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Outputs {
    /// Starts the threads; they end when this is dropped, or with the first failure that is not a full disk, which
    /// `failed` is told.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(folder: &std::path::Path, stored: Arc<Stored>, failed: &Failed) -> io::Result<Self> {
        let start = |number: usize| {
            #[expect(
                clippy::disallowed_methods,
                reason = "a bounded one takes its memory at once; `waiting` is bounded by CHUNKS_MAX"
            )]
            let (jobs, inbox) = channel();
            let waiting = Arc::new(AtomicUsize::new(0));
            let mut writer = Writer {
                folder: folder.to_owned(),
                files: HashMap::new(),
                stored: stored.clone(),
                waiting: waiting.clone(),
            };
            let failed = failed.clone();
            thread::Builder::new().name(format!("outputs-{number}")).spawn(move || {
                let tell = TellPanic(failed);
                if let Err(error) = writer.run(&inbox) {
                    let sentence = format!("an output cannot be stored: {error}");
                    (tell.0)(UserError::new(ErrorCode::StorageFailed, sentence));
                }
            })?;
            Ok(Inbox { jobs, waiting })
        };
        (0..THREADS).map(start).collect::<io::Result<_>>().map(Self)
    }

    fn give(&self, key: AttemptKey, job: Job) {
        let place = usize::from(key.program.0.as_bytes()[15]) % self.0.len();
        let Inbox { jobs, waiting } = &self.0[place];
        let taken = waiting.fetch_add(1, Ordering::Relaxed) < CHUNKS_MAX && jobs.send(job).is_ok();
        if !taken {
            waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::error!(attempt = %key, "the store of outputs takes nothing more; the slave sends it again");
        }
    }

    /// Appends a chunk; never waits.
    pub(crate) fn append(&self, chunk: Chunk) {
        self.give(chunk.key, Job::Append(chunk));
    }

    /// Removes an attempt's files; never waits.
    pub(crate) fn remove(&self, key: AttemptKey) {
        self.give(key, Job::Remove(key));
    }
}

struct Writer {
    folder: PathBuf,
    files: HashMap<(AttemptKey, Stream), (File, u64)>,
    stored: Arc<Stored>,
    /// Jobs that were given and not begun.
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Job>) -> io::Result<()> {
        while let Ok(first) = inbox.recv() {
            let mut touched: BTreeMap<(AttemptKey, Stream), Vec<Guard>> = BTreeMap::new();
            for job in std::iter::once(first).chain(inbox.try_iter()).take(ROUND_MAX) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                match job {
                    Job::Append(chunk) => {
                        let place = (chunk.key, chunk.stream);
                        self.insist(|writer| writer.append(&chunk))?;
                        touched.entry(place).or_default().push(chunk.guard);
                    }
                    Job::Remove(key) => {
                        for stream in Stream::ALL {
                            self.files.remove(&(key, stream));
                            touched.remove(&(key, stream));
                        }
                        files::remove(&self.folder, key);
                    }
                }
            }
            for (place, guards) in touched {
                if let Some((file, length)) = self.files.get(&place) {
                    // Never tried again, not even on a full disk: what a failed sync dropped, a second one passes over.
                    file.sync_data()?;
                    (self.stored)(place.0, place.1, *length);
                }
                drop(guards);
            }
            if self.files.len() > FILES_MAX {
                self.files.clear();
            }
        }
        Ok(())
    }

    /// Tries until the disk has room: the slave keeps what is not stored. Any other failure is final: the system
    /// may have dropped what it could not write, so a second sync that succeeds would prove nothing.
    fn insist(&mut self, mut attempt: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let mut told = false;
        while let Err(error) = attempt(self) {
            if !is_room(&error) && !is_descriptors(&error) {
                return Err(error);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::error!(%error, "there is no room for output; it waits");
            }
            thread::sleep(RETRY_PAUSE);
        }
        Ok(())
    }

    fn append(&mut self, chunk: &Chunk) -> io::Result<()> {
        let place = (chunk.key, chunk.stream);
        if !self.files.contains_key(&place) {
            let file = files::open(&self.folder, chunk.key, chunk.stream)?;
            let length = file.metadata()?.len();
            self.files.insert(place, (file, length));
        }
        let Some((file, length)) = self.files.get_mut(&place) else { return Ok(()) };
        let end = chunk.offset + chunk.bytes.len() as u64;
        // A gap is never written over: what is missing is sent again at the slave's next connection.
        if chunk.offset <= *length && end > *length {
            let known = usize::try_from(*length - chunk.offset).unwrap_or(usize::MAX).min(chunk.bytes.len());
            file.write_all_at(&chunk.bytes[known..], *length)?;
            *length = end;
        }
        Ok(())
    }
}

/// The disk is full: the bytes were not taken.
fn is_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// There is no descriptor to open a file with: nothing was written, and others close theirs.
fn is_descriptors(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|code| code == Errno::EMFILE as i32 || code == Errno::ENFILE as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ProgramId;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn f04_output_that_cannot_be_stored_is_never_told_as_stored_and_ends_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let (stored, was_stored) = sync_channel(8);
        let (failed, failures) = sync_channel(8);
        let outputs = Outputs::start(
            folder.path(),
            Arc::new(move |_, _, offset| stored.send(offset).unwrap()),
            &(Arc::new(move |error: UserError| failed.send(error).unwrap()) as Failed),
        )
        .unwrap();
        let key = AttemptKey { program: ProgramId(uuid::Uuid::from_u128(7)), attempt: 1 };
        let chunk = |offset| Chunk { key, stream: Stream::Stdout, offset, bytes: vec![1; 10], guard: Guard(None) };
        outputs.append(chunk(0));
        assert_eq!(was_stored.recv().unwrap(), 10);
        // Another attempt's file cannot be made: a file is where its folder should be.
        let other = AttemptKey { program: ProgramId(uuid::Uuid::from_u128(7 + (1 << 8))), attempt: 1 };
        std::fs::write(folder.path().join("07").join("01"), "in the way").unwrap();
        outputs.append(Chunk { key: other, ..chunk(0) });
        let error = failures.recv().unwrap();
        assert!(error.is(ErrorCode::StorageFailed), "{error}");
        outputs.append(chunk(10));
        drop(outputs);
        assert!(was_stored.recv().is_err());
    }
}
