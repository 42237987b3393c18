//! Threads that append streamed output to files and sync it. Nothing is told before it is synced.

use crate::{
    core::event::Guard,
    store::{
        files::{self, REMEMBERED_BYTES},
        query::{Answer, Query, StoredOutput},
        worker::{Failed, TellPanic},
    },
};
use common::{AttemptKey, ErrorCode, UserError, limits::OUTPUT_CHUNK_BYTES_MAX, message::Stream};
use std::{
    collections::{BTreeSet, HashMap},
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
/// As much of a file is on its way to the disk while more comes, so that the sync finds little left to write.
const BEGUN_BYTES: u64 = 512 << 10;
/// What files are kept in pieces of.
const PAGE_BYTES: u64 = 4 << 10;
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
pub(crate) struct Outputs {
    folder: PathBuf,
    inboxes: Vec<Inbox>,
}

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
        let inboxes = (0..THREADS).map(start).collect::<io::Result<_>>()?;
        Ok(Self { folder: folder.to_owned(), inboxes })
    }

    fn give(&self, key: AttemptKey, job: Job) {
        let place = usize::from(key.program.0.as_bytes()[15]) % self.inboxes.len();
        let Inbox { jobs, waiting } = &self.inboxes[place];
        let taken = waiting.fetch_add(1, Ordering::Relaxed) < CHUNKS_MAX && jobs.send(job).is_ok();
        if !taken {
            waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::error!(attempt = %key, "the store of outputs takes nothing more; the slave sends it again");
        }
    }

    /// What a program that runs has just written and is synced, for whoever follows; none when that would have to be
    /// waited for.
    pub(crate) fn at_once(&self, query: &Query) -> Option<Answer> {
        let Query::LiveOutput { key, stream, offset, bytes_max } = query else { return None };
        let length = (*bytes_max as usize).min(OUTPUT_CHUNK_BYTES_MAX);
        let bytes = files::read_at_once(&self.folder, *key, *stream, *offset, length)?;
        Some(Answer::Output(Some(StoredOutput { owner: None, offset: *offset, bytes, end: false })))
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

/// A file that is appended to.
struct Appended {
    file: File,
    length: u64,
    /// What is before is on its way to the disk, or there.
    begun: u64,
    /// What is before is not remembered any more.
    dropped: u64,
}

impl Appended {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, begun: length, dropped: length })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        if self.length - self.begun >= BEGUN_BYTES {
            // Of pages that are not written yet this is only begun; the last one may be written to again.
            let until = self.length / PAGE_BYTES * PAGE_BYTES;
            files::not_needed(&self.file, self.begun, until);
            self.begun = until;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let until = self.length.saturating_sub(REMEMBERED_BYTES) / PAGE_BYTES * PAGE_BYTES;
        if until >= self.dropped + REMEMBERED_BYTES {
            files::not_needed(&self.file, self.dropped, until);
            self.dropped = until;
        }
        Ok(())
    }
}

struct Writer {
    folder: PathBuf,
    files: HashMap<(AttemptKey, Stream), Appended>,
    stored: Arc<Stored>,
    /// Jobs that were given and not begun.
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Job>) -> io::Result<()> {
        while let Ok(first) = inbox.recv() {
            let mut touched = BTreeSet::new();
            for job in std::iter::once(first).chain(inbox.try_iter()).take(ROUND_MAX) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                match job {
                    Job::Append(chunk) => {
                        let place = (chunk.key, chunk.stream);
                        self.insist(|writer| writer.append(&chunk))?;
                        touched.insert(place);
                        // From here on the system holds it.
                        drop(chunk.guard);
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
            for place in touched {
                if let Some(appended) = self.files.get_mut(&place) {
                    // Never tried again, not even on a full disk: what a failed sync dropped, a second one passes over.
                    appended.sync()?;
                    (self.stored)(place.0, place.1, appended.length);
                }
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
            self.files.insert(place, Appended::new(file)?);
        }
        let Some(appended) = self.files.get_mut(&place) else { return Ok(()) };
        let end = chunk.offset + chunk.bytes.len() as u64;
        // A gap is never written over: what is missing is sent again at the slave's next connection.
        if chunk.offset <= appended.length && end > appended.length {
            let known = usize::try_from(appended.length - chunk.offset).unwrap_or(usize::MAX).min(chunk.bytes.len());
            appended.write(&chunk.bytes[known..])?;
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

    #[test]
    fn e5_a_follower_gets_what_was_just_stored_without_waiting_and_byte_exact() {
        let folder = tempfile::tempdir().unwrap();
        let (stored, was_stored) = sync_channel(1_024);
        let outputs = Outputs::start(
            folder.path(),
            Arc::new(move |_, _, offset| stored.send(offset).unwrap()),
            &(Arc::new(|_| {}) as Failed),
        )
        .unwrap();
        let key = AttemptKey { program: ProgramId(uuid::Uuid::from_u128(7)), attempt: 1 };
        let piece = |number: u64| -> Vec<u8> {
            (0..OUTPUT_CHUNK_BYTES_MAX as u64 - 1).map(|at| ((at + number) % 251) as u8).collect()
        };
        let whole: Vec<u8> = (0..700).flat_map(piece).collect();
        let read = |offset: usize, bytes_max: usize| {
            let (offset, bytes_max) = (offset as u64, u32::try_from(bytes_max).unwrap());
            outputs.at_once(&Query::LiveOutput { key, stream: Stream::Stdout, offset, bytes_max })
        };
        assert!(read(0, 10).is_none(), "there is no file yet");
        let mut at = 0;
        for bytes in whole.chunks(OUTPUT_CHUNK_BYTES_MAX - 1) {
            let chunk = Chunk { key, stream: Stream::Stdout, offset: at, bytes: bytes.to_vec(), guard: Guard(None) };
            at += bytes.len() as u64;
            outputs.append(chunk);
        }
        let mut synced = 0;
        while synced < whole.len() {
            synced = usize::try_from(was_stored.recv().unwrap()).unwrap();
            let (from, length) = (synced - 60_001, 60_000);
            // A file system that cannot tell whether it would wait is not asked.
            if let Some(Answer::Output(Some(found))) = read(from, length) {
                assert!(found.bytes == whole[from..synced - 1], "other bytes at {from}");
                assert_eq!((found.offset, found.end, found.owner), (from as u64, false, None));
            }
        }
        assert!(read(synced - 10, 11).is_none(), "there is less than that");
        let file = files::path(folder.path(), key, Stream::Stdout);
        assert!(std::fs::read(&file).unwrap() == whole, "what is synced early is not what was written");
        // All of it has just been read: where the system can tell that, the follower is answered.
        use rustix::{
            fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
            io::{ReadWriteFlags, preadv2},
        };
        let mut byte = [0];
        let tells = openat2(CWD, &file, OFlags::RDONLY, Mode::empty(), ResolveFlags::CACHED).and_then(|opened| {
            let mut room = [std::io::IoSliceMut::new(&mut byte)];
            preadv2(opened, &mut room, (synced - 10) as u64, ReadWriteFlags::NOWAIT)
        });
        assert_eq!(read(synced - 10, 9).is_some(), tells.is_ok(), "{tells:?}");
    }
}
