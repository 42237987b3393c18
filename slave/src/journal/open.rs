//! The start of an agent: what an earlier one left, and whether it can be relied on.

use super::{
    Journal, KeptEnd, Place,
    medium::Media,
    record::{Head, Record, Scan, scan},
    syncer::Syncer,
};
use common::{id::AttemptKey, message::Assignment, units::Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

/// What an earlier agent left.
#[derive(Debug, Default)]
pub struct Found {
    /// The machine has not been restarted since then.
    pub same_boot: bool,
    /// The epoch of the master's history; 0 when the slave never registered.
    pub epoch: u32,
    /// Attempts that it started, or was about to, and that have no end.
    pub started: Vec<(Assignment, Timestamp)>,
    /// Ends that the master has not acknowledged.
    pub ended: Vec<KeptEnd>,
}

/// Which start of the machine this is.
///
/// # Errors
/// When the system does not say.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A number that no other journal has.
pub(super) fn new_instance() -> u64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// One attempt in a journal that is read.
enum Entry {
    Started(Place, Assignment, Timestamp),
    Ended(Place, KeptEnd),
}

impl Journal {
    /// Opens the journal at `path`, or begins one, for this boot of the machine.
    ///
    /// # Errors
    /// When what is there cannot be read, or nothing can be begun.
    pub fn open(path: &Path, boot: &str) -> io::Result<(Self, Found)> {
        Self::open_with(path, boot, Media::default())
    }

    pub(super) fn open_with(path: &Path, boot: &str, media: Media) -> io::Result<(Self, Found)> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let scan = scan(&bytes);
        let scan_torn = scan.torn_bytes;
        let end = bytes.len() as u64 - scan_torn;
        if let Some(place) = scan.damaged_at {
            tracing::error!(path = %path.display(), place, "the journal is damaged: what it cannot tell counts as lost");
        }
        let (head, entries) = read(scan, boot);
        let medium = if bytes.is_empty() { media.create(path)? } else { media.open(path)? };
        if scan_torn > 0 {
            medium.set_len(end)?;
        }
        let mut found = Found { same_boot: head.same_boot, epoch: head.head.epoch, ..Found::default() };
        let mut live = BTreeMap::new();
        for (key, entry) in entries {
            let place = match entry {
                Entry::Started(place, assignment, at) => {
                    found.started.push((assignment, at));
                    place
                }
                Entry::Ended(place, end) => {
                    found.ended.push(end);
                    place
                }
            };
            live.insert(key, place);
        }
        let mut journal = Self {
            path: path.to_owned(),
            media,
            medium: Arc::new(medium),
            head: head.head,
            end,
            live_bytes: live.values().map(|place| place.bytes).sum(),
            live,
            buffer: Vec::new(),
            noted: Vec::new(),
            forgotten: Vec::new(),
            forget_now: false,
            unsynced: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            unsafe_outputs: BTreeSet::new(),
            sync_at: None,
            flush_at: None,
            trouble: None,
            full: false,
            whole: true,
            syncer: Syncer::start()?,
        };
        // Small, whole and of this boot from here on. On a full disk the old file goes on being true: with a
        // torn end or of another boot it is read the same way again.
        journal.rewrite_or_fail();
        Ok((journal, found))
    }
}

struct ReadHead {
    head: Head,
    same_boot: bool,
}

fn read(scan: Scan, boot: &str) -> (ReadHead, BTreeMap<AttemptKey, Entry>) {
    let mut entries = BTreeMap::new();
    let (mut begin, mut epoch) = (None, 0);
    for (offset, bytes, record) in scan.records {
        match record {
            Record::Begin(head) => {
                epoch = epoch.max(head.epoch);
                begin = Some(head);
            }
            Record::Started { assignment, at } => {
                let place = Place { offset, bytes, in_files: false };
                entries.insert(assignment.key, Entry::Started(place, assignment, at));
            }
            Record::Ended(end) => {
                let place = Place { offset, bytes, in_files: true };
                entries.insert(end.key(), Entry::Ended(place, *end));
            }
            Record::Forgotten(keys) => {
                for key in keys {
                    entries.remove(&key);
                }
            }
            Record::Epoch(number) => epoch = number,
        }
    }
    let same_boot = begin.as_ref().is_some_and(|head| head.boot == boot);
    let whole = scan.damaged_at.is_none();
    let instance = match &begin {
        Some(head) if same_boot && whole => head.instance,
        _ => new_instance(),
    };
    let head = Head { boot: boot.to_owned(), instance, epoch };
    (ReadHead { head, same_boot }, entries)
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_read(bytes: &[u8]) {
    let scan = scan(bytes);
    assert!(scan.torn_bytes <= bytes.len() as u64, "no more is torn than there is");
    let places = scan.records.iter().map(|(place, length, _)| (*place, place + length));
    let ends = places.clone().map(|(_, end)| end);
    assert!(places.skip(1).zip(ends).all(|((begin, _), end)| begin >= end), "records do not overlap");
    drop(read(scan, "this boot"));
}
