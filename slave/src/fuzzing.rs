//! The private decoders, for the fuzz targets alone.

use crate::{executor, journal, languages};

/// Reads a journal as it stands in its file, and what follows from it.
pub fn journal(bytes: &[u8]) {
    journal::fuzz_read(bytes);
}

/// A journal of one record with this body, sound but for what the body says.
#[must_use]
pub fn journal_of(body: &[u8]) -> Vec<u8> {
    journal::fuzz_file(body)
}

/// Reads a progress file: per cent and text.
#[must_use]
pub fn progress(bytes: &[u8]) -> Option<(f32, String)> {
    executor::fuzz_progress(bytes)
}

/// Reads what a keeper holds for an agent that follows another: tag, note and sealed output.
pub fn kept(bytes: &[u8]) {
    executor::fuzz_kept(bytes);
}

/// Finds a version in what a tool printed.
#[must_use]
pub fn version(text: &str) -> Option<String> {
    languages::fuzz_version(text)
}

/// Reads the languages that an earlier start found.
pub fn languages(bytes: &[u8]) {
    languages::fuzz_cache(bytes);
}
