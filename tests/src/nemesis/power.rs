//! Power loss: what a disk may hold when the machine dies after a prefix of the recorded operations.
//!
//! What was synced is there. Of what was not, any part may be: each write whole, in part or not at all, in any
//! order. Files come, go and change their names in order, as on a journalling file system, and the changes that
//! no sync has followed may be missing from some point on.

use super::shim::{Operation, Record};
use crate::seed::Random;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Bytes that a disk writes whole.
const SECTOR: usize = 512;

/// What happens to writes that no sync has followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// All are there: the program was killed, the machine was not.
    Kept,
    /// Each by chance, and the last one torn.
    ByChance,
}

/// The files of a folder, by path.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    /// Writes and truncations since, in order; `None` is a truncation.
    pending: Vec<(u64, Option<Vec<u8>>)>,
    /// How many of them were there when the sync began that is under way.
    syncing: Option<usize>,
}

fn apply(bytes: &mut Vec<u8>, (offset, data): &(u64, Option<Vec<u8>>)) {
    let offset = usize::try_from(*offset).unwrap();
    match data {
        None => bytes.resize(offset, 0),
        Some(data) => {
            bytes.resize(bytes.len().max(offset + data.len()), 0);
            bytes[offset..offset + data.len()].copy_from_slice(data);
        }
    }
}

/// What the disk holds after `records`, of which the last ones may not have reached it.
///
/// # Panics
/// When the records contradict each other.
#[must_use]
pub fn after_power_loss(records: &[Record], unsynced: Unsynced, random: &mut Random) -> Files {
    // Names are durable up to the last sync that came to its end, and further by chance.
    let last_sync = records.iter().rposition(|record| record.operation == Operation::SyncEnd).map_or(0, |at| at + 1);
    let names_until = match unsynced {
        Unsynced::Lost => last_sync,
        Unsynced::Kept => records.len(),
        Unsynced::ByChance => random.count(last_sync..records.len() + 1),
    };
    let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
    // The same as the running program saw them, to know which file is meant.
    let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut files: Vec<File> = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let durable = at < names_until;
        step(record, durable, &mut names, &mut seen, &mut files);
    }
    let content = files.iter().map(|file| content(file, unsynced, random)).collect::<Vec<_>>();
    names
        .into_iter()
        // Shared memory of SQLite is no storage; it is made anew.
        .filter(|(path, _)| !path.to_string_lossy().ends_with("-shm"))
        .map(|(path, file)| (path, content[file].clone()))
        .collect()
}

fn step(
    record: &Record,
    durable: bool,
    names: &mut BTreeMap<PathBuf, usize>,
    seen: &mut BTreeMap<PathBuf, usize>,
    files: &mut Vec<File>,
) {
    let path = &record.path;
    let known = match (&record.operation, seen.get(path)) {
        (Operation::Fault, _) => return,
        // A folder: names are durable by the rule above.
        (Operation::SyncBegin | Operation::SyncEnd, None) => return,
        (Operation::Create, _) | (_, None) if !path.as_os_str().is_empty() => {
            files.push(File::default());
            seen.insert(path.clone(), files.len() - 1);
            if durable {
                names.insert(path.clone(), files.len() - 1);
            }
            files.len() - 1
        }
        (_, Some(known)) => *known,
        (_, None) => return,
    };
    let file = &mut files[known];
    match &record.operation {
        Operation::Create | Operation::Fault => {}
        Operation::Write(offset, bytes) => file.pending.push((*offset, Some(bytes.clone()))),
        Operation::Truncate(length) => file.pending.push((*length, None)),
        Operation::SyncBegin => file.syncing = Some(file.pending.len()),
        Operation::SyncEnd => {
            let count = file.syncing.take().unwrap_or(0).min(file.pending.len());
            let done: Vec<_> = file.pending.drain(..count).collect();
            done.iter().for_each(|change| apply(&mut file.synced, change));
        }
        Operation::Rename(to) => {
            seen.remove(path);
            seen.insert(to.clone(), known);
            if durable {
                names.remove(path);
                names.insert(to.clone(), known);
            }
        }
        Operation::Unlink => {
            seen.remove(path);
            if durable {
                names.remove(path);
            }
        }
    }
}

fn content(file: &File, unsynced: Unsynced, random: &mut Random) -> Vec<u8> {
    let mut bytes = file.synced.clone();
    for (place, change) in file.pending.iter().enumerate() {
        let last = place + 1 == file.pending.len();
        match (unsynced, &change.1) {
            (Unsynced::Lost, _) => {}
            (Unsynced::Kept, _) => apply(&mut bytes, change),
            (Unsynced::ByChance, Some(data)) if last && !data.is_empty() => {
                let whole = random.count(0..data.len() + 1) / SECTOR * SECTOR;
                apply(&mut bytes, &(change.0, Some(data[..whole].to_vec())));
            }
            (Unsynced::ByChance, _) if random.one_in(2) => apply(&mut bytes, change),
            (Unsynced::ByChance, _) => {}
        }
    }
    bytes
}

/// Writes files into a new folder, for their owner alone.
///
/// # Panics
/// When it cannot be written.
pub fn write_files(folder: &Path, files: &Files) {
    let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
    make(folder);
    for (path, bytes) in files {
        let path = folder.join(path);
        make(path.parent().unwrap());
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(operations: &[(&str, Operation)]) -> Vec<Record> {
        let record = |(at, (path, operation)): (usize, &(&str, Operation))| Record {
            at: at as u64,
            path: path.into(),
            operation: operation.clone(),
        };
        operations.iter().enumerate().map(record).collect()
    }

    fn write(offset: u64, text: &str) -> Operation {
        Operation::Write(offset, text.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(operations: &[(&str, Operation)], unsynced: Unsynced, expected: &[(&str, &str)]) {
        let files = after_power_loss(&records(operations), unsynced, &mut Random::new(1));
        let found: Vec<_> =
            files.iter().map(|(path, bytes)| (path.to_str().unwrap(), std::str::from_utf8(bytes).unwrap())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_a_finished_sync_followed_is_sure() {
        use Operation::{Create, Rename, SyncBegin, SyncEnd, Truncate, Unlink};
        let log = [("a", Create), ("a", write(0, "one")), ("a", SyncBegin), ("a", write(3, "two")), ("a", SyncEnd)];
        // A write during the sync is not covered by it.
        check(&log, Unsynced::Lost, &[("a", "one")]);
        check(&log, Unsynced::Kept, &[("a", "onetwo")]);
        check(&log[..4], Unsynced::Lost, &[]);
        check(&log[..4], Unsynced::Kept, &[("a", "onetwo")]);
        let log = [&log[..], &[("a", Rename("b".into())), ("b", Truncate(2))]].concat();
        check(&log, Unsynced::Lost, &[("a", "one")]);
        check(&log, Unsynced::Kept, &[("b", "on")]);
        let log = [&log[..], &[("", SyncBegin), ("b", SyncBegin), ("b", SyncEnd), ("b", Unlink)]].concat();
        check(&log, Unsynced::Lost, &[("b", "on")]);
        check(&log, Unsynced::Kept, &[]);
    }

    #[test]
    fn chance_never_touches_what_is_synced_and_tears_at_sectors() {
        use Operation::{Create, SyncBegin, SyncEnd};
        let log = [("a", Create), ("a", write(0, "sure")), ("a", SyncBegin), ("a", SyncEnd)];
        let log = records(&[&log[..], &[("a", write(4, &"x".repeat(1_000)))]].concat());
        for seed in 0..50 {
            let files = after_power_loss(&log, Unsynced::ByChance, &mut Random::new(seed));
            let bytes = &files[Path::new("a")];
            assert!(bytes.starts_with(b"sure") && [4, 516].contains(&bytes.len()), "{}", bytes.len());
        }
    }
}
