//! What the slave started, what ended and is not acknowledged: on disk, so that a new start of the agent knows it.
//!
//! A start waits for its record to be written, which outlives the agent; it does not wait for the sync, which
//! outlives the machine. Results are sent while they are synced. When the disk takes nothing, what ends is kept
//! in memory, nothing new is started, and the journal is written anew as soon as that is possible.

mod medium;
mod open;
mod record;
mod rewrite;
mod syncer;
#[cfg(test)]
mod tests;

pub(crate) use open::fuzz_read;
pub use open::{Found, boot_id};
pub use record::KeptEnd;
pub(crate) use record::fuzz_file;
pub use syncer::SyncFailure;

use common::{
    id::AttemptKey,
    message::Assignment,
    units::{ByteSize, Timestamp},
};
use medium::{Media, Medium};
use record::{Entry, Head, Record, append};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use syncer::{Order, Syncer};

/// A result that the master takes sooner than this needs no sync of its own: that is most of them.
const SYNC_AFTER: Duration = Duration::from_millis(10);
/// What else was written is synced, and what was forgotten is written, at least this often.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// A journal smaller than this is not rewritten.
const REWRITE_BYTES_MIN: u64 = 16 << 20;
/// Records that are needed; above it the slave takes nothing new until the master has taken results.
const LIVE_BYTES_MAX: u64 = 128 << 20;
/// How long the journal waits before it tries a disk again that took nothing.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// And at most, after many tries.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Where the newest record of an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    bytes: u64,
    /// Its output may be in files, which go when it is forgotten.
    in_files: bool,
}

/// The disk does not take what it should.
#[derive(Debug)]
struct Trouble {
    reason: String,
    retry_at: Instant,
    delay: Duration,
}

/// A record in the buffer.
#[derive(Debug)]
struct Noted {
    key: AttemptKey,
    offset: u64,
    bytes: u64,
    /// Of an end, and whether its output is in files.
    ended: Option<bool>,
}

/// The journal of one agent. Nothing in here waits for the disk but what says so.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    media: Media,
    medium: Arc<Medium>,
    head: Head,
    /// Place after the last record.
    end: u64,
    live: BTreeMap<AttemptKey, Place>,
    live_bytes: u64,
    buffer: Vec<u8>,
    /// What is in the buffer and not written.
    noted: Vec<Noted>,
    /// Forgotten, and not yet written.
    forgotten: Vec<AttemptKey>,
    /// That is to be written with the next write at the latest.
    forget_now: bool,
    /// Ends that were not ordered to be synced yet, with the files of their outputs.
    unsynced: BTreeMap<AttemptKey, Vec<File>>,
    /// Records of ends that could not be written.
    unwritten: BTreeMap<AttemptKey, Vec<u8>>,
    /// Attempts whose output files could not be synced; what the disk has of them is not known.
    unsafe_outputs: BTreeSet<AttemptKey>,
    sync_at: Option<Instant>,
    flush_at: Option<Instant>,
    trouble: Option<Trouble>,
    /// More lives than the journal shall hold.
    full: bool,
    /// Everything that was started is known.
    whole: bool,
    syncer: Syncer,
}

impl Journal {
    /// The number that the slave registers with.
    #[must_use]
    pub const fn instance(&self) -> u64 {
        self.head.instance
    }

    /// Why the slave takes nothing new, for people; none when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.reason.clone());
        }
        self.full.then(|| format!("the master has not taken {} of results", ByteSize(self.live_bytes)))
    }

    /// Notes that these are about to be started, and writes it.
    ///
    /// # Errors
    /// When it cannot be written: then they must not be started.
    pub fn start(&mut self, started: &[(Assignment, Timestamp)]) -> io::Result<()> {
        for (assignment, at) in started {
            self.note_start(assignment, *at);
        }
        self.write_noted()
    }

    /// Notes that this is about to be started; [`Journal::write_noted`] writes it.
    pub fn note_start(&mut self, assignment: &Assignment, at: Timestamp) {
        self.note(assignment.key, None, &Entry::Started { assignment, at });
    }

    /// Whether the journal knows of this attempt, so that its end must be kept.
    #[must_use]
    pub fn knows(&self, key: AttemptKey) -> bool {
        self.live.contains_key(&key)
    }

    /// Keeps these ends; `files` of their outputs are synced before the journal is. What cannot be written is
    /// kept in memory until it can.
    pub fn end(&mut self, ends: Vec<(KeptEnd, Vec<File>)>) {
        if ends.is_empty() {
            return;
        }
        for (end, files) in ends {
            self.note_end(&end, files);
        }
        // What could not be written is in memory, and the journal in trouble.
        self.write_noted().unwrap_or_default();
    }

    /// Keeps an end as [`Journal::end`] does; [`Journal::write_noted`] writes it.
    pub fn note_end(&mut self, end: &KeptEnd, files: Vec<File>) {
        self.note(end.key(), Some(!files.is_empty()), &Entry::Ended(end));
        self.unsynced.insert(end.key(), files);
    }

    /// Writes what was noted since the last time, in its order, together with what was forgotten.
    ///
    /// # Errors
    /// When it cannot be written: nothing of what was noted as a start may be started. Ends are kept in memory.
    pub fn write_noted(&mut self) -> io::Result<()> {
        let noted = std::mem::take(&mut self.noted);
        if noted.is_empty() && !std::mem::take(&mut self.forget_now) {
            return Ok(());
        }
        self.forget_now = false;
        if noted.is_empty() {
            self.begin_batch();
            return if self.buffer.is_empty() { Ok(()) } else { self.write().map(drop) };
        }
        let written = self.write();
        for Noted { key, offset, bytes, ended } in noted {
            match (&written, ended) {
                (Ok(base), ended) => {
                    self.place(key, Place { offset: base + offset, bytes, in_files: ended.unwrap_or_default() });
                    if ended.is_some() {
                        self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_AFTER);
                    }
                }
                (Err(_), Some(_)) => {
                    let range = usize::try_from(offset).unwrap_or(0)..usize::try_from(offset + bytes).unwrap_or(0);
                    self.unwritten.insert(key, self.buffer.get(range).unwrap_or_default().to_vec());
                }
                (Err(_), None) => {}
            }
        }
        written.map(drop)
    }

    fn note(&mut self, key: AttemptKey, ended: Option<bool>, entry: &Entry<'_>) {
        if self.noted.is_empty() {
            self.begin_batch();
        }
        let offset = self.buffer.len() as u64;
        let bytes = append(entry, &mut self.buffer);
        self.noted.push(Noted { key, offset, bytes, ended });
    }

    /// An attempt was noted as started, and surely was not: with the next [`Journal::write_noted`] it is as if it had
    /// never been.
    pub fn never_started(&mut self, key: AttemptKey) {
        self.forget(key);
        self.forget_now = true;
    }

    /// An end could not be kept at all, for this reason: nothing new is taken until it is acknowledged.
    pub fn cannot_keep(&mut self, key: AttemptKey, error: &io::Error) {
        self.unsafe_outputs.insert(key);
        self.fail("the output of a program cannot be kept", error);
    }

    /// Nothing of this attempt is needed any more.
    pub fn forget(&mut self, key: AttemptKey) {
        self.unsynced.remove(&key);
        self.unwritten.remove(&key);
        self.unsafe_outputs.remove(&key);
        let Some(place) = self.live.remove(&key) else { return };
        self.live_bytes -= place.bytes;
        // Not at once again: each change of mind costs a session.
        self.full &= self.live_bytes > LIVE_BYTES_MAX / 2;
        self.forgotten.push(key);
        if place.in_files {
            // Before its files go: a start of the agent in between would miss them.
            self.flush();
        }
        self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
    }

    /// The master serves this epoch of its history.
    pub fn set_epoch(&mut self, epoch: u32) {
        self.head.epoch = epoch;
        self.write_noted().unwrap_or_default();
        self.begin_batch();
        append(&Record::Epoch(epoch), &mut self.buffer);
        if self.write().is_ok() {
            self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_AFTER);
        }
    }

    /// When to call [`Journal::tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let retry = self.trouble.as_ref().map(|trouble| trouble.retry_at);
        [self.sync_at, self.flush_at, retry].into_iter().flatten().min()
    }

    /// Syncs, writes and repairs what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.sync_at.take_if(|at| now >= *at).is_some() && !self.unsynced.is_empty() {
            self.sync(now);
        }
        if self.flush_at.take_if(|at| now >= *at).is_some() {
            self.flush();
        }
        if self.trouble.as_ref().is_some_and(|trouble| now >= trouble.retry_at) {
            self.repair(now);
        }
    }

    /// Resolves when something could not be synced; then call [`Journal::sync_failed`].
    pub async fn failure(&mut self) -> SyncFailure {
        self.syncer.failure().await
    }

    /// What the disk has is not known any more: nothing new is taken until the journal is written anew.
    pub fn sync_failed(&mut self, failure: &SyncFailure) {
        // What was acknowledged in the meantime is of no use to anybody.
        match failure.output_of {
            Some(key) if !self.live.contains_key(&key) => return,
            Some(key) => drop(self.unsafe_outputs.insert(key)),
            None => {}
        }
        self.fail("the disk does not keep the journal", &failure.error);
    }

    /// Writes and syncs what is left, and waits for it.
    pub fn close(mut self) {
        self.flush();
        if !self.live.is_empty() {
            self.sync(Instant::now());
        }
        for failure in self.syncer.finish() {
            self.sync_failed(&failure);
        }
        if let Some(reason) = self.trouble()
            && !self.live.is_empty()
        {
            tracing::error!(results = self.live.len(), %reason, "results may not survive a restart of the machine");
        }
    }

    fn place(&mut self, key: AttemptKey, place: Place) {
        if let Some(old) = self.live.insert(key, place) {
            self.live_bytes -= old.bytes;
        }
        self.live_bytes += place.bytes;
        self.full |= self.live_bytes > LIVE_BYTES_MAX;
    }

    /// What was forgotten goes first, in the same write.
    fn begin_batch(&mut self) {
        self.buffer.clear();
        if !self.forgotten.is_empty() {
            let forgotten = std::mem::take(&mut self.forgotten);
            append(&Record::Forgotten(forgotten), &mut self.buffer);
            self.flush_at = None;
        }
    }

    /// Writes the buffer; the place of its first byte. A write that fails leaves nothing behind.
    fn write(&mut self) -> io::Result<u64> {
        if let Some(trouble) = &self.trouble {
            return Err(io::Error::other(trouble.reason.clone()));
        }
        let base = self.end;
        match self.medium.write_all_at(&self.buffer, base) {
            Ok(()) => {
                self.end += self.buffer.len() as u64;
                Ok(base)
            }
            Err(error) => {
                if let Err(error) = self.medium.set_len(base) {
                    tracing::debug!(%error, "what a failed write left stays; it is written over");
                }
                self.fail("the journal cannot be written", &error);
                Err(error)
            }
        }
    }

    fn flush(&mut self) {
        self.write_noted().unwrap_or_default();
        self.begin_batch();
        // What cannot be written is not needed either: the file is written anew without it.
        let written = self.buffer.is_empty() || self.write().is_ok();
        if written && self.end > REWRITE_BYTES_MIN.max(2 * self.live_bytes) {
            self.rewrite_or_fail();
        }
    }

    fn sync(&mut self, now: Instant) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let files = |(key, files): (AttemptKey, Vec<File>)| files.into_iter().map(move |file| (key, file));
        let order = Order { journal: self.medium.clone(), files: unsynced.into_iter().flat_map(files).collect() };
        if let Err(order) = self.syncer.order(order) {
            // The disk is slow: what gathers meanwhile is synced together.
            for (key, file) in order.files {
                self.unsynced.entry(key).or_default().push(file);
            }
            self.sync_at = Some(now + SYNC_AFTER);
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        let reason = format!("{what}: {error}");
        if self.trouble.is_none() {
            tracing::error!(path = %self.path.display(), %reason, "nothing new is taken until that is mended");
        }
        let delay = self.trouble.as_ref().map_or(RETRY_FIRST, |trouble| trouble.delay);
        self.trouble = Some(Trouble { reason, retry_at: Instant::now() + delay, delay });
    }
}
