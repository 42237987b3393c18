//! A file that a program shall find: read once for its hash, before anything is sent.

use common::{
    ErrorCode, UserError,
    escape::RawText,
    id::Digest,
    limits::INPUT_FILE_BYTES_MAX,
    program::{InputFile, is_file_name},
    units::ByteSize,
};
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// A file with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Where it is.
    pub path: PathBuf,
    /// What the program finds.
    pub file: InputFile,
}

pub(super) fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> UserError {
    let shown = RawText(path.as_os_str().as_bytes().to_vec());
    UserError::new(ErrorCode::FileUnreadable, format!("`{shown}` cannot be read: {why}"))
}

/// Opens a regular file; a FIFO is not waited for.
pub(super) fn open(path: &Path) -> Result<File, UserError> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .map_err(|error| unreadable(path, &error))?;
    let found = file.metadata().map_err(|error| unreadable(path, &error))?;
    if found.is_dir() {
        return Err(unreadable(path, &"it is a folder").with_hint("give files; pack a folder with `tar` first"));
    }
    if !found.is_file() {
        return Err(unreadable(path, &"it is not a regular file"));
    }
    Ok(file)
}

/// Reads a file for its size and hash. It is found under its own name, without folders.
///
/// # Errors
/// `E-FILE-UNREADABLE`, or `E-SUBMIT-INVALID` when no program can be given it.
pub fn pick(path: &Path) -> Result<Picked, UserError> {
    let mut file = open(path)?;
    let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    if !is_file_name(&name) {
        let sentence = format!("`{}` cannot be the name of an input file", RawText(name));
        return Err(UserError::new(ErrorCode::SubmitInvalid, sentence));
    }
    let found = file.metadata().map_err(|error| unreadable(path, &error))?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = vec![0; READ_BYTES];
    let mut size = 0;
    loop {
        match file.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                size += count as u64;
                hasher.update(&bytes[..count]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(path, &error)),
        }
        if size > INPUT_FILE_BYTES_MAX.0 {
            let sentence = format!("the input file `{}` has more than {INPUT_FILE_BYTES_MAX}", RawText(name));
            return Err(UserError::new(ErrorCode::SubmitInvalid, sentence));
        }
    }
    let file = InputFile {
        name: RawText(name),
        digest: Digest(*hasher.finalize().as_bytes()),
        size: ByteSize(size),
        executable: found.permissions().mode() & 0o111 != 0,
    };
    Ok(Picked { path: path.to_owned(), file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_only_regular_files_are_picked_and_none_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, b"content").unwrap();
        let picked = pick(&path).unwrap();
        assert_eq!(picked.file.digest.0, *blake3::hash(b"content").as_bytes());
        assert_eq!((picked.file.size.0, picked.file.executable), (7, false));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(pick(&path).unwrap().file.executable);
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        for bad in [pipe, folder.path().to_owned(), folder.path().join("missing"), "/dev/null".into()] {
            assert!(pick(&bad).unwrap_err().is(ErrorCode::FileUnreadable), "{}", bad.display());
        }
        let hostile = folder.path().join(std::ffi::OsStr::from_bytes(b"\x1b[2J\xff"));
        std::fs::write(&hostile, b"").unwrap();
        assert_eq!(pick(&hostile).unwrap().file.name.0, b"\x1b[2J\xff");
        let ours = folder.path().join(".ruche-progress");
        std::fs::write(&ours, b"").unwrap();
        assert!(pick(&ours).unwrap_err().is(ErrorCode::SubmitInvalid));
    }
}
