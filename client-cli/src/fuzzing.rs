//! The private decoders, for the fuzz targets alone.

use crate::{arguments::Cli, usage_text};
use clap::Parser;
use std::ffi::OsString;

/// Reads the words of a command line; what is shown when they make no sense.
#[must_use]
pub fn arguments(words: &[OsString]) -> Option<String> {
    Cli::try_parse_from(words).err().map(|error| usage_text(&error))
}
