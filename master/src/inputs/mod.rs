//! Input files of programs, kept by their content: each is sent once, checked before it counts, and found again by
//! its hash. Blocking: to be called on threads that may wait. What is removed, the core decides.

mod part;

use crate::core::event::LinkId;
use common::{
    ErrorCode, UserError,
    escape::RawText,
    id::Digest,
    limits::{INPUT_FILE_BYTES_MAX, INPUT_WINDOW_BYTES, OUTPUT_CHUNK_BYTES_MAX},
    message::{Command, Data, Message, Order, status::InputHeld},
    units::ByteSize,
};
use part::Part;
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Bytes of one part that a client sends.
pub(crate) const PART_BYTES_MAX: usize = 1 << 20;
/// Files that are only in part here; more are refused.
const PARTS_MAX: usize = 4_096;
/// Of one user.
const PARTS_PER_USER_MAX: usize = 64;
/// A part to which nothing came for this long gives way when room is wanted.
const PART_IDLE: Duration = Duration::from_secs(600);
/// A part that is older than this when the master starts is removed.
const PART_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Room on the disk that input files leave to the history.
const RESERVE_BYTES: u64 = 64 << 20;
/// Pieces that are read for one slave at once; an honest one asks for fewer.
const READS_PER_SLAVE_MAX: u32 = 8;

/// The folder of input files.
pub(crate) struct Inputs {
    folder: PathBuf,
    state: Mutex<State>,
}

/// Who sends.
type User = Arc<str>;

#[derive(Default)]
struct State {
    /// Files that are whole, with their sizes.
    whole: BTreeMap<Digest, u64>,
    /// Each user sends for itself: what one announces or begins binds no other, even of the same file.
    parts: BTreeMap<(User, Digest), Entry>,
    reads: BTreeMap<LinkId, u32>,
}

/// A file that is being sent.
struct Entry {
    part: Arc<Mutex<Part>>,
    /// Bytes of the whole file, as it was announced.
    size: u64,
    /// Bytes that came.
    length: u64,
    touched: Instant,
}

/// What a part led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// So much is here now.
    Held(InputHeld),
    /// The file is whole: the core must hear of it before the sender.
    Whole,
}

/// Where a file that is whole lies below the folder of inputs.
pub(crate) fn name_of(digest: Digest) -> String {
    let name = digest.to_string();
    format!("{}/{name}", &name[..2])
}

/// The content that a file of this name has, as far as it is one of ours.
pub(crate) fn digest_of(name: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let plain = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !plain {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Digest(digest))
}

/// Where a user's part of a file lies: names of users are no names of files.
fn part_name(user: &str, digest: Digest) -> String {
    format!("{digest}.{}", Digest(*blake3::hash(user.as_bytes()).as_bytes()))
}

fn is_part_name(name: &str) -> bool {
    name.split_once('.').is_some_and(|(digest, user)| digest_of(digest).is_some() && digest_of(user).is_some())
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(what: &str, error: &io::Error) -> UserError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    if full {
        return no_room("the master's disk is full");
    }
    tracing::error!(%error, "{what}");
    UserError::new(ErrorCode::Internal, format!("{what}: {error}"))
}

/// There is no room for an input file.
pub(crate) fn no_room(why: &str) -> UserError {
    UserError::new(ErrorCode::StorageFull, format!("there is no room for an input file: {why}"))
        .with_hint("`inputs_max` in the master's configuration says how much is kept; what waiting and running programs need stays")
}

impl Inputs {
    /// Opens the folder of inputs in a data folder, and finds what is whole there, the least recently used first.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub(crate) fn open(data: &Path) -> io::Result<(Self, Vec<(Digest, u64)>)> {
        let folder = data.join("inputs");
        make_folder(&folder.join("parts"))?;
        sync_folder(&folder)?;
        sync_folder(data)?;
        let mut found = Vec::new();
        for_each(&folder, |digest, path| {
            let metadata = fs::metadata(path)?;
            found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), digest, metadata.len()));
            Ok(())
        })?;
        found.sort_by_key(|(at, digest, _)| (*at, *digest));
        let found: Vec<_> = found.into_iter().map(|(_, digest, size)| (digest, size)).collect();
        remove_old_parts(&folder.join("parts"))?;
        let state = State { whole: found.iter().copied().collect(), ..State::default() };
        Ok((Self { folder, state: Mutex::new(state) }, found))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(name_of(digest))
    }

    fn part_path(&self, user: &str, digest: Digest) -> PathBuf {
        self.folder.join("parts").join(part_name(user, digest))
    }

    /// How much of each is here for a user.
    pub(crate) fn held(&self, user: &User, digests: &[Digest]) -> Vec<InputHeld> {
        digests.iter().map(|digest| self.held_one(user, *digest)).collect()
    }

    fn held_one(&self, user: &User, digest: Digest) -> InputHeld {
        let length = {
            let state = self.state();
            if state.whole.contains_key(&digest) {
                return InputHeld::Whole;
            }
            state.parts.get(&(user.clone(), digest)).map(|entry| entry.length)
        };
        // From before a restart.
        let found = || fs::metadata(self.part_path(user, digest)).map_or(0, |found| found.len());
        InputHeld::Part(length.unwrap_or_else(found))
    }

    /// Bytes that the core must find room for before this file is begun; none when it is under way or here.
    pub(crate) fn room_wanted(&self, user: &User, digest: Digest, size: u64) -> Option<u64> {
        let mut state = self.state();
        if state.whole.contains_key(&digest) || state.parts.contains_key(&(user.clone(), digest)) {
            return None;
        }
        self.drop_idle(&mut state);
        // Of others only what came counts: what somebody says that will come keeps nobody else away.
        let counts = |((of, _), entry): (&(User, Digest), &Entry)| if of == user { entry.size } else { entry.length };
        Some(state.parts.iter().map(counts).fold(size, u64::saturating_add))
    }

    /// Forgets parts that nobody goes on with.
    fn drop_idle(&self, state: &mut State) {
        self.forget_parts(state, |_, entry| entry.touched.elapsed() > PART_IDLE);
    }

    fn forget_parts(&self, state: &mut State, which: impl Fn(&(User, Digest), &Entry) -> bool) {
        let gone: Vec<_> =
            state.parts.iter().filter(|(key, entry)| which(key, entry)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            state.parts.remove(&key);
            remove(&self.part_path(&key.0, key.1));
        }
    }

    /// Takes a part of a file. One that is not the next is not taken; the answer says which is.
    ///
    /// # Errors
    /// When the content is not what was announced, or there is no room.
    pub(crate) fn put(
        &self,
        user: &User,
        digest: Digest,
        size: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Put, UserError> {
        let invalid = |what: String| UserError::new(ErrorCode::RequestInvalid, what);
        if bytes.len() > PART_BYTES_MAX || size > INPUT_FILE_BYTES_MAX.0 {
            let most = ByteSize(PART_BYTES_MAX as u64);
            return Err(invalid(format!(
                "a part of {} bytes of {}; at most {most} of {INPUT_FILE_BYTES_MAX} is accepted",
                bytes.len(),
                ByteSize(size)
            )));
        }
        let Some(part) = self.begin(user, digest, size)? else { return Ok(Put::Held(InputHeld::Whole)) };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().whole.contains_key(&digest) {
            return Ok(Put::Held(InputHeld::Whole));
        }
        if part.is_whole() || offset != part.length() {
            return Ok(Put::Held(InputHeld::Part(part.length())));
        }
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > size) {
            return Err(invalid("a part goes beyond the end of its file".to_owned()));
        }
        let taken = match part.append(bytes) {
            Ok(taken) => taken,
            // Another user sent all of it meanwhile, and this part was removed.
            Err(_) if self.state().whole.contains_key(&digest) => return Ok(Put::Held(InputHeld::Whole)),
            Err(error) => return Err(failed("an input file cannot be written", &error)),
        };
        if let Some(entry) = self.state().parts.get_mut(&(user.clone(), digest)) {
            entry.length = taken;
        }
        if taken < size {
            return Ok(Put::Held(InputHeld::Part(taken)));
        }
        match part.finish(digest, &self.path(digest)) {
            Ok(true) => {
                let mut state = self.state();
                state.whole.insert(digest, size);
                self.forget_parts(&mut state, |(_, of), _| *of == digest);
                Ok(Put::Whole)
            }
            Ok(false) => {
                self.forget(user, digest);
                let sentence = format!("what was sent as the input file {digest} has another content");
                Err(UserError::new(ErrorCode::InputDamaged, sentence))
            }
            Err(error) => {
                // After a failed sync nobody knows what is on the disk.
                self.forget(user, digest);
                Err(failed("an input file cannot be kept", &error))
            }
        }
    }

    fn begin(&self, user: &User, digest: Digest, size: u64) -> Result<Option<Arc<Mutex<Part>>>, UserError> {
        let available = nix::sys::statvfs::statvfs(&self.folder)
            .map_or(u64::MAX, |found| found.blocks_available() * found.fragment_size());
        if available < RESERVE_BYTES + PART_BYTES_MAX as u64 {
            return Err(no_room("the master's disk is full"));
        }
        let mut state = self.state();
        if state.whole.contains_key(&digest) {
            return Ok(None);
        }
        let key = (user.clone(), digest);
        if let Some(entry) = state.parts.get_mut(&key) {
            if entry.size != size {
                let sentence = format!("the input file {digest} was announced with another size before");
                return Err(UserError::new(ErrorCode::InputDamaged, sentence));
            }
            entry.touched = Instant::now();
            return Ok(Some(entry.part.clone()));
        }
        self.drop_idle(&mut state);
        let of_user = state.parts.keys().filter(|(of, _)| of == user).count();
        if of_user >= PARTS_PER_USER_MAX || state.parts.len() >= PARTS_MAX {
            return Err(UserError::new(ErrorCode::Busy, "too many input files are being sent")
                .retry_after(common::limits::BUSY_RETRY));
        }
        let part = Part::open(&self.part_path(user, digest), size)
            .map_err(|error| failed("an input file cannot be begun", &error))?;
        let length = part.length();
        let part = Arc::new(Mutex::new(part));
        state.parts.insert(key, Entry { part: part.clone(), size, length, touched: Instant::now() });
        Ok(Some(part))
    }

    fn forget(&self, user: &User, digest: Digest) {
        self.state().parts.remove(&(user.clone(), digest));
        remove(&self.part_path(user, digest));
    }

    /// Removes a file that nothing needs.
    pub(crate) fn remove(&self, digest: Digest) {
        let mut state = self.state();
        if state.whole.remove(&digest).is_some() {
            remove(&self.path(digest));
        }
    }

    /// Leave to read a piece for a slave; none when it asks for too much at once.
    pub(crate) fn may_read(self: &Arc<Self>, link: LinkId) -> Option<Reading> {
        let mut state = self.state();
        let reads = state.reads.entry(link).or_default();
        if *reads >= READS_PER_SLAVE_MAX {
            return None;
        }
        *reads += 1;
        Some(Reading { inputs: self.clone(), link })
    }

    /// What follows `offset`, at most one window, in pieces, with the size of the whole file; none when it is not
    /// here.
    ///
    /// # Errors
    /// When it is here and cannot be read.
    fn read(&self, digest: Digest, offset: u64) -> io::Result<Option<(u64, Vec<Vec<u8>>)>> {
        let Some(size) = self.state().whole.get(&digest).copied() else { return Ok(None) };
        let file = match File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = offset.saturating_add(INPUT_WINDOW_BYTES).min(size);
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(OUTPUT_CHUNK_BYTES_MAX).min(OUTPUT_CHUNK_BYTES_MAX);
            let mut bytes = vec![0; count];
            file.read_exact_at(&mut bytes, at)?;
            at += count as u64;
            pieces.push(bytes);
        }
        Ok(Some((size, pieces)))
    }
}

/// Leave to read a piece; gives it back when dropped.
pub(crate) struct Reading {
    inputs: Arc<Inputs>,
    link: LinkId,
}

impl Reading {
    /// Reads the next window and sends it, or says that there is none.
    pub(crate) fn send(&self, sender: &transport::Sender, digest: Digest, offset: u64) {
        let missing = || vec![Message::from(Command::Order(Order::InputMissing(digest)))];
        let messages = match self.inputs.read(digest, offset) {
            Ok(Some((size, pieces))) => {
                let mut at = offset;
                let piece = |bytes: Vec<u8>| {
                    let offset = at;
                    at += bytes.len() as u64;
                    Message::from(Data::Input { digest, offset, size, bytes })
                };
                pieces.into_iter().map(piece).collect()
            }
            Ok(None) => missing(),
            Err(error) => {
                tracing::error!(%digest, %error, "an input file cannot be read");
                missing()
            }
        };
        if let Err(error) = sender.send_all(messages) {
            tracing::debug!(%error, "an input file for a slave that is gone");
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.inputs.state();
        if let Some(reads) = state.reads.get_mut(&self.link) {
            *reads -= 1;
            if *reads == 0 {
                state.reads.remove(&self.link);
            }
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an input file that nobody needs cannot be removed");
    }
}

/// Every file that is whole in a folder of inputs.
///
/// # Errors
/// When a folder cannot be read, or what `each` says.
pub(crate) fn for_each(folder: &Path, mut each: impl FnMut(Digest, &Path) -> io::Result<()>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for first in entries {
        let first = first?;
        if first.file_name() == "parts" || !first.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(first.path())? {
            let entry = entry?;
            match entry.file_name().to_str().and_then(digest_of) {
                Some(digest) if entry.file_type()?.is_file() => each(digest, &entry.path())?,
                _ => tracing::warn!(path = %RawText::from(&*entry.path().to_string_lossy()), "not an input file"),
            }
        }
    }
    Ok(())
}

fn remove_old_parts(parts: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parts)? {
        let entry = entry?;
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        let ours = entry.file_name().to_str().is_some_and(is_part_name);
        if !ours || age > PART_AGE_MAX || entry.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Whether a file has the content that its name says.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_sound(path: &Path, digest: Digest) -> io::Result<bool> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(*hasher.finalize().as_bytes() == digest.0)
}

#[cfg(test)]
mod tests;
