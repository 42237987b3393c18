//! Which languages this machine can run: the table, the tools that are found, and a real run of each.

pub mod java;

use common::language::Language;
use std::path::PathBuf;

/// A language that works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its entry in the table.
    pub language: Language,
    /// The program that was found.
    pub tool: PathBuf,
    /// Its version, shortened to the number.
    pub version: String,
}
