//! What programs have written and the master has not stored yet. While a program runs, its output is in files of
//! its slot, where the kernel puts it straight from the pipes: no byte is ever in this process alone, so none is
//! lost when it dies. Offsets count from the first byte of each stream, for ever.

mod given_back;

use common::{id::AttemptKey, limits, message::Stream};
use rustix::{
    fd::{AsFd, BorrowedFd},
    io::Errno,
    pipe::SpliceFlags,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes that one call moves: what a pipe holds once it was found full.
pub(super) const MOVE_BYTES_MAX: usize = 256 << 10;
/// What a pipe holds as it is made.
const PIPE_BYTES: usize = 64 << 10;
/// Ends of all ended attempts in memory; above it, every end is a file.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Bytes that the master has stored are given back to the disk in steps of this.
const GIVEN_BACK_BYTES_MIN: u64 = 1 << 20;
/// A program that writes faster than the master stores gets this far ahead before it is read at a measured pace: what
/// nobody needs for long costs more memory and time than all else on the way of its output.
const AHEAD_BYTES_MAX: u64 = 2 * limits::OUTPUT_CREDIT_BYTES;
/// For so long after the master stored something, more of it is expected.
const STORING: Duration = Duration::from_millis(100);
/// The last bytes of each stream that the last line is taken from.
const TAIL_BYTES: u64 = 2 * limits::LAST_LINE_BYTES_MAX as u64;

/// The streams of all attempts that are known.
#[derive(Debug)]
pub struct Outputs {
    /// Files of slots.
    spool: PathBuf,
    /// Files of ended attempts.
    outbox: PathBuf,
    /// Input files, which are kept beside.
    inputs: PathBuf,
    streams: BTreeMap<(AttemptKey, Stream), Held>,
    slots: BTreeMap<(u32, Stream), SlotFile>,
    memory_bytes: usize,
}

#[derive(Debug)]
struct Held {
    /// Bytes before this one are forgotten.
    begin: u64,
    end: u64,
    /// Bytes before this one were given back to the disk, if they are in the file of a slot.
    given_back: u64,
    /// When the master stored some of it the last time.
    stored_at: Option<Instant>,
    /// The pipe that it comes from was found full, and holds more since.
    wide: bool,
    place: Place,
}

impl Held {
    const fn new(begin: u64, end: u64, place: Place) -> Self {
        Self { begin, end, given_back: begin, stored_at: None, wide: false, place }
    }

    /// Gives the place of what is forgotten back to the disk, as if it had not been written: it mostly never was, and
    /// memory that is used again at once is worth more than fresh memory. The end stays, for the last line.
    fn give_back(&mut self) {
        let until =
            self.begin.min(self.end.saturating_sub(TAIL_BYTES)) / given_back::PAGE_BYTES * given_back::PAGE_BYTES;
        let Place::Slot(_, file) = &self.place else { return };
        if until < self.given_back + GIVEN_BACK_BYTES_MIN {
            return;
        }
        given_back::give_back(file, self.given_back, until);
        self.given_back = until;
    }
}

/// Where the bytes of a stream are.
#[derive(Debug)]
enum Place {
    /// Here, from `begin` on.
    Memory(Vec<u8>),
    /// In the file of its slot, whole.
    Slot(u32, Arc<File>),
    /// In a file of its own in the outbox, whole; opened when it is read.
    File(String),
}

/// The file of one stream of a slot, used by one attempt after another.
#[derive(Debug)]
struct SlotFile {
    file: Arc<File>,
    /// An earlier attempt has written to it.
    dirty: bool,
    /// Whose bytes it holds, until they are sealed.
    owner: Option<AttemptKey>,
}

/// The streams of an ended attempt, as a journal keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// One each, in the order of [`Stream::ALL`].
    pub streams: [SealedStream; Stream::COUNT],
}

/// One stream of an ended attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedStream {
    /// Bytes before this one are forgotten.
    pub begin: u64,
    /// Place after the last byte.
    pub end: u64,
    /// Where the bytes are.
    pub kept: Kept,
}

/// Where the bytes of a stream of an ended attempt are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// Here, from the first one that is not forgotten on.
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// In a file of the outbox, which holds the whole stream.
    File(String),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

impl Sealed {
    /// Of each stream the place of the first byte that is not forgotten, and that after the last.
    #[must_use]
    pub fn places(&self) -> [(u64, u64); Stream::COUNT] {
        std::array::from_fn(|place| (self.streams[place].begin, self.streams[place].end))
    }
}

impl Outputs {
    /// Keeps files of slots in `data/spool` and those of ended attempts in `data/outbox`.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn new(data: &Path) -> io::Result<Self> {
        let folder = |name: &str| {
            let path = data.join(name);
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            // Programs may enter the data folder, and have no business with others' attempts.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
            io::Result::Ok(path)
        };
        Ok(Self {
            spool: folder("spool")?,
            outbox: folder("outbox")?,
            inputs: crate::files::folder(data),
            streams: BTreeMap::new(),
            slots: BTreeMap::new(),
            memory_bytes: 0,
        })
    }

    /// An attempt begins in this slot: what an earlier one left in the slot's files is gone.
    ///
    /// # Errors
    /// When the files cannot be emptied.
    pub(super) fn begin(&mut self, slot: u32) -> io::Result<()> {
        for stream in Stream::ALL {
            // One that is opened only now may hold what an agent before this one left there.
            let unknown = !self.slots.contains_key(&(slot, stream));
            if let Some(owner) = self.slots.get(&(slot, stream)).and_then(|file| file.owner) {
                self.seal(owner)?;
            }
            let file = self.slot_file(slot, stream)?;
            if unknown || file.dirty {
                file.file.set_len(0)?;
                file.dirty = false;
            }
        }
        Ok(())
    }

    /// An attempt that an earlier agent began in this slot: what it has written so far is taken over.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(super) fn adopt(&mut self, key: AttemptKey, slot: u32) -> io::Result<()> {
        for stream in Stream::ALL {
            // It may have been sealed and not written down as ended: then the file goes back.
            match std::fs::rename(self.outbox.join(file_name(key, stream)), self.slot_path(slot, stream)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let known = self.slot_file(slot, stream)?;
            known.dirty = true;
            known.owner = Some(key);
            let end = match stream {
                Stream::Stdout | Stream::Stderr | Stream::Compile => known.file.metadata()?.len(),
                Stream::Files => super::collect::finished(&known.file)?.unwrap_or_default(),
            };
            if end == 0 {
                // What was collected in part is collected again.
                known.file.set_len(0)?;
            }
            // What was given back is not there any more.
            let begin = if stream == Stream::Files { 0 } else { given_back::given_back(&known.file, end)? };
            let held = Held::new(begin, end, Place::Slot(slot, known.file.clone()));
            self.streams.insert((key, stream), held);
        }
        Ok(())
    }

    fn slot_file(&mut self, slot: u32, stream: Stream) -> io::Result<&mut SlotFile> {
        let path = self.slot_path(slot, stream);
        match self.slots.entry((slot, stream)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false).mode(0o600);
                Ok(place.insert(SlotFile { file: Arc::new(options.open(path)?), dirty: false, owner: None }))
            }
        }
    }

    fn slot_path(&self, slot: u32, stream: Stream) -> PathBuf {
        self.spool.join(format!("slot-{slot}-{}", stream as u32))
    }

    fn held_in_slot(&mut self, key: AttemptKey, stream: Stream, slot: u32) -> io::Result<&mut Held> {
        if !self.streams.contains_key(&(key, stream)) {
            let known = self.slot_file(slot, stream)?;
            known.dirty = true;
            known.owner = Some(key);
            let place = Place::Slot(slot, known.file.clone());
            self.streams.insert((key, stream), Held::new(0, 0, place));
        }
        self.streams.get_mut(&(key, stream)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Moves at most `bytes_max` bytes from a pipe to the end of a stream, without waiting. Answers how many; 0 when
    /// nobody will write any more.
    ///
    /// # Errors
    /// `WouldBlock` when the pipe is empty; else what the data folder's disk says: the bytes are in the pipe still.
    pub(super) fn take(
        &mut self,
        key: AttemptKey,
        stream: Stream,
        slot: u32,
        pipe: BorrowedFd<'_>,
        bytes_max: usize,
    ) -> io::Result<(usize, u64)> {
        // Most programs end without a word: no file is touched for them.
        if !self.streams.contains_key(&(key, stream)) && is_at_end(pipe)? {
            return Ok((0, 0));
        }
        let held = self.held_in_slot(key, stream, slot)?;
        let Place::Slot(_, file) = &held.place else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut offset = held.end;
        let count = move_bytes(pipe, file, &mut offset, bytes_max.min(MOVE_BYTES_MAX))?;
        if count == PIPE_BYTES && !std::mem::replace(&mut held.wide, true) {
            widen(pipe);
        }
        held.end += count as u64;
        Ok((count, held.end))
    }

    /// Appends what this process has in memory to a stream and returns its new end.
    ///
    /// # Errors
    /// When the data folder's disk is full or fails.
    pub(super) fn append(&mut self, key: AttemptKey, stream: Stream, slot: u32, bytes: &[u8]) -> io::Result<u64> {
        let held = self.held_in_slot(key, stream, slot)?;
        let Place::Slot(_, file) = &held.place else { return Err(io::ErrorKind::InvalidInput.into()) };
        file.write_all_at(bytes, held.end)?;
        held.end += bytes.len() as u64;
        Ok(held.end)
    }

    /// Keeps all that a program wrote to one stream, which nobody has kept yet.
    pub(super) fn put(&mut self, key: AttemptKey, stream: Stream, bytes: Vec<u8>) {
        self.memory_bytes += bytes.len();
        let held = Held::new(0, bytes.len() as u64, Place::Memory(bytes));
        self.streams.insert((key, stream), held);
    }

    /// Where this slave keeps input files.
    pub(super) fn inputs(&self) -> PathBuf {
        self.inputs.clone()
    }

    /// The file that collected files of an attempt go to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn files_of(&mut self, key: AttemptKey, slot: u32) -> io::Result<Arc<File>> {
        match &self.held_in_slot(key, Stream::Files, slot)?.place {
            Place::Slot(_, file) => Ok(file.clone()),
            Place::Memory(_) | Place::File(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// So much was written to a stream's file by somebody else.
    pub(super) fn set_end(&mut self, key: AttemptKey, stream: Stream, end: u64) {
        if let Some(held) = self.streams.get_mut(&(key, stream)) {
            held.end = end;
        }
    }

    /// Whether a program is so far ahead of a master that stores what it writes that it can wait a little.
    pub(super) fn is_far_ahead(&self, key: AttemptKey, stream: Stream, now: Instant) -> bool {
        let storing = |at| now.saturating_duration_since(at) < STORING;
        self.streams
            .get(&(key, stream))
            .is_some_and(|held| held.end - held.begin > AHEAD_BYTES_MAX && held.stored_at.is_some_and(storing))
    }

    /// Place of the first byte of a stream that is kept.
    #[must_use]
    pub fn begin_of(&self, key: AttemptKey, stream: Stream) -> u64 {
        self.streams.get(&(key, stream)).map_or(0, |held| held.begin)
    }

    /// Place after the last byte of a stream.
    #[must_use]
    pub fn end(&self, key: AttemptKey, stream: Stream) -> u64 {
        self.streams.get(&(key, stream)).map_or(0, |held| held.end)
    }

    /// At most `bytes_max` bytes from `offset` on; none before what was forgotten.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, key: AttemptKey, stream: Stream, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let Some(held) = self.streams.get(&(key, stream)) else { return Ok(Vec::new()) };
        if offset < held.begin {
            return Ok(Vec::new());
        }
        self.read_held(held, offset, bytes_max)
    }

    fn read_held(&self, held: &Held, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let count = usize::try_from(held.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes_max);
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; count];
        match &held.place {
            Place::Memory(memory) => {
                let start = usize::try_from(offset.saturating_sub(held.begin)).map_err(io::Error::other)?;
                return Ok(memory.get(start..start + count).unwrap_or_default().to_vec());
            }
            Place::Slot(_, file) => file.read_exact_at(&mut bytes, offset)?,
            Place::File(name) => File::open(self.outbox.join(name))?.read_exact_at(&mut bytes, offset)?,
        }
        Ok(bytes)
    }

    /// The last bytes of a stream of an attempt that was not sealed yet, whether or not the master has stored them.
    #[must_use]
    pub fn tail(&self, key: AttemptKey, stream: Stream) -> Vec<u8> {
        let Some(held) = self.streams.get(&(key, stream)) else { return Vec::new() };
        let tail = self.read_held(held, held.end.saturating_sub(TAIL_BYTES), limits::LAST_LINE_BYTES_MAX * 2);
        tail.inspect_err(|error| tracing::error!(attempt = %key, %error, "the last line cannot be read"))
            .unwrap_or_default()
    }

    /// The master has stored everything before `offset`.
    pub fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        let Some(held) = self.streams.get_mut(&(key, stream)) else { return };
        let offset = offset.min(held.end);
        if offset <= held.begin {
            return;
        }
        if let Place::Memory(memory) = &mut held.place {
            let count = usize::try_from(offset - held.begin).unwrap_or(usize::MAX).min(memory.len());
            memory.drain(..count);
            self.memory_bytes -= count;
        }
        // A file stays until the attempt is forgotten: the journal names it until then.
        held.begin = offset;
        held.stored_at = Some(Instant::now());
        // Whether collected files are whole is told by how their stream begins.
        if stream != Stream::Files {
            held.give_back();
        }
    }

    /// An attempt has ended: its streams leave the files of its slot, so that the next attempt may use them. Small
    /// ends come into memory; others keep their file, which the caller syncs before it writes down that it is there.
    ///
    /// # Errors
    /// When a file cannot be read or moved.
    pub fn seal(&mut self, key: AttemptKey) -> io::Result<(Sealed, Vec<File>)> {
        let mut sealed = Sealed::default();
        let mut files = Vec::new();
        for (stream, seal) in Stream::ALL.into_iter().zip(&mut sealed.streams) {
            let Some(mut held) = self.streams.remove(&(key, stream)) else { continue };
            if let Place::Slot(slot, file) = &held.place {
                if let Some(known) = self.slots.get_mut(&(*slot, stream)) {
                    known.owner = None;
                }
                let rest = held.end - held.begin;
                if rest <= limits::INLINE_OUTPUT_BYTES_MAX as u64 && self.memory_bytes <= MEMORY_BYTES_MAX {
                    let bytes = self.read_held(&held, held.begin, limits::INLINE_OUTPUT_BYTES_MAX)?;
                    self.memory_bytes += bytes.len();
                    held.place = Place::Memory(bytes);
                } else {
                    let name = file_name(key, stream);
                    std::fs::rename(self.slot_path(*slot, stream), self.outbox.join(&name))?;
                    self.slots.remove(&(*slot, stream));
                    files.push(file.try_clone()?);
                    held.place = Place::File(name);
                }
            }
            if let Place::Memory(bytes) = &held.place
                && (bytes.len() > limits::INLINE_OUTPUT_BYTES_MAX || self.memory_bytes > MEMORY_BYTES_MAX)
            {
                let name = file_name(key, stream);
                files.push(write_file(&self.outbox.join(&name), held.begin, bytes)?);
                self.memory_bytes -= bytes.len();
                held.place = Place::File(name);
            }
            seal.begin = held.begin;
            seal.end = held.end;
            match &held.place {
                Place::Memory(memory) => seal.kept = Kept::Inline(memory.clone()),
                Place::File(name) => seal.kept = Kept::File(name.clone()),
                Place::Slot(..) => {}
            }
            self.streams.insert((key, stream), held);
        }
        if !files.is_empty() {
            // The names of the files must be as safe as what is in them.
            files.push(File::open(&self.outbox)?);
        }
        Ok((sealed, files))
    }

    /// Takes back what an earlier agent sealed.
    ///
    /// # Errors
    /// When a file is missing or shorter than it was.
    pub fn restore(&mut self, key: AttemptKey, sealed: Sealed) -> io::Result<()> {
        for (stream, sealed) in Stream::ALL.into_iter().zip(sealed.streams) {
            let SealedStream { begin, end, kept } = sealed;
            if end == 0 {
                continue;
            }
            let place = match kept {
                Kept::Inline(bytes) => {
                    self.memory_bytes += bytes.len();
                    Place::Memory(bytes)
                }
                Kept::File(name) => {
                    let found = std::fs::metadata(self.outbox.join(&name))?.len();
                    if name.contains('/') || found < end {
                        let reason = format!("{name} has {found} of {end} bytes");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                    }
                    Place::File(name)
                }
            };
            self.streams.insert((key, stream), Held::new(begin, end, place));
        }
        Ok(())
    }

    /// Removes the files of ended attempts that nobody knows of: called once, when everything was taken back.
    pub(super) fn sweep(&self) {
        let known: BTreeSet<&str> = self
            .streams
            .values()
            .filter_map(|held| if let Place::File(name) = &held.place { Some(name.as_str()) } else { None })
            .collect();
        for entry in std::fs::read_dir(&self.outbox).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !known.contains(name)) {
                remove_file(&entry.path());
            }
        }
    }

    /// Removes the files of slots: without keepers they are of no use, and they hold what programs wrote.
    pub(super) fn remove_spool(&self) {
        for entry in std::fs::read_dir(&self.spool).into_iter().flatten().flatten() {
            remove_file(&entry.path());
        }
    }

    /// Forgets an attempt.
    pub fn remove(&mut self, key: AttemptKey) {
        for stream in Stream::ALL {
            match self.streams.remove(&(key, stream)).map(|held| held.place) {
                Some(Place::Memory(memory)) => self.memory_bytes -= memory.len(),
                Some(Place::File(name)) => remove_file(&self.outbox.join(name)),
                Some(Place::Slot(slot, _)) => {
                    if let Some(known) = self.slots.get_mut(&(slot, stream)) {
                        known.owner = None;
                    }
                }
                None => {}
            }
        }
    }
}

fn file_name(key: AttemptKey, stream: Stream) -> String {
    format!("{}-{}-{}", key.program, key.attempt, stream as u32)
}

/// A file with these bytes at their place in the stream.
fn write_file(path: &Path, begin: u64, bytes: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all_at(bytes, begin)?;
    Ok(file)
}

fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an output file cannot be removed");
    }
}

/// Whether nothing is in a pipe and nobody will write to it any more.
fn is_at_end(pipe: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ready = [PollFd::new(&pipe, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec::default()))?;
    let found = ready[0].revents();
    if found.is_empty() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(!found.contains(PollFlags::IN))
}

/// Lets a program that filled its pipe write more before somebody must be woken. It goes on as it was where the
/// system allows no more.
fn widen(pipe: BorrowedFd<'_>) {
    if rustix::pipe::fcntl_getpipe_size(pipe).is_ok_and(|size| size == PIPE_BYTES)
        && let Err(error) = rustix::pipe::fcntl_setpipe_size(pipe, MOVE_BYTES_MAX)
    {
        tracing::debug!(%error, "a pipe stays as wide as it was");
    }
}

/// Moves bytes inside the kernel: whoever dies meanwhile, each is either in the pipe or in the file.
fn move_bytes(pipe: BorrowedFd<'_>, file: &File, offset: &mut u64, bytes_max: usize) -> io::Result<usize> {
    loop {
        let start = *offset;
        match rustix::pipe::splice(pipe, None, file.as_fd(), Some(offset), bytes_max, SpliceFlags::NONBLOCK) {
            Ok(count) => {
                *offset = start + count as u64;
                return Ok(count);
            }
            Err(Errno::INTR) => {}
            // A file system that cannot do it.
            Err(Errno::INVAL) => {
                let mut bytes = vec![0; bytes_max];
                let count = rustix::io::read(pipe, bytes.as_mut_slice())?;
                file.write_all_at(&bytes[..count], start)?;
                return Ok(count);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
