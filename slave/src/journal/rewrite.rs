//! Writing the journal anew with what is needed alone: to keep it small, and to mend it.

use super::{
    Journal, LIVE_BYTES_MAX, Place, RETRY_MAX,
    open::new_instance,
    record::{MAGIC, Record, append, is_whole},
};
use std::{collections::BTreeMap, io, path::Path, sync::Arc, time::Instant};

/// Bytes that are gathered before they are written.
const PIECE_BYTES: usize = 1 << 20;

impl Journal {
    /// Writes what lives into a new file, syncs it and puts it into the place of the old one. Waits for the disk.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        self.drop_damaged();
        let mut head = self.head.clone();
        if !self.whole {
            // Another start of the agent will not know all, and must say so.
            head.instance = new_instance();
        }
        let new_path = self.path.with_extension("new");
        let medium = self.media.create(&new_path)?;
        let mut live = BTreeMap::new();
        let mut piece = MAGIC.to_vec();
        let mut written = 0;
        append(&Record::Begin(head), &mut piece);
        for (key, place) in &self.live {
            live.insert(*key, Place { offset: written + piece.len() as u64, ..*place });
            let begin = piece.len();
            piece.resize(begin + usize::try_from(place.bytes).map_err(io::Error::other)?, 0);
            self.medium.read_exact_at(&mut piece[begin..], place.offset)?;
            if piece.len() >= PIECE_BYTES {
                medium.write_all_at(&piece, written)?;
                written += piece.len() as u64;
                piece.clear();
            }
        }
        for (key, bytes) in &self.unwritten {
            let offset = written + piece.len() as u64;
            live.insert(*key, Place { offset, bytes: bytes.len() as u64, in_files: true });
            piece.extend_from_slice(bytes);
        }
        medium.write_all_at(&piece, written)?;
        written += piece.len() as u64;
        medium.sync()?;
        std::fs::rename(&new_path, &self.path)?;
        sync_folder(&self.path)?;
        self.live_bytes = live.values().map(|place: &Place| place.bytes).sum();
        self.live = live;
        self.medium = Arc::new(medium);
        self.end = written;
        self.unwritten.clear();
        self.forgotten.clear();
        self.full = self.live_bytes > LIVE_BYTES_MAX;
        // The records are synced; files of outputs that wait for it have their turn now.
        self.unsynced.retain(|_, files| !files.is_empty());
        if !self.unsynced.is_empty() {
            self.sync_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Records that are not what was written: each attempt goes on here, and is not known after a restart.
    fn drop_damaged(&mut self) {
        let (medium, live_bytes) = (&self.medium, &mut self.live_bytes);
        let mut bytes = Vec::new();
        let before = self.live.len();
        self.live.retain(|key, place| {
            bytes.resize(usize::try_from(place.bytes).unwrap_or(0), 0);
            let good = medium.read_exact_at(&mut bytes, place.offset).is_ok() && is_whole(&bytes);
            if !good {
                tracing::error!(attempt = %key, "its record in the journal is damaged");
                *live_bytes -= place.bytes;
            }
            good
        });
        self.whole &= self.live.len() == before;
    }

    pub(super) fn rewrite_or_fail(&mut self) {
        if let Err(error) = self.rewrite() {
            self.fail("the journal cannot be written anew", &error);
        }
    }

    /// Tries the disk again.
    pub(super) fn repair(&mut self, now: Instant) {
        let Some(mut trouble) = self.trouble.take() else { return };
        trouble.delay = (trouble.delay * 2).min(RETRY_MAX);
        trouble.retry_at = now + trouble.delay;
        // Nothing repairs outputs that were not synced; the master takes them as they are.
        let repaired = match self.unsafe_outputs.is_empty() {
            true => self.rewrite().map_err(|error| format!("the journal cannot be written anew: {error}")),
            false => Err(trouble.reason.clone()),
        };
        match repaired {
            Ok(()) => {
                tracing::info!(path = %self.path.display(), "the journal is whole again");
            }
            Err(error) => {
                trouble.reason = error;
                self.trouble = Some(trouble);
            }
        }
    }
}

/// Makes a rename in the folder of `path` outlive the machine.
fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
