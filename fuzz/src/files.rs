//! What stands in a file, or comes over the master's own socket.

use crate::{whatever, wire::is_harmless};
use common::{ErrorCode, UserError, escape::RawText, language, limits};
use std::{
    cell::OnceCell,
    fs::File,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

/// Calls `read` with the path of a file in memory that holds the bytes.
fn with_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FILE: OnceCell<Option<File>> = const { OnceCell::new() };
    }
    FILE.with(|file| {
        let make = || rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC).map(File::from).ok();
        let Some(file) = file.get_or_init(make) else { return };
        if file.set_len(0).is_ok() && file.write_all_at(bytes, 0).is_ok() {
            read(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())));
        }
    });
}

/// A mistake in a file is told by its code, in words that a terminal shows and does not obey once they are escaped.
fn is_told(error: &UserError) {
    assert!(error.is(ErrorCode::ConfigInvalid) || error.is(ErrorCode::FileUnreadable), "{}", error.code);
    is_harmless(&RawText::from(error.sentence.as_str()).to_string());
}

pub(crate) fn journal(bytes: &[u8]) {
    slave::fuzzing::journal(bytes);
}

pub(crate) fn journal_record(bytes: &[u8]) {
    slave::fuzzing::journal(&slave::fuzzing::journal_of(bytes));
}

pub(crate) fn languages_cache(bytes: &[u8]) {
    slave::fuzzing::languages(bytes);
}

pub(crate) fn language_table(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(table) = language::parse(text) {
        for known in &table {
            assert!(!known.name.is_empty() && !known.find.is_empty() && !known.run.is_empty());
            assert!(language::by_name(&table, &known.name).is_some());
        }
        whatever(language::by_file_name(&table, text));
    }
}

pub(crate) fn slave_config(bytes: &[u8]) {
    with_file(bytes, |path| match slave::config::Config::load(Some(path), slave::config::Overrides::default()) {
        Ok(config) => assert!(config.slots <= limits::SLOTS_MAX && !config.name.is_empty()),
        Err(error) => is_told(&error),
    });
}

pub(crate) fn slave_identity(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        transport::fuzzing::slave_identity(text);
    }
}

pub(crate) fn master_config(bytes: &[u8]) {
    with_file(bytes, |path| match master::Config::read("data", path) {
        Ok(config) => assert!((1..=limits::PROGRAMS_ALIVE_MAX).contains(&config.programs_per_user)),
        Err(error) => is_told(&error),
    });
}

pub(crate) fn backup(bytes: &[u8]) {
    whatever(master::fuzzing::backup(bytes));
}

/// The name up to a line feed, then the content.
pub(crate) fn backup_part(bytes: &[u8]) {
    let place = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (name, content) = bytes.split_at(place);
    let name = String::from_utf8_lossy(name);
    let Ok(file) = master::fuzzing::backup_of(&name, content) else { return };
    let parts = master::fuzzing::backup(&file);
    assert!(parts.is_none_or(|parts| parts <= 1));
    // Cut anywhere, it is no backup.
    assert_eq!(master::fuzzing::backup(&file[..file.len() - 1 - content.len() % 64]), None);
}

/// The index up to the place that the first two bytes name, then the log.
pub(crate) fn log(bytes: &[u8]) {
    let Some((place, rest)) = bytes.split_first_chunk::<2>() else { return };
    let place = usize::from(u16::from_be_bytes(*place)).min(rest.len());
    let (index, log) = rest.split_at(place);
    master::fuzzing::log(log, index);
}

pub(crate) fn body(bytes: &[u8]) {
    if let Some((form, body)) = bytes.split_first() {
        master::fuzzing::body(i64::from(*form & 1), body);
    }
}

pub(crate) fn password(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        master::fuzzing::password(text);
    }
}

pub(crate) fn control(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        master::fuzzing::control(text);
    }
}

pub(crate) fn context(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        whatever(client::fuzzing::context(text));
    }
}
