//! Files of identities: whole or not at all, and for their owner alone.

use super::IdentityError;
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// More than any identity file holds; a larger one is not ours.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Makes the folder, for its owner alone, when it is not there.
pub(super) fn make_folder(dir: &Path) -> Result<(), IdentityError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| file_error(dir, source))
}

/// Reads a file that others must not be able to read; `None` when there is none.
pub(super) fn read_private(path: &Path) -> Result<Option<String>, IdentityError> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file_error(path, source)),
    };
    let mode = file.metadata().map_err(|source| file_error(path, source))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|source| file_error(path, source))?;
    Ok(Some(text))
}

/// Replaces the file in one step that survives a power loss: after it, the file holds the old or the new text.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), IdentityError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = dir.join(name);
    let write = || -> std::io::Result<()> {
        // A leftover of a crash may be there; `create_new` then makes sure that the mode is ours.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::File { path: path.to_owned(), source }
}
