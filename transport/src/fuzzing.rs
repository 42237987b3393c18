//! The private decoders, for the fuzz targets alone.

use crate::identity;

/// Reads what a slave keeps of its identity.
pub fn slave_identity(text: &str) {
    identity::fuzz_slave(text);
}
