//! What a slot's file gave back to its disk, and how the next agent finds out how much that was.

use rustix::fs::FallocateFlags;
use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Nothing smaller than a page comes back.
pub(super) const PAGE_BYTES: u64 = 4_096;
/// How the mark begins that stands where the file's first bytes were.
const MARK: [u8; 8] = *b"\0gone:\0\n";
const MARK_BYTES: usize = 24;

/// Gives back what lies between two places, of which the first was the last one's second or 0: the master has stored
/// everything before `until`. The file's first bytes are written over by how far that is, because a hole alone does
/// not tell it: file systems that compress make holes of zeros that a program wrote.
pub(super) fn give_back(file: &File, from: u64, until: u64) {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let from = from.max(PAGE_BYTES);
    let given = file.write_all_at(&mark(until), 0).and_then(|()| {
        let bytes = until.saturating_sub(from);
        if bytes > 0 { Ok(rustix::fs::fallocate(file, hole, from, bytes)?) } else { Ok(()) }
    });
    if let Err(error) = given {
        tracing::debug!(%error, "this file system takes nothing back from a file");
    }
}

/// How much of a file that is `end` bytes long was given back. A program that writes such a mark itself loses its own
/// output up to there, and its output is marked as truncated.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn given_back(file: &File, end: u64) -> io::Result<u64> {
    if end < PAGE_BYTES {
        return Ok(0);
    }
    let mut found = [0; MARK_BYTES];
    file.read_exact_at(&mut found, 0)?;
    let until = u64::from_le_bytes(found[8..16].try_into().map_err(io::Error::other)?);
    Ok(if found == mark(until) && until <= end { until } else { 0 })
}

fn mark(until: u64) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..8].copy_from_slice(&MARK);
    mark[8..16].copy_from_slice(&until.to_le_bytes());
    mark[16..].copy_from_slice(&(!until).to_le_bytes());
    mark
}
