//! Files of this computer: chosen, read and written on a thread of their own, never on the interface's.

use crate::backend::Asked;
use common::{ErrorCode, ProgramId, UserError, limits};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

/// A portal that says "nothing chosen" faster than a person can is not there.
const TOO_FAST: Duration = Duration::from_millis(250);

/// What a file is chosen for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A source file to open.
    Source,
    /// Standard input.
    Stdin,
    /// Files that are sent with a program.
    Inputs,
    /// Where a file that a program brought back is written: the program, the file's number, a name.
    File(ProgramId, usize, String),
    /// The folder that all files of this program are written into.
    Folder(ProgramId),
    /// Where an output is written, under this name.
    Save(String),
}

/// How the choice ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// These files.
    Files(Vec<PathBuf>),
    /// None.
    Nothing,
    /// This desktop has no file dialog: the window asks for a path itself.
    NoDialog,
}

/// The desktop's file dialog, or none.
pub trait FileDialogs {
    /// Opens the dialog.
    fn choose(&self, purpose: &Purpose) -> Asked<Chosen>;
}

/// The dialog of the desktop portal.
#[derive(Debug, Default)]
pub struct Portal;

impl FileDialogs for Portal {
    fn choose(&self, purpose: &Purpose) -> Asked<Chosen> {
        let purpose = purpose.clone();
        in_background(move || {
            if std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() && !session_bus_exists() {
                return Ok(Chosen::NoDialog);
            }
            let began = Instant::now();
            let one = |path: Option<PathBuf>| path.map(|path| vec![path]);
            let chosen = match &purpose {
                Purpose::Source => one(rfd::FileDialog::new().set_title("Open a program").pick_file()),
                Purpose::Stdin => one(rfd::FileDialog::new().set_title("Standard input").pick_file()),
                Purpose::Inputs => rfd::FileDialog::new().set_title("Files to send").pick_files(),
                Purpose::File(_, _, name) => {
                    one(rfd::FileDialog::new().set_title("Save the file").set_file_name(name).save_file())
                }
                Purpose::Folder(_) => one(rfd::FileDialog::new().set_title("Save all files into").pick_folder()),
                Purpose::Save(name) => {
                    one(rfd::FileDialog::new().set_title("Save output").set_file_name(name).save_file())
                }
            };
            Ok(match chosen {
                Some(paths) => Chosen::Files(paths),
                None if began.elapsed() < TOO_FAST => Chosen::NoDialog,
                None => Chosen::Nothing,
            })
        })
    }
}

fn session_bus_exists() -> bool {
    std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists())
}

/// No dialog: the window's own field is used.
#[derive(Debug, Default)]
pub struct NoDialogs;

impl FileDialogs for NoDialogs {
    fn choose(&self, _purpose: &Purpose) -> Asked<Chosen> {
        let mut answer = Some(Ok(Chosen::NoDialog));
        Asked::new(move || answer.take())
    }
}

/// Runs `work` on a thread of its own.
pub fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T, UserError> + Send + 'static) -> Asked<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("ruche-file".to_owned()).spawn(move || {
        // Nobody may want the answer any more.
        drop(sender.send(work()));
    });
    let mut failed = thread.err().map(|error| {
        Err(UserError::new(ErrorCode::Internal, format!("a thread for the file cannot be started: {error}")))
    });
    let mut done = false;
    Asked::new(move || {
        if done {
            return None;
        }
        let answer = match receiver.try_recv() {
            Ok(answer) => answer,
            Err(mpsc::TryRecvError::Empty) => return None,
            // The thread is gone, or was never there.
            Err(mpsc::TryRecvError::Disconnected) => failed.take().unwrap_or_else(|| {
                Err(UserError::new(ErrorCode::Internal, "a thread of the window ended without an answer"))
            }),
        };
        done = true;
        Some(answer)
    })
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// `E-FILE-UNREADABLE` with the path and the reason.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, UserError> {
    let refuse = |why: String| {
        UserError::new(
            ErrorCode::FileUnreadable,
            format!("`{}` cannot be read: {why}", crate::widgets::shown(&path.to_string_lossy())),
        )
    };
    let meta = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    // A pipe or device would keep the reader waiting.
    if !meta.is_file() {
        return Err(refuse(if meta.is_dir() { "it is a folder".to_owned() } else { "it is not a file".to_owned() }));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(error.to_string()))?;
    if bytes.len() > bytes_max {
        return Err(refuse(format!("it is larger than {}", common::ByteSize(bytes_max as u64))));
    }
    Ok(bytes)
}

/// Reads a source file.
///
/// # Errors
/// As [`read`], and `E-SOURCE-NOT-TEXT`.
pub fn read_source(path: &Path) -> Result<String, UserError> {
    let bytes = read(path, limits::SOURCE_BYTES_MAX)?;
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(|| {
        UserError::new(
            ErrorCode::SourceNotText,
            format!("`{}` is not a text file", crate::widgets::shown(&path.to_string_lossy())),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e9_a_file_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_source(&folder.path().join("none.py")).unwrap_err();
        assert!(missing.is(ErrorCode::FileUnreadable) && missing.sentence.contains("none.py"), "{missing}");
        assert!(read_source(folder.path()).unwrap_err().sentence.contains("it is a folder"));
        let binary = folder.path().join("a.out");
        std::fs::write(&binary, b"\x7fELF\0\0").unwrap();
        assert!(read_source(&binary).unwrap_err().is(ErrorCode::SourceNotText));
        let good = folder.path().join("a.py");
        std::fs::write(&good, "print('é')\n").unwrap();
        assert_eq!(read_source(&good).unwrap(), "print('é')\n");
        assert!(read(&good, 3).unwrap_err().sentence.contains("larger than 3 B"));
    }
}
