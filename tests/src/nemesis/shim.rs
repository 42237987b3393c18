//! The preloaded library of `tests/shim`: compiled once, steered by a file of numbers, read back as a log.

use crate::binaries;
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
    process::Command,
};

/// A number of the control file; what each means stands in `tests/shim/faults.c`.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Syncs until one fails.
    FailSync = 0,
    /// Writes until one fails.
    FailWrite = 1,
    /// One more than the bytes that may still be written.
    Room = 2,
    /// Microseconds added to the wall clock.
    ClockAhead = 3,
    /// Syncs so far.
    Syncs = 4,
    /// Writes so far.
    Writes = 5,
    /// Faults that were made.
    Faults = 6,
}

/// What a recorded operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The file was made.
    Create,
    /// These bytes were written here.
    Write(u64, Vec<u8>),
    /// A sync began.
    SyncBegin,
    /// A sync came to its good end.
    SyncEnd,
    /// The file got this length.
    Truncate(u64),
    /// The file got this name.
    Rename(PathBuf),
    /// The file was removed.
    Unlink,
    /// A sync or write failed, because it was told to.
    Fault,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, in microseconds of the boot-time clock.
    pub at: u64,
    /// The file, from the folder that is watched.
    pub path: PathBuf,
    /// What was done.
    pub operation: Operation,
}

/// The library around one program.
pub struct Shim {
    library: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    control_path: PathBuf,
    control: File,
}

impl Shim {
    /// Watches `folder`, which is made; its own files go beside it, begun with `name`.
    ///
    /// # Panics
    /// When the library does not compile.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
        let beside = |what: &str| folder.with_file_name(format!("{name}.{what}"));
        let control_path = beside("control");
        fs::write(&control_path, [0; 64]).unwrap();
        let control = File::options().read(true).write(true).open(&control_path).unwrap();
        let folder = folder.canonicalize().unwrap();
        Self { library: compiled(&beside("so")), folder, log: beside("log"), control_path, control }
    }

    /// The environment of the program under test.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, OsString)> {
        [
            ("LD_PRELOAD", &self.library),
            ("RUCHE_SHIM_FOLDER", &self.folder),
            ("RUCHE_SHIM_LOG", &self.log),
            ("RUCHE_SHIM_CONTROL", &self.control_path),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone().into()))
        .to_vec()
    }

    /// Sets a number.
    ///
    /// # Panics
    /// When the control file cannot be written.
    pub fn set(&self, number: Number, value: i64) {
        self.control.write_all_at(&value.to_le_bytes(), number as u64 * 8).unwrap();
    }

    /// Reads a number.
    ///
    /// # Panics
    /// When the control file cannot be read.
    #[must_use]
    pub fn get(&self, number: Number) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, number as u64 * 8).unwrap();
        i64::from_le_bytes(bytes)
    }

    /// Everything that was recorded so far. A record that is being written now is left out.
    ///
    /// # Panics
    /// When the log is none of ours.
    #[must_use]
    pub fn log(&self) -> Vec<Record> {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let (mut rest, mut all) = (&bytes[..], Vec::new());
        while let Some((record, after)) = record(rest, &self.folder) {
            all.push(record);
            rest = after;
        }
        all
    }
}

/// The library, compiled for this test.
fn compiled(library: &Path) -> PathBuf {
    let source = binaries::workspace().join("tests/shim/faults.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(source).args(["-ldl", "-lpthread"]);
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library.canonicalize().unwrap()
}

fn record<'a>(bytes: &'a [u8], folder: &Path) -> Option<(Record, &'a [u8])> {
    let (header, rest) = bytes.split_at_checked(32)?;
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    let large = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    let (path, rest) = rest.split_at_checked(number(4) as usize)?;
    let (second, rest) = rest.split_at_checked(number(8) as usize)?;
    let (data, rest) = rest.split_at_checked(number(12) as usize)?;
    let inside = |path: &[u8]| {
        let path = PathBuf::from(std::str::from_utf8(path).unwrap());
        path.strip_prefix(folder).unwrap().to_owned()
    };
    let operation = match number(0) {
        1 => Operation::Create,
        2 => Operation::Write(large(16), data.to_vec()),
        3 => Operation::SyncBegin,
        4 => Operation::SyncEnd,
        5 => Operation::Truncate(large(16)),
        6 => Operation::Rename(inside(second)),
        7 => Operation::Unlink,
        8 => Operation::Fault,
        other => panic!("the log has an operation {other}"),
    };
    Some((Record { at: large(24), path: inside(path), operation }, rest))
}
