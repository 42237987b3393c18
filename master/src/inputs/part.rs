//! An input file that is being received: appended to, hashed as it comes, and checked before it counts.

use common::id::Digest;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes that are written between two syncs, so that the last one is short.
const SYNC_BYTES: u64 = 64 << 20;

/// It is open only while it is written to: many may be on their way at once.
pub(super) struct Part {
    path: PathBuf,
    size: u64,
    length: u64,
    hasher: blake3::Hasher,
    /// The hasher has seen all that the file holds; one from before a restart is read first.
    hashed: bool,
    unsynced: u64,
    whole: bool,
}

impl Part {
    /// Begins a file, or goes on with what is there.
    pub(super) fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let mut length = file.metadata()?.len();
        if length > size {
            file.set_len(0)?;
            length = 0;
        }
        Ok(Self {
            path: path.to_owned(),
            size,
            length,
            hasher: blake3::Hasher::new(),
            hashed: length == 0,
            unsynced: length,
            whole: false,
        })
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Adds bytes to the end and answers how much there is.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let file = File::options().read(true).write(true).open(&self.path)?;
        if !self.hashed {
            let mut read = vec![0; 1 << 20];
            let mut before = (&file).take(self.length);
            loop {
                match before.read(&mut read)? {
                    0 => break,
                    count => drop(self.hasher.update(&read[..count])),
                }
            }
            self.hashed = true;
        }
        file.write_all_at(bytes, self.length)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES && self.length < self.size {
            file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(self.length)
    }

    /// Moves the file to its place, durably, when it has the content that was announced; else answers false.
    pub(super) fn finish(&mut self, digest: Digest, place: &Path) -> io::Result<bool> {
        if *self.hasher.finalize().as_bytes() != digest.0 {
            return Ok(false);
        }
        File::options().write(true).open(&self.path)?.sync_all()?;
        let folder = place.parent().unwrap_or(place);
        if !folder.is_dir() {
            super::make_folder(folder)?;
            super::sync_folder(folder.parent().unwrap_or(folder))?;
        }
        fs::rename(&self.path, place)?;
        super::sync_folder(folder)?;
        self.whole = true;
        Ok(true)
    }
}
