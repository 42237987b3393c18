//! Throughput and latency of a real master and slave, beside what the machine does by itself.

use crate::workspace::{command, run as run_command};

/// Builds everything optimised and runs `ruche-bench` of the package `tests`, which prints a table; then what the start
/// of a program costs behind its guards, from a process that holds little and from one that holds 512 MiB.
///
/// # Errors
/// When something does not build or a measurement cannot be made.
pub fn run() -> anyhow::Result<()> {
    let optimised = ["cargo", "run", "--locked", "--profile", "ci-release"];
    run_command(command(&optimised).args(["--package", "tests", "--bin", "ruche-bench"]))?;
    for held in ["0", "512"] {
        println!("\nstart of a program from a process that holds {held} MiB");
        run_command(command(&optimised).args(["--package", "launcher", "--example", "start_cost"]).args([
            "--",
            "--hold-mib",
            held,
        ]))?;
    }
    Ok(())
}
