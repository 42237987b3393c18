//! The private decoders, for the fuzz targets alone.

use crate::context;

/// Reads what the command line remembers of a login; what is wrong with it, for people.
///
/// # Errors
/// The sentence.
pub fn context(text: &str) -> Result<(), String> {
    context::parse(text, std::path::Path::new("context.toml")).map(drop).map_err(|error| error.sentence)
}
