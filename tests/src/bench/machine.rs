//! The machine that was measured on: its figures mean nothing on another.

use serde_json::{Value, json};
use std::fs;

fn line_of(path: &str, start: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
    line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
}

/// Minutes 1, 5 and 15 of what wanted to run.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// More than this over the last minute before a run, and somebody else was at work: no final figures.
pub const LOAD_OF_A_QUIET_MACHINE: f64 = 0.5;

/// Whether somebody else was at work over the last minute.
#[must_use]
pub fn is_noisy() -> bool {
    load().split(' ').next().and_then(|text| text.parse().ok()).is_none_or(|load: f64| load > LOAD_OF_A_QUIET_MACHINE)
}

/// Time that the machine's host took from it, in hundredths of a second of all processors so far.
#[must_use]
pub fn stolen() -> u64 {
    // proc(5): the eighth number of the line `cpu`.
    line_of("/proc/stat", "cpu ").split_whitespace().nth(7).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What tells this machine from another.
#[must_use]
pub fn describe() -> Value {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "processor": line_of("/proc/cpuinfo", "model name"),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "kernel": kernel.trim(),
        "load_before": load(),
    })
}
