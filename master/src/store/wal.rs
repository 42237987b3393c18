//! Looks at SQLite's log before SQLite does. SQLite reads a log up to the first frame that is not whole and drops
//! the rest without a word: right after a loss of power, when only the last transaction can be torn, and a silent
//! loss of acknowledged programs when a synced part was damaged.
//!
//! The file format is described at <https://www.sqlite.org/fileformat2.html#walformat>.

use std::{collections::BTreeSet, fs, io, path::Path};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The lowest bit says that checksums read words with the high byte first.
const MAGIC: u32 = 0x377f_0682;
/// Two copies of the index's header, then how much of the log the database has.
const INDEX_HEADER_BYTES: usize = 48;

/// What is wrong with the log of the database at `path`; none when SQLite may read it. `same_boot` says that the
/// machine has not been restarted since the database was used: only then the index beside the log can be trusted.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn damage(path: &Path, same_boot: bool) -> io::Result<Option<String>> {
    let log = read(&with_suffix(path, "-wal"))?;
    let index = if same_boot { read(&with_suffix(path, "-shm"))? } else { Vec::new() };
    Ok(examine(&log, Index::parse(&index).as_ref()))
}

/// The pages that the log of the database at `path` has whole: the database itself need not have them yet.
///
/// # Errors
/// When the log cannot be read.
pub(super) fn pages(path: &Path) -> io::Result<BTreeSet<u64>> {
    let log = read(&with_suffix(path, "-wal"))?;
    if !log.get(..HEADER_BYTES).is_some_and(header_is_whole) {
        return Ok(BTreeSet::new());
    }
    let frames = log[HEADER_BYTES..].chunks_exact(FRAME_HEADER_BYTES + page_bytes(&log).max(1));
    Ok(frames.take(whole_frames(&log).good).map(|frame| u64::from(word(frame, 0))).collect())
}

/// Bytes of a page, as the log's header tells them.
fn page_bytes(log: &[u8]) -> usize {
    match word(log, 8) {
        1 => 65_536,
        bytes => bytes as usize,
    }
}

/// The name of a file that SQLite keeps beside its database.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// What the index says of the log.
struct Index {
    salts: [u8; 8],
    frames: usize,
}

impl Index {
    /// None when it is not whole, or the database has all that the log had.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let first = bytes.get(..INDEX_HEADER_BYTES)?;
        if first != bytes.get(INDEX_HEADER_BYTES..2 * INDEX_HEADER_BYTES)? || first.get(12) != Some(&1) {
            return None;
        }
        let native = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let sum = checksum((0, 0), first.get(..40)?, cfg!(target_endian = "big"));
        if sum != (native(40)?, native(44)?) {
            return None;
        }
        let (frames, copied) = (native(16)?, native(2 * INDEX_HEADER_BYTES)?);
        let salts = first.get(32..40)?.try_into().ok()?;
        (frames > copied).then_some(Self { salts, frames: usize::try_from(frames).ok()? })
    }
}

/// The sum that SQLite computes, continued from `sum`.
fn checksum(sum: (u32, u32), bytes: &[u8], high_first: bool) -> (u32, u32) {
    let (mut a, mut b) = sum;
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if high_first { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    (a, b)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn header_is_whole(header: &[u8]) -> bool {
    word(header, 0) & !1 == MAGIC
        && checksum((0, 0), &header[..24], word(header, 0) & 1 == 1) == (word(header, 24), word(header, 28))
}

fn examine(log: &[u8], index: Option<&Index>) -> Option<String> {
    let (salts, whole) = match log.get(..HEADER_BYTES) {
        Some(header) if header_is_whole(header) => (header[16..24].to_vec(), whole_frames(log)),
        Some(header) => {
            if header_is_damaged(header, log) {
                return Some("the beginning of the database's log is damaged".to_owned());
            }
            (Vec::new(), Frames::default())
        }
        None => (Vec::new(), Frames::default()),
    };
    if let Some(index) = index
        && (salts != index.salts || whole.good < index.frames)
    {
        let found = if salts == index.salts { whole.good } else { 0 };
        return Some(format!("the database's log has {found} of {} pages", index.frames));
    }
    whole.damaged.then(|| format!("page {} of the database's log is damaged", whole.good + 1))
}

/// Whether a header that is not whole was whole when frames were written behind it. SQLite writes a new header over
/// the old one when it begins the log anew, and a crash may tear that.
fn header_is_damaged(header: &[u8], log: &[u8]) -> bool {
    let Some(salts) = log.get(HEADER_BYTES + 8..HEADER_BYTES + 16).filter(|salts| salts.iter().any(|byte| *byte != 0))
    else {
        return false;
    };
    let mut with_salts = header.to_vec();
    with_salts[16..24].copy_from_slice(salts);
    if header_is_whole(&with_salts) {
        return true;
    }
    let begun = word(header, 12).wrapping_sub(1).to_be_bytes();
    with_salts[12..16].copy_from_slice(&begun);
    header[16..24] == *salts && !header_is_whole(&with_salts)
}

#[derive(Default)]
struct Frames {
    /// Frames that follow one another whole from the first.
    good: usize,
    /// The one after them is not the end: it was synced, and something came after it.
    damaged: bool,
}

/// Each transaction ends with a commit frame and is synced before the next one begins, so that only the last one can
/// be torn: whatever has a commit frame behind it and more after that was synced.
fn whole_frames(log: &[u8]) -> Frames {
    let high_first = word(log, 0) & 1 == 1;
    let page = page_bytes(log);
    if page < 512 {
        return Frames::default();
    }
    let mut sum = (word(log, 24), word(log, 28));
    let mut frames = log[HEADER_BYTES..].chunks_exact(FRAME_HEADER_BYTES + page);
    let ours = |frame: &[u8]| frame[8..16] == log[16..24];
    let mut good = 0;
    let torn = loop {
        let Some(frame) = frames.next() else { return Frames { good, damaged: false } };
        sum = checksum(checksum(sum, &frame[..8], high_first), &frame[FRAME_HEADER_BYTES..], high_first);
        if !ours(frame) || sum != (word(frame, 16), word(frame, 20)) {
            break frame;
        }
        good += 1;
    };
    let rest = std::iter::once(torn).chain(frames);
    let after_commit = rest.skip_while(|frame| !(ours(frame) && word(frame, 4) != 0)).skip(1);
    Frames { good, damaged: after_commit.into_iter().any(ours) }
}

/// Entry for the fuzz targets.
pub(super) fn fuzz(log: &[u8], index: &[u8]) {
    drop(examine(log, Index::parse(index).as_ref()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// A log of ten transactions, as a kill would leave it, with its index.
    fn killed() -> (tempfile::TempDir, Vec<u8>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (a); CREATE TABLE u (a)").unwrap();
        connection.execute_batch("PRAGMA wal_checkpoint(RESTART)").unwrap();
        for number in 0..10 {
            connection
                .execute_batch(&format!(
                    "BEGIN; INSERT INTO t VALUES ({number}); INSERT INTO u VALUES (zeroblob(9000)); COMMIT"
                ))
                .unwrap();
        }
        let log = fs::read(with_suffix(&path, "-wal")).unwrap();
        let index = fs::read(with_suffix(&path, "-shm")).unwrap();
        (folder, log, index)
    }

    #[test]
    fn f3_the_log_has_the_pages_that_a_checkpoint_has_still_to_bring() {
        let (folder, log, index) = killed();
        let path = folder.path().join("a.db");
        let frames = Index::parse(&index).expect("the log is not copied yet").frames;
        fs::write(with_suffix(&path, "-wal"), &log).unwrap();
        let logged = pages(&path).unwrap();
        let count = u64::from(word(&log, HEADER_BYTES + (frames - 1) * (FRAME_HEADER_BYTES + 4_096) + 4));
        // The file had three pages before these transactions.
        assert!(count > 3 && (4..=count).chain([1]).all(|page| logged.contains(&page)), "{count}: {logged:?}");
        fs::write(with_suffix(&path, "-wal"), &log[..HEADER_BYTES + 10]).unwrap();
        assert!(pages(&path).unwrap().is_empty());
    }

    #[test]
    fn f6_every_flipped_bit_and_every_cut_of_the_log_is_found_while_the_index_is_there() {
        let (_folder, log, index) = killed();
        let index = Index::parse(&index).expect("the log is not copied yet");
        assert_eq!(examine(&log, Some(&index)), None);
        let used = HEADER_BYTES + index.frames * (FRAME_HEADER_BYTES + 4_096);
        for place in (0..used).step_by(97).chain(0..HEADER_BYTES + FRAME_HEADER_BYTES) {
            let mut bad = log.clone();
            bad[place] ^= 1 << (place % 8);
            assert!(examine(&bad, Some(&index)).is_some(), "byte {place}");
        }
        for length in (0..used).step_by(1_009) {
            assert!(examine(&log[..length], Some(&index)).is_some(), "cut to {length}");
        }
    }

    #[test]
    fn f6_damage_before_the_last_transaction_is_found_without_the_index_and_a_torn_end_is_none() {
        let (_folder, log, _) = killed();
        let frame = FRAME_HEADER_BYTES + 4_096;
        let commits: Vec<usize> = (0..(log.len() - HEADER_BYTES) / frame)
            .filter(|number| word(&log, HEADER_BYTES + number * frame + 4) != 0)
            .collect();
        let [.., before, last] = commits.as_slice() else { panic!("there are ten") };
        let synced = HEADER_BYTES + (before + 1) * frame;
        for place in (0..synced).step_by(101).chain(0..HEADER_BYTES) {
            let mut bad = log.clone();
            bad[place] ^= 0x20;
            // What people may see of a transaction that is the last one.
            assert!(examine(&bad, None).is_some(), "byte {place}");
        }
        // Every prefix, and the last write torn.
        for length in (0..HEADER_BYTES + (last + 1) * frame).step_by(37) {
            assert_eq!(examine(&log[..length], None), None, "cut to {length}");
            let mut torn = log[..length].to_vec();
            torn.resize(length + 50, 0);
            assert_eq!(examine(&torn, None), None, "torn at {length}");
        }
    }

    #[test]
    fn f3_a_header_that_is_torn_while_the_log_begins_anew_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(20000))").unwrap();
        let old = fs::read(with_suffix(&path, "-wal")).unwrap();
        connection.execute_batch("PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES (1)").unwrap();
        let new = fs::read(with_suffix(&path, "-wal")).unwrap();
        assert_ne!(old[..HEADER_BYTES], new[..HEADER_BYTES]);
        for torn in 0..=HEADER_BYTES {
            let mut log = old.clone();
            log[..torn].copy_from_slice(&new[..torn]);
            assert_eq!(examine(&log, None), None, "{torn} bytes of the new header");
        }
    }
}
