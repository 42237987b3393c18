//! Values on the command line that are checked before anything is asked of a master: a mistake in the arguments.

use common::{ByteSize, Duration, program::ResourceLimits};
use std::{ffi::OsString, os::unix::ffi::OsStrExt, str::FromStr};

fn checked<T: Copy + FromStr<Err: std::fmt::Display>>(
    text: &str,
    put: impl Fn(&mut ResourceLimits, T),
) -> Result<T, String> {
    let value: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    let mut limits = ResourceLimits::default();
    put(&mut limits, value);
    limits.validate().map_err(|error| error.sentence)?;
    Ok(value)
}

/// A wall time that can be kept.
pub(crate) fn wall_time(text: &str) -> Result<Duration, String> {
    checked(text, |limits, value| limits.wall_time = value)
}

/// A processor time that can be kept.
pub(crate) fn cpu_time(text: &str) -> Result<Duration, String> {
    checked(text, |limits, value| limits.cpu_time = Some(value))
}

/// A memory limit that a program can start in.
pub(crate) fn memory(text: &str) -> Result<ByteSize, String> {
    checked(text, |limits, value| limits.memory = value)
}

/// A number of processes.
pub(crate) fn processes(text: &str) -> Result<u32, String> {
    checked(text, |limits, value| limits.processes = value)
}

/// How much output is kept.
pub(crate) fn output(text: &str) -> Result<ByteSize, String> {
    checked(text, |limits, value| limits.output = value)
}

/// Size of one file.
pub(crate) fn file_size(text: &str) -> Result<ByteSize, String> {
    checked(text, |limits, value| limits.file_size = value)
}

/// Something between the quotation marks.
pub(crate) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// `NAME=VALUE`, of any bytes.
pub(crate) fn variable(text: OsString) -> Result<OsString, String> {
    match text.as_bytes().iter().position(|byte| *byte == b'=') {
        Some(at) if at > 0 => Ok(text),
        Some(_) | None => Err("write NAME=VALUE".to_owned()),
    }
}
