//! What programs have written and the master has not stored yet: small amounts in memory, more in files of
//! the data folder. Offsets count from the first byte of each stream, for ever.

use common::{id::AttemptKey, limits, message::Stream};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
};

/// A stream that holds more than this goes on in a file.
const STREAM_MEMORY_BYTES_MAX: usize = 128 << 10;
/// All streams together; above it, every stream that grows goes on in a file.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// The last bytes of each stream are kept for the last line, even when all is stored.
const TAIL_BYTES: usize = 2 * limits::LAST_LINE_BYTES_MAX;

/// The streams of all attempts that are known.
#[derive(Debug)]
pub struct Outputs {
    folder: PathBuf,
    streams: BTreeMap<(AttemptKey, Stream), Held>,
    memory_bytes: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// Bytes before this one are forgotten.
    begin: u64,
    end: u64,
    /// Bytes from `begin`, while there is no file.
    memory: Vec<u8>,
    spill: Option<Spill>,
    tail: Vec<u8>,
}

#[derive(Debug)]
struct Spill {
    path: PathBuf,
    /// Place in the stream of the file's first byte.
    first: u64,
    /// Open while the program runs.
    file: Option<File>,
}

impl Outputs {
    /// Holds what does not fit into memory in `folder`, which is emptied.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        // Programs may enter the data folder, and have no business with others' attempts.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(&folder)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(Self { folder, streams: BTreeMap::new(), memory_bytes: 0 })
    }

    /// Appends to a stream and returns its new end.
    ///
    /// # Errors
    /// When the data folder's disk is full or fails.
    pub fn append(&mut self, key: AttemptKey, stream: Stream, bytes: &[u8]) -> io::Result<u64> {
        let held = self.streams.entry((key, stream)).or_default();
        let too_much = held.memory.len() + bytes.len() > STREAM_MEMORY_BYTES_MAX
            || self.memory_bytes + bytes.len() > MEMORY_BYTES_MAX;
        if held.spill.is_none() && too_much {
            let path = self.folder.join(format!("{}-{}-{}", key.program, key.attempt, stream as u32));
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            if let Err(error) = file.write_all_at(&held.memory, 0) {
                // Nothing refers to the file yet; the first error says more than that of its removal.
                drop(std::fs::remove_file(&path));
                return Err(error);
            }
            self.memory_bytes -= held.memory.len();
            held.memory = Vec::new();
            held.spill = Some(Spill { path, first: held.begin, file: Some(file) });
        }
        match &mut held.spill {
            Some(spill) => spill.with_file(|file, first| file.write_all_at(bytes, held.end - first))?,
            None => {
                held.memory.extend_from_slice(bytes);
                self.memory_bytes += bytes.len();
            }
        }
        held.end += bytes.len() as u64;
        held.remember_tail(bytes);
        Ok(held.end)
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
        let count = usize::try_from(held.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes_max);
        if offset < held.begin || count == 0 {
            return Ok(Vec::new());
        }
        let Some(spill) = &held.spill else {
            let start = usize::try_from(offset - held.begin).map_err(io::Error::other)?;
            return Ok(held.memory.get(start..start + count).unwrap_or_default().to_vec());
        };
        let mut bytes = vec![0; count];
        match &spill.file {
            Some(file) => file.read_exact_at(&mut bytes, offset - spill.first)?,
            None => File::open(&spill.path)?.read_exact_at(&mut bytes, offset - spill.first)?,
        }
        Ok(bytes)
    }

    /// The last bytes of a stream, whether or not the master has stored them.
    #[must_use]
    pub fn tail(&self, key: AttemptKey, stream: Stream) -> &[u8] {
        self.streams.get(&(key, stream)).map_or(&[], |held| &held.tail)
    }

    /// The master has stored everything before `offset`.
    pub fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        let Some(held) = self.streams.get_mut(&(key, stream)) else { return };
        let offset = offset.min(held.end);
        if offset <= held.begin {
            return;
        }
        if held.spill.is_some() {
            // The file goes once all of it is stored; the stream then goes on in memory.
            if offset == held.end {
                held.remove_spill();
            }
        } else {
            let count = usize::try_from(offset - held.begin).unwrap_or(usize::MAX).min(held.memory.len());
            held.memory.drain(..count);
            self.memory_bytes -= count;
        }
        held.begin = offset;
    }

    /// The attempt writes no more: its files are closed until they are read.
    pub fn close(&mut self, key: AttemptKey) {
        for stream in Stream::ALL {
            if let Some(held) = self.streams.get_mut(&(key, stream)) {
                held.memory.shrink_to_fit();
                if let Some(spill) = &mut held.spill {
                    spill.file = None;
                }
            }
        }
    }

    /// Forgets an attempt.
    pub fn remove(&mut self, key: AttemptKey) {
        for stream in Stream::ALL {
            if let Some(mut held) = self.streams.remove(&(key, stream)) {
                self.memory_bytes -= held.memory.len();
                held.remove_spill();
            }
        }
    }
}

impl Spill {
    fn with_file(&mut self, write: impl FnOnce(&File, u64) -> io::Result<()>) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().read(true).write(true).open(&self.path)?,
        };
        write(&file, self.first)?;
        self.file = Some(file);
        Ok(())
    }
}

impl Held {
    fn remember_tail(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let keep = TAIL_BYTES - new.len();
        let drop = self.tail.len().saturating_sub(keep);
        self.tail.drain(..drop);
        self.tail.extend_from_slice(new);
    }

    fn remove_spill(&mut self) {
        if let Some(spill) = self.spill.take()
            && let Err(error) = std::fs::remove_file(&spill.path)
        {
            tracing::warn!(path = %spill.path.display(), %error, "an output file cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::ProgramId;

    fn key(number: u128) -> AttemptKey {
        AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 }
    }

    #[test]
    fn e5_output_is_byte_exact_in_memory_and_in_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::new(folder.path().join("spool")).unwrap();
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        for part in bytes.chunks(7_001) {
            outputs.append(key(1), Stream::Stdout, part).unwrap();
            let end = outputs.end(key(1), Stream::Stdout);
            let last = outputs.read(key(1), Stream::Stdout, end - 10, 64).unwrap();
            assert_eq!(last, bytes[usize::try_from(end).unwrap() - 10..usize::try_from(end).unwrap()]);
        }
        outputs.forget_before(key(1), Stream::Stdout, 1_000);
        assert_eq!(outputs.read(key(1), Stream::Stdout, 999, 10).unwrap(), b"");
        assert_eq!(outputs.read(key(1), Stream::Stdout, 1_000, 200_000).unwrap(), bytes[1_000..201_000]);
        outputs.close(key(1));
        assert_eq!(outputs.read(key(1), Stream::Stdout, 299_990, 64).unwrap(), bytes[299_990..]);
        assert_eq!(outputs.tail(key(1), Stream::Stdout), &bytes[bytes.len() - TAIL_BYTES..]);
        assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 1);
        outputs.forget_before(key(1), Stream::Stdout, 300_000);
        assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
        outputs.append(key(1), Stream::Stdout, b"more").unwrap();
        assert_eq!(outputs.read(key(1), Stream::Stdout, 300_000, 64).unwrap(), b"more");
        outputs.remove(key(1));
        assert_eq!((outputs.memory_bytes, outputs.streams.len()), (0, 0));
    }
}
