//! A new data folder from a backup. What was alive is honest afterwards: the old master may have gone on.

use super::{
    ABOUT, About, DATABASE, IDENTITY,
    container::{Part, ReadError, Reader},
};
use crate::{
    data_folder::{DataFolder, RESTORING},
    server::{EPOCH_FIRST, EPOCH_SETTING},
    store::{
        Ended, Moved, Record, SqliteStore, Storage, StoreError, files,
        load::{AliveRow, Recovered},
        open::database_path,
    },
};
use common::{AttemptKey, ErrorCode, Outcome, Timestamp, UserError, message::Stream, program::State};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Records of one transaction.
const BATCH_MAX: usize = 4_096;
/// 1 January 2026, in seconds since the epoch of Unix: epochs of restored histories are not smaller than the seconds
/// since then, which fit for 136 years.
const EPOCHS_BEGIN_S: u64 = 1_767_225_600;
/// Bytes of a part that is held in memory.
const SMALL_PART_BYTES_MAX: u64 = 256 << 10;

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// When the backup was made, on the wall clock.
    pub made_at: Timestamp,
    /// Programs that were alive in the backup and are lost now.
    pub lost: u64,
    /// Programs that were alive in the backup and wait now.
    pub waiting: u64,
    /// The history's epoch from now on.
    pub epoch: u32,
}

/// Makes the data folder `data`, which must be empty or missing, from the backup `from`. With `keep_queue` programs
/// that had not ended go on as if nothing had happened: only right when the old master did not run after the backup.
/// `progress` is told how many bytes are done.
///
/// # Errors
/// When the folder is in use or not empty, or the backup is damaged, foreign or of a newer release. Nothing is left
/// behind then.
pub fn restore(
    data: &Path,
    from: &Path,
    keep_queue: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, UserError> {
    let file = File::open(from).map_err(|error| {
        UserError::new(ErrorCode::FileUnreadable, format!("`{}` cannot be read: {error}", from.display()))
    })?;
    let was_there = data.exists();
    let _folder = DataFolder::lock_empty(data)?;
    let result = fill(data, BufReader::new(file), from, keep_queue, progress);
    if result.is_err() {
        let clear = if was_there { clear(data) } else { fs::remove_dir_all(data) };
        if let Err(error) = clear {
            tracing::warn!(path = %data.display(), %error, "a part of what was restored is left over");
        }
    }
    result
}

fn clear(data: &Path) -> io::Result<()> {
    for left in [RESTORING, "outputs", "inputs", "identity"] {
        match fs::remove_dir_all(data.join(left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::remove_file(data.join("lock"))
}

fn fill(
    data: &Path,
    backup: impl io::Read,
    from: &Path,
    keep_queue: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, UserError> {
    let bad = |error: ReadError| {
        let sentence = format!("the backup `{}` cannot be restored: {error}", from.display());
        UserError::new(ErrorCode::DataUnusable, sentence).with_hint("take another backup")
    };
    let unusable = |error: io::Error| {
        UserError::new(ErrorCode::DataUnusable, format!("`{}` cannot be written: {error}", data.display()))
    };
    // While this folder is there, no master uses what is not whole.
    let work = data.join(RESTORING);
    make_folder(&work).map_err(unusable)?;
    let about = unpack(&work, backup, progress).map_err(bad)?;
    let restored = settle(&work, &about, keep_queue)?;
    let place = || -> io::Result<()> {
        make_folder(&work.join("outputs"))?;
        make_folder(&work.join("inputs"))?;
        for name in ["outputs", "inputs", "identity"] {
            fs::rename(work.join(name), data.join(name))?;
        }
        fs::rename(database_path(&work), database_path(data))?;
        sync_tree(data)?;
        fs::remove_dir_all(&work)?;
        File::open(data)?.sync_all()
    };
    place().map_err(unusable)?;
    Ok(restored)
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Syncs folders; the files in them are synced as they are written.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Writes all parts below `work`, each checked and synced.
fn unpack(work: &Path, backup: impl io::Read, progress: &mut dyn FnMut(u64)) -> Result<About, ReadError> {
    let mut reader = Reader::new(backup)?;
    let mut about = None;
    let mut done = 0;
    let mut moved = |bytes: u64| {
        done += bytes;
        progress(done);
    };
    let mut missing: Vec<String> = IDENTITY.iter().map(|name| format!("identity/{name}")).collect();
    missing.push(DATABASE.to_owned());
    while let Some(part) = reader.next()? {
        if part.name == ABOUT {
            about = Some(read_about(&mut reader, part)?);
            continue;
        }
        let path = if part.name == DATABASE {
            database_path(work)
        } else if missing.contains(&part.name) || is_output(&part.name) || is_input(&part.name) {
            work.join(&part.name)
        } else {
            return Err(ReadError::Damaged("a part of it has an unknown name"));
        };
        missing.retain(|name| *name != part.name);
        make_folder(path.parent().unwrap_or(work))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        reader.copy(part, &mut file, &mut moved)?;
        file.sync_all()?;
    }
    if !missing.is_empty() {
        return Err(ReadError::Damaged("parts of it are missing"));
    }
    about.ok_or(ReadError::Damaged("it does not say when it was made"))
}

fn read_about(reader: &mut Reader<impl io::Read>, part: Part) -> Result<About, ReadError> {
    if part.length > SMALL_PART_BYTES_MAX {
        return Err(ReadError::Damaged("what it says of itself is too long"));
    }
    let mut text = Vec::new();
    reader.copy(part, &mut text, &mut |_| ())?;
    serde_json::from_slice(&text).map_err(|_| ReadError::Damaged("what it says of itself cannot be read"))
}

/// Whether a name is of the shape `outputs/ab/cd/NAME`: a backup never writes anywhere else.
pub(super) fn is_output(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let hexadecimal = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match parts.as_slice() {
        ["outputs", first, second, file] => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let named = !file.is_empty() && !file.starts_with('.') && file.bytes().all(plain);
            hexadecimal(first) && hexadecimal(second) && named
        }
        _ => false,
    }
}

/// Whether a name is of the shape `inputs/ab/DIGEST`.
fn is_input(name: &str) -> bool {
    let digest = name.rsplit('/').next().and_then(crate::inputs::digest_of);
    digest.is_some_and(|digest| name.strip_prefix("inputs/") == Some(crate::inputs::name_of(digest).as_str()))
}

/// Brings the database to this release, and says of what was alive what is known of it.
fn settle(work: &Path, about: &About, keep_queue: bool) -> Result<Restored, UserError> {
    let mut store = SqliteStore::open(work)?;
    let recovered = store.load()?;
    let mut restored = Restored {
        made_at: about.made_at,
        lost: 0,
        waiting: recovered.alive.len() as u64,
        epoch: epoch_of(&recovered),
    };
    if !keep_queue {
        restored.epoch = next_epoch(restored.epoch);
        restored.waiting = 0;
        let mut records =
            vec![Record::Setting { name: EPOCH_SETTING.to_owned(), value: Some(restored.epoch.to_string()) }];
        let outputs = work.join("outputs");
        for row in &recovered.alive {
            records.push(match after_restore(row, about.made_at, &outputs)? {
                Some(outcome) => {
                    restored.lost += 1;
                    outcome
                }
                None => {
                    restored.waiting += 1;
                    again(row)
                }
            });
        }
        for batch in records.chunks(BATCH_MAX) {
            store.commit(batch)?;
        }
    }
    let what = format!("restored a backup of {}; epoch {}", rfc3339(about.made_at), restored.epoch);
    let who = format!("uid {} on the master's machine", nix::unistd::geteuid());
    store.accounts().audited(&who, &what, |accounts| if keep_queue { Ok(()) } else { accounts.end_all_sessions() })?;
    store.close()?;
    Ok(restored)
}

fn epoch_of(recovered: &Recovered) -> u32 {
    recovered.settings.get(EPOCH_SETTING).and_then(|epoch| epoch.parse().ok()).unwrap_or(EPOCH_FIRST)
}

/// An epoch that no history of this master had before. The same backup may be restored twice, so counting on from it
/// is not enough: the time keeps the two apart.
fn next_epoch(epoch: u32) -> u32 {
    let seconds = (transport::clock::now().0 / 1_000_000).saturating_sub(EPOCHS_BEGIN_S);
    epoch.saturating_add(1).max(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// The number of the attempt that may have been made since the backup: of one that waited, the next.
const fn last_attempt(row: &AliveRow) -> u32 {
    if row.slave.is_some() { row.attempt } else { row.attempt + 1 }
}

/// Whatever was alive may have run since: once more only where that was asked for. The end of a program; none when it
/// shall wait.
fn after_restore(row: &AliveRow, made_at: Timestamp, outputs: &Path) -> Result<Option<Record>, UserError> {
    let outcome = match &row.cancel_by {
        Some(by) => Outcome::Cancelled { by: by.to_string() },
        None if last_attempt(row) <= row.spec.retry => return Ok(None),
        None => Outcome::Lost {
            detail: format!(
                "Lost: the master was restored from a backup of {}; whether it ran since then is not known.",
                rfc3339(made_at)
            ),
        },
    };
    let key = AttemptKey { program: row.id, attempt: row.attempt };
    let mut bytes = [0; Stream::COUNT];
    if matches!(row.state, State::Running | State::Suspended) {
        for (bytes, stream) in bytes.iter_mut().zip(Stream::ALL) {
            *bytes = files::length(outputs, key, stream)
                .map_err(|error| StoreError::Unreadable(format!("an output of {}: {error}", row.id)))?;
        }
    }
    Ok(Some(Record::Ended(Box::new(Ended {
        sequence: row.sequence,
        user: row.user.clone(),
        was: row.state,
        attempt: row.attempt,
        slave: row.slave,
        started_at: row.started_at,
        ended_at: transport::clock::now().max(row.submitted_at),
        outcome,
        usage: None,
        bytes,
        truncated: false,
        last_line: String::new(),
        tails: Default::default(),
    }))))
}

fn again(row: &AliveRow) -> Record {
    Record::Moved(Moved {
        sequence: row.sequence,
        user: row.user.clone(),
        was: row.state,
        state: State::Waiting,
        attempt: last_attempt(row),
        slave: None,
        started_at: None,
        cancel_by: None,
        crashes: row.crashes,
    })
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(i64::try_from(at.0).unwrap_or(i64::MAX))
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}
