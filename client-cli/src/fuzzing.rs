//! The private decoders, for the fuzz targets alone.

use crate::{arguments::Cli, quoted};
use clap::Parser;
use std::ffi::OsString;

/// Reads the words of a command line; what is shown when they make no sense, with our colours.
#[must_use]
pub fn arguments(words: &[OsString]) -> Option<String> {
    Cli::try_parse_from(words).err()?;
    quoted(words).map(|error| error.render().ansi().to_string())
}
