//! The private decoders, for the fuzz targets alone.

use crate::{admin, backup, secrets, store};

/// Reads a backup: how many parts it has, when it is whole.
#[must_use]
pub fn backup(bytes: &[u8]) -> Option<usize> {
    backup::fuzz_read(bytes)
}

/// A whole backup with one part.
///
/// # Errors
/// When the name is too long.
pub fn backup_of(name: &str, content: &[u8]) -> std::io::Result<Vec<u8>> {
    backup::fuzz_write(name, content)
}

/// Looks at the log of a database, with the index beside it.
pub fn log(log: &[u8], index: &[u8]) {
    store::fuzz_log(log, index);
}

/// Reads what was submitted, in the form of an earlier release or of this one.
pub fn body(form: i64, bytes: &[u8]) {
    store::fuzz_body(form, bytes);
}

/// Reads what is kept of a password.
pub fn password(kept: &str) {
    secrets::fuzz_parse(kept);
}

/// Reads a line of the control socket, from either end.
pub fn control(line: &str) {
    admin::fuzz_line(line);
}
