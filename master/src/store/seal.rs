//! Checksums of programs that ended: a block of output or a row that changed on the disk is told, never shown.

use super::{Accounts, StoreError, accounts::storage, commit::signed, files};
use common::{AttemptKey, ProgramId, SlaveId, UserError, frame::encode_record, message::Stream};
use rusqlite::{Connection, OptionalExtension, params};
use std::{io, io::Read, path::Path};

/// Bytes that one checksum covers; a reader asks for about as much at a time.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes kept of the hash of a block.
const SUM_BYTES: usize = 16;
/// Outputs, and bytes of them, that are sealed in one go.
const AT_ONCE_MAX: u32 = 256;
const AT_ONCE_BYTES: u64 = 256 << 20;

/// The checksums of one stream.
pub(crate) struct Sealed {
    key: i64,
    sums: Vec<u8>,
}

/// The place of a program's own checksums, where no stream has its.
const ROW_PLACE: u64 = 7;

/// What a program's row says of its end.
#[derive(serde::Serialize)]
pub(super) struct EndedRow<'a> {
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    pub(super) slave: Option<SlaveId>,
    pub(super) started_at: Option<u64>,
    pub(super) ended_at: Option<u64>,
    pub(super) state: i64,
    pub(super) outcome: Option<&'a [u8]>,
    pub(super) usage: Option<&'a [u8]>,
    pub(super) bytes: [u64; Stream::COUNT],
    pub(super) truncated: bool,
    pub(super) last_line: &'a str,
}

impl EndedRow<'_> {
    fn sum(&self) -> [u8; SUM_BYTES] {
        sum(&encode_record(self))
    }

    /// Whether the row is as it was written; `sums` are those of [`seal_row`], none in rows of older releases.
    pub(super) fn is_whole(&self, sums: Option<&[u8]>) -> bool {
        sums.is_none_or(|sums| sums.get(..SUM_BYTES) == Some(&self.sum()))
    }
}

fn tail_sum(tail: Option<(u64, &[u8])>) -> [u8; SUM_BYTES] {
    sum(&encode_record(&tail))
}

/// Keeps the checksums of a program's end: of its row, and of the part of each stream that came with the result.
pub(super) fn seal_row(
    connection: &Connection,
    row: &EndedRow<'_>,
    tails: [Option<(u64, &[u8])>; Stream::COUNT],
) -> Result<(), rusqlite::Error> {
    let sums = [row.sum(), tail_sum(tails[0]), tail_sum(tails[1]), tail_sum(tails[2]), tail_sum(tails[3])].concat();
    let sql = "INSERT OR REPLACE INTO seal (key, length, sums) VALUES (?1, 0, ?2)";
    connection.prepare_cached(sql)?.execute(params![signed(row.sequence * 8 + ROW_PLACE), sums]).map(|_| ())
}

/// Whether the part of a stream that came with the result is as it was written.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn tail_is_whole(
    connection: &Connection,
    sequence: u64,
    stream: Stream,
    tail: Option<(u64, &[u8])>,
) -> Result<bool, rusqlite::Error> {
    let sums: Option<Option<Vec<u8>>> = connection
        .prepare_cached("SELECT sums FROM seal WHERE key = ?1")?
        .query_row([signed(sequence * 8 + ROW_PLACE)], |row| row.get(0))
        .optional()?;
    let Some(Some(sums)) = sums else { return Ok(true) };
    let at = (stream as usize + 1) * SUM_BYTES;
    Ok(sums.get(at..at + SUM_BYTES) == Some(&tail_sum(tail)))
}

/// Notes that the first `length` bytes of a stream are in a file and shall be sealed.
pub(super) fn open(connection: &Connection, key: u64, length: u64) -> Result<(), rusqlite::Error> {
    let sql = "INSERT OR REPLACE INTO seal (key, length, sums) VALUES (?1, ?2, NULL)";
    connection.prepare_cached(sql)?.execute(params![signed(key), signed(length)]).map(|_| ())
}

/// Computes some of the checksums that are still open; none when there is nothing to do.
///
/// # Errors
/// When the database cannot be read.
pub(crate) fn compute(connection: &Connection, outputs: &Path) -> Result<Vec<Sealed>, StoreError> {
    let sql = "SELECT s.key, s.length, p.id, p.attempt FROM seal s JOIN program p ON p.sequence = s.key / 8
               WHERE s.sums IS NULL ORDER BY s.key LIMIT ?1";
    let mut open = connection.prepare_cached(sql)?;
    let mut rows = open.query([AT_ONCE_MAX])?;
    let (mut sealed, mut bytes) = (Vec::new(), 0_u64);
    while let Some(row) = rows.next()? {
        let (key, length): (i64, i64) = (row.get(0)?, row.get(1)?);
        let attempt = AttemptKey { program: ProgramId(row.get(2)?), attempt: row.get(3)? };
        let path = files::path(outputs, attempt, stream_of(key));
        let found = files::Once::open(&path).and_then(|mut file| sums(&mut file, length.cast_unsigned()));
        match found {
            Ok(sums) => sealed.push(Sealed { key, sums }),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "an output cannot be sealed");
                // Empty sums fit no block: whoever reads it is told.
                sealed.push(Sealed { key, sums: Vec::new() });
            }
        }
        bytes = bytes.saturating_add(length.cast_unsigned());
        if bytes >= AT_ONCE_BYTES {
            break;
        }
    }
    Ok(sealed)
}

/// The stream of a key of the tables `output` and `seal`.
pub(super) fn stream_of(key: i64) -> Stream {
    let number = usize::try_from(key.rem_euclid(8)).unwrap_or(0);
    Stream::ALL.get(number).copied().unwrap_or(Stream::Stdout)
}

/// The checksums of the first `length` bytes.
///
/// # Errors
/// When there are fewer, or they cannot be read.
pub(crate) fn sums(file: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut sums = Vec::new();
    let mut left = length;
    let mut block = vec![0; usize::try_from(BLOCK_BYTES.min(length)).unwrap_or(0)];
    while left > 0 {
        let part = usize::try_from(left.min(BLOCK_BYTES)).unwrap_or(0);
        file.read_exact(&mut block[..part])?;
        sums.extend_from_slice(&sum(&block[..part]));
        left -= part as u64;
    }
    Ok(sums)
}

fn sum(block: &[u8]) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&blake3::hash(block).as_bytes()[..SUM_BYTES]);
    sum
}

/// Reads at most `length` bytes from `offset` of a stream that ended and has `total` bytes in its file.
///
/// # Errors
/// When bytes are missing or were changed since they were sealed.
pub(super) fn read(
    connection: &Connection,
    outputs: &Path,
    (sequence, attempt): (u64, AttemptKey),
    stream: Stream,
    (offset, length, total): (u64, usize, u64),
) -> Result<Vec<u8>, StoreError> {
    let damaged = |what: &str| StoreError::Unreadable(format!("the output of {} {what}", attempt.program));
    let failed = |error: io::Error| StoreError::Unreadable(format!("an output: {error}"));
    let sums: Option<Option<Vec<u8>>> = connection
        .prepare_cached("SELECT sums FROM seal WHERE key = ?1")?
        .query_row([signed(sequence * 8 + stream as u64)], |row| row.get(0))
        .optional()?;
    let first = offset / BLOCK_BYTES;
    let (begin, end) = match &sums {
        // Whole blocks, as a checksum needs them.
        Some(Some(_)) => (first * BLOCK_BYTES, (offset + length as u64).next_multiple_of(BLOCK_BYTES).min(total)),
        Some(None) | None => (offset, (offset + length as u64).min(total)),
    };
    let wanted = usize::try_from(end.saturating_sub(begin)).unwrap_or(0);
    let mut bytes = files::read(outputs, attempt, stream, begin, wanted).map_err(failed)?;
    if bytes.len() < wanted {
        return Err(damaged("is shorter than it was"));
    }
    if let Some(Some(sums)) = &sums {
        for (block, number) in bytes.chunks(usize::try_from(BLOCK_BYTES).unwrap_or(1)).zip(first..) {
            let at = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(SUM_BYTES);
            if sums.get(at..at.saturating_add(SUM_BYTES)) != Some(&sum(block)) {
                return Err(damaged("was changed on the disk"));
            }
        }
    }
    bytes.drain(..usize::try_from(offset - begin).unwrap_or(0).min(bytes.len()));
    bytes.truncate(length);
    Ok(bytes)
}

impl Accounts<'_> {
    /// Keeps checksums.
    pub(crate) fn seal(&mut self, sealed: &[Sealed]) -> Result<(), UserError> {
        let transaction = self.connection().unchecked_transaction().map_err(storage)?;
        for Sealed { key, sums } in sealed {
            let sql = "UPDATE seal SET sums = ?2 WHERE key = ?1";
            transaction.prepare_cached(sql).and_then(|mut seal| seal.execute(params![key, sums])).map_err(storage)?;
        }
        transaction.commit().map_err(storage)
    }
}
