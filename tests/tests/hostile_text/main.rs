//! B7, B8, B9, B12, B13, B19: sizes, paths, names and bytes that mean harm, through real programs: what is outside
//! the limits is refused by name before anything is stored, what is inside arrives exactly, and what is shown to a
//! person on a terminal is text.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod exact;
mod files;
mod refused;
mod shown;
mod sizes;
mod terminal;

use tests::Cluster;

/// A master and a slave with two slots.
fn small_cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    cluster
}

/// Bytes below a folder, as files have them.
fn bytes_below(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        // It went meanwhile.
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}
