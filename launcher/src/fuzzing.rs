//! The private decoders, for the fuzz targets alone.

use crate::{cgroup, tree};

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup` of anybody.
pub fn mounts(mountinfo: &str, own: &str) {
    cgroup::fuzz_mounts(mountinfo, own);
}

/// Reads `/proc/PID/stat`, in which a program chooses its name; its parent, when it can be read.
#[must_use]
pub fn stat(bytes: &[u8]) -> Option<i32> {
    tree::fuzz_stat(bytes)
}
