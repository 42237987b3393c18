//! Throughput and latency of a real master and slave, beside what the machine does by itself.

use crate::workspace::{command, run as run_command};

/// Builds everything optimised and runs `ruche-bench` of the package `tests`, which prints a table.
///
/// # Errors
/// When something does not build or a measurement cannot be made.
pub fn run() -> anyhow::Result<()> {
    run_command(&mut command(&[
        "cargo",
        "run",
        "--locked",
        "--profile",
        "ci-release",
        "--package",
        "tests",
        "--bin",
        "ruche-bench",
    ]))
}
