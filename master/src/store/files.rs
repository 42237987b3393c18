//! Streamed outputs: one file for each attempt and stream, in two levels of folders, only appended to.

use common::{AttemptKey, limits::OUTPUT_CREDIT_BYTES, message::Stream};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::{ReadWriteFlags, preadv2},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// What is synced stays in the system's memory so far from a file's end, for whoever follows; the rest of a long
/// output makes place: memory that is used again at once costs a fifth of fresh memory.
pub(crate) const REMEMBERED_BYTES: u64 = 2 * OUTPUT_CREDIT_BYTES;

/// Where an attempt's stream is kept. The random end of the ID spreads the files.
pub(crate) fn path(outputs: &Path, key: AttemptKey, stream: Stream) -> PathBuf {
    let bytes = key.program.0.as_bytes();
    let word = match stream {
        Stream::Stdout => "out",
        Stream::Stderr => "err",
        Stream::Compile => "compile",
        Stream::Files => "files",
    };
    outputs
        .join(format!("{:02x}", bytes[15]))
        .join(format!("{:02x}", bytes[14]))
        .join(format!("{}.{}.{word}", key.program, key.attempt))
}

/// Opens a stream's file for appending, and makes it durable that it exists.
///
/// # Errors
/// When the folder or the file cannot be made.
pub(crate) fn open(outputs: &Path, key: AttemptKey, stream: Stream) -> io::Result<File> {
    let path = path(outputs, key, stream);
    match OpenOptions::new().write(true).open(&path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(outputs);
            std::fs::create_dir_all(folder)?;
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            sync_folders(outputs, folder)?;
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// Makes it durable that what is in these folders exists. A failure is never taken for a full disk, which would be
/// tried again: what a failed sync dropped, a second one passes over.
fn sync_folders(outputs: &Path, folder: &Path) -> io::Result<()> {
    for folder in [folder, folder.parent().unwrap_or(outputs), outputs] {
        let sync = || File::open(folder)?.sync_all();
        sync().map_err(|error| io::Error::other(format!("`{}` cannot be synced: {error}", folder.display())))?;
    }
    Ok(())
}

/// Bytes stored of a stream; zero when there is no file. They are synced first: a master that was killed
/// may have left bytes, or a file, that only the system's memory holds.
///
/// # Errors
/// When the file is there and cannot be read or synced.
pub(crate) fn length(outputs: &Path, key: AttemptKey, stream: Stream) -> io::Result<u64> {
    let path = path(outputs, key, stream);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    file.sync_data()?;
    sync_folders(outputs, path.parent().unwrap_or(outputs))?;
    Ok(file.metadata()?.len())
}

/// Reads at most `length` bytes from `offset`; empty where there is nothing.
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn read(outputs: &Path, key: AttemptKey, stream: Stream, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let file = match File::open(path(outputs, key, stream)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The same, if all of it is in the system's memory: never waits for a disk.
pub(crate) fn read_at_once(
    outputs: &Path,
    key: AttemptKey,
    stream: Stream,
    offset: u64,
    length: usize,
) -> Option<Vec<u8>> {
    let path = path(outputs, key, stream);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let mut bytes = vec![0; length];
    let count = preadv2(file, &mut [IoSliceMut::new(&mut bytes)], offset, ReadWriteFlags::NOWAIT).ok()?;
    (count == length).then_some(bytes)
}

/// Has the system write this part of a file if it is not written, and forget it if it is. Never waits for a disk.
pub(crate) fn not_needed(file: &File, from: u64, until: u64) {
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(until - from)) else { return };
    let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    // Everything works without.
    if let Err(error) = posix_fadvise(file, from, length, advice) {
        tracing::debug!(%error, "the system takes no advice about an output");
    }
}

/// Reads a file once from its beginning. Of a long one no more stays in memory than while it grew.
pub(crate) struct Once {
    file: File,
    long: bool,
    read: u64,
    dropped: u64,
}

impl Once {
    /// Bytes that are given back together.
    const STEP_BYTES: u64 = 1 << 20;

    /// # Errors
    /// When there is no such file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let long = file.metadata()?.len() > REMEMBERED_BYTES;
        Ok(Self { file, long, read: 0, dropped: 0 })
    }
}

impl Read for Once {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        if self.long && self.read - self.dropped >= Self::STEP_BYTES {
            not_needed(&self.file, self.dropped, self.read);
            self.dropped = self.read;
        }
        Ok(count)
    }
}

/// Removes the files of an attempt that another one has replaced.
pub(crate) fn remove(outputs: &Path, key: AttemptKey) {
    for stream in Stream::ALL {
        let path = path(outputs, key, stream);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "an output that nobody needs cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_a_long_file_is_read_once_and_byte_exact_whatever_is_forgotten_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let whole: Vec<u8> = (0..REMEMBERED_BYTES + 5_000_001).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &whole).unwrap();
        let mut once = Once::open(&path).unwrap();
        assert!(once.long);
        let mut read = vec![0; 3_000_007];
        once.read_exact(&mut read).unwrap();
        // Written and not synced, and behind by now: nothing of it is lost.
        assert_eq!(once.dropped, once.read);
        once.read_to_end(&mut read).unwrap();
        assert!(read == whole, "{} bytes, not those of the file", read.len());
        assert!(std::fs::read(&path).unwrap() == whole, "the file is another");
        std::fs::write(&path, b"short").unwrap();
        assert!(!Once::open(&path).unwrap().long);
    }
}
