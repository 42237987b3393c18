//! A backup of all that a master must not lose, in one file: the database, the outputs and the certificate authority.
//! It is as secret as the data folder.

mod container;
mod restore;

pub use restore::{Restored, restore};

use crate::{
    admin::{AdminRequest, ask},
    data_folder::{DataFolder, identity},
    store::{
        check::outputs_in_files,
        files,
        open::{database_path, look_for_damage, open_reader},
    },
};
use common::{AttemptKey, ErrorCode, ProgramId, UserError, message::Stream};
use container::Writer;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The parts' names.
const ABOUT: &str = "about";
const DATABASE: &str = "database";
/// What of the identity is kept: the server's own certificate is made anew.
const IDENTITY: [&str; 2] = ["ca.key", "ca.crt"];

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// When it was made, on the wall clock.
    made_at: common::Timestamp,
    /// What made it.
    release: String,
}

/// What was backed up.
#[derive(Debug)]
pub struct BackedUp {
    /// Bytes of the database, the outputs and the input files that are needed.
    pub bytes: u64,
    /// Outputs and input files that the history needs and that could not be read; the rest is in the backup.
    pub problems: Vec<String>,
}

/// An output that belongs into the backup.
struct OutputFile {
    key: AttemptKey,
    stream: Stream,
    bytes: u64,
}

/// Copies the data of a running or stopped master into the file `to`, whole or not at all. A running master is not
/// held up: it goes on committing, and the backup has what was committed when it began. `progress` is told how many
/// bytes of how many are done.
///
/// # Errors
/// When the file exists and `force` is not set, when it is no file or in the data folder itself, or when one side
/// cannot be read or written.
pub fn backup(data: &Path, to: &Path, force: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<BackedUp, UserError> {
    if !force && fs::symlink_metadata(to).is_ok() {
        return Err(exists(to));
    }
    must_be_there(data)?;
    must_be_replaceable(data, to)?;
    ask(data, AdminRequest::NoteBackup { to: to.display().to_string() })?;
    // The lock of a stopped master's folder is held, so that none starts meanwhile; a running one has it.
    let stopped = match DataFolder::lock(data) {
        Ok(folder) => Some(folder),
        Err(error) if error.is(ErrorCode::DataLocked) => None,
        Err(error) => return Err(error),
    };
    if stopped.is_some() {
        look_for_damage(data)?;
    }
    let work = WorkFolder::beside(to)?;
    let written = write(data, stopped.is_some(), &work.0, progress)?;
    let new = work.0.join("backup");
    let place = || -> io::Result<()> {
        if force {
            fs::rename(&new, to)?;
        } else {
            let flags = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
            nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &new, nix::fcntl::AT_FDCWD, to, flags)?;
        }
        File::open(folder_of(to))?.sync_all()
    };
    place()
        .map_err(|error| if error.kind() == io::ErrorKind::AlreadyExists { exists(to) } else { failed(to, &error) })?;
    Ok(written)
}

/// # Errors
/// When this is not a master's data folder: a name that was mistyped must not look like a healthy folder.
pub(crate) fn must_be_there(data: &Path) -> Result<(), UserError> {
    if database_path(data).exists() {
        return Ok(());
    }
    let sentence = format!("there is no master's data in `{}`", data.display());
    Err(UserError::new(ErrorCode::DataUnusable, sentence).with_hint("give the folder that `serve --data` was given"))
}

/// A backup replaces files that are none of the master's own, and nothing else: no device, no folder.
fn must_be_replaceable(data: &Path, to: &Path) -> Result<(), UserError> {
    let refuse = |why: &str| {
        let sentence = format!("`{}` {why}", to.display());
        Err(UserError::new(ErrorCode::FileUnreadable, sentence).with_hint("choose a new file in another folder"))
    };
    if fs::symlink_metadata(to).is_ok_and(|found| !found.is_file()) {
        return refuse("is not a file that a backup could replace");
    }
    let inside = |folder: &Path| Some(folder.canonicalize().ok()?.starts_with(data.canonicalize().ok()?));
    if inside(folder_of(to)) == Some(true) {
        return refuse("is in the data folder itself: what damages that would damage the backup");
    }
    Ok(())
}

fn exists(to: &Path) -> UserError {
    UserError::new(ErrorCode::FileUnreadable, format!("`{}` exists already", to.display()))
        .with_hint("choose another name, or give `--force` to replace it")
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> UserError {
    UserError::new(ErrorCode::FileUnreadable, format!("`{}` cannot be written: {error}", path.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A private folder beside the backup, so that it can be moved into its place; removed at the end.
struct WorkFolder(PathBuf);

impl WorkFolder {
    fn beside(to: &Path) -> Result<Self, UserError> {
        let name = to.file_name().ok_or_else(|| failed(to, &"it is not the name of a file"))?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let path = folder_of(to).join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a folder of a backup is left over");
        }
    }
}

fn write(data: &Path, stopped: bool, work: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<BackedUp, UserError> {
    let storage = |error: rusqlite::Error| UserError::from(crate::store::StoreError::from(error));
    let to = work.join("backup");
    let broken = |error: io::Error| failed(&to, &error);
    let copy = work.join("database");
    {
        let source = if stopped { Connection::open(database_path(data)).map_err(storage)? } else { open_reader(data)? };
        // Reads one snapshot; a master that runs goes on writing.
        source.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(storage)?;
    }
    let snapshot = Connection::open(&copy).map_err(storage)?;
    let (outputs, mut problems) = (data.join("outputs"), Vec::new());
    let listed = list(&snapshot, &outputs).map_err(storage)?;
    let needed = crate::store::inputs::needed(&snapshot).map_err(storage)?;
    drop(snapshot);
    let database_bytes = fs::metadata(&copy).map_err(broken)?.len();
    let inputs_bytes: u64 = needed.values().map(|(size, _)| size).sum();
    let total = database_bytes + inputs_bytes + listed.iter().map(|output| output.bytes).sum::<u64>();
    let mut done = 0;
    let mut moved = |bytes: u64| {
        done += bytes;
        progress(done, total);
    };

    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).map_err(broken)?;
    let mut writer = Writer::new(BufWriter::new(file)).map_err(broken)?;
    let about = About { made_at: transport::clock::now(), release: env!("CARGO_PKG_VERSION").to_owned() };
    let about = serde_json::to_string(&about).map_err(|error| failed(&to, &error))?;
    writer.part(ABOUT, &mut about.as_bytes(), about.len() as u64, &mut |_| ()).map_err(broken)?;
    for name in IDENTITY {
        let path = identity(data).join(name);
        let text = fs::read(&path).map_err(|error| {
            UserError::new(ErrorCode::DataUnusable, format!("`{}` cannot be read: {error}", path.display()))
        })?;
        writer.part(&format!("identity/{name}"), &mut &text[..], text.len() as u64, &mut |_| ()).map_err(broken)?;
    }
    let mut database = File::open(&copy).map_err(broken)?;
    writer.part(DATABASE, &mut database, database_bytes, &mut moved).map_err(broken)?;
    for output in listed {
        let path = files::path(&outputs, output.key, output.stream);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            // Only appended to, and never removed once its program has ended.
            Ok((length, mut file)) if length >= output.bytes => {
                let name = path.strip_prefix(data).unwrap_or(&path).to_string_lossy().into_owned();
                writer.part(&name, &mut file, output.bytes, &mut moved).map_err(broken)?;
            }
            Ok((length, _)) => {
                problems.push(format!("`{}` has {length} of {} bytes", path.display(), output.bytes));
            }
            Err(error) => problems.push(format!("`{}` cannot be read: {error}", path.display())),
        }
    }
    for (digest, (size, name)) in needed {
        let path = data.join("inputs").join(crate::inputs::name_of(digest));
        match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((length, mut file)) if length == size => {
                let part = format!("inputs/{}", crate::inputs::name_of(digest));
                writer.part(&part, &mut file, size, &mut moved).map_err(broken)?;
            }
            Ok((length, _)) => problems.push(format!("`{}` ({name}) has {length} of {size} bytes", path.display())),
            Err(error) => problems.push(format!("`{}` ({name}) cannot be read: {error}", path.display())),
        }
    }
    let file = writer.finish().and_then(|buffer| buffer.into_inner().map_err(|error| error.into_error()));
    file.and_then(|file| file.sync_all()).map_err(broken)?;
    Ok(BackedUp { bytes: total, problems })
}

/// Outputs of programs that ended, as long as the history says; of those that run, as much as is there.
fn list(snapshot: &Connection, outputs: &Path) -> Result<Vec<OutputFile>, rusqlite::Error> {
    let mut listed = Vec::new();
    outputs_in_files(snapshot, |_, key, stream, bytes| {
        listed.push(OutputFile { key, stream, bytes });
        Ok(())
    })?;
    let mut statement =
        snapshot.prepare("SELECT id, attempt FROM program WHERE ended_at IS NULL AND started_at IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = AttemptKey { program: ProgramId(row.get(0)?), attempt: row.get(1)? };
        for stream in Stream::ALL {
            // Another attempt may have taken its place since the snapshot: then nobody misses it.
            if let Ok(metadata) = fs::metadata(files::path(outputs, key, stream)) {
                listed.push(OutputFile { key, stream, bytes: metadata.len() });
            }
        }
    }
    Ok(listed)
}

/// Entry for the fuzz targets. A part goes nowhere but below the folder that is made.
pub(crate) fn fuzz_read(bytes: &[u8]) -> Option<usize> {
    let mut reader = container::Reader::new(bytes).ok()?;
    let mut parts = 0;
    while let Some(part) = reader.next().ok()? {
        if restore::is_output(&part.name) {
            let names = part.name.split('/').collect::<Vec<_>>();
            assert!(names.len() == 4 && names[0] == "outputs", "{}", part.name);
            assert!(names.iter().all(|name| !matches!(*name, "" | "." | "..")), "{}", part.name);
        }
        let mut content = Vec::new();
        reader.copy(part, &mut content, &mut |_| ()).ok()?;
        drop(serde_json::from_slice::<About>(&content));
        parts += 1;
    }
    Some(parts)
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_write(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new())?;
    let mut from = content;
    writer.part(name, &mut from, content.len() as u64, &mut |_| ())?;
    writer.finish()
}
