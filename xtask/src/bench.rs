//! The figures that Ruche must reach, through real binaries, beside what the machine does by itself; then the small
//! pieces they are made of.

use crate::workspace::{binaries, command, run as run_command};

/// Packages that have micro-benchmarks.
const MICRO: [&str; 4] = ["common", "scheduler", "master", "client-gui"];

/// Builds everything optimised and runs `ruche-bench` of the package `tests` with these words, which prints a table
/// and compares it to the last one. Without words it goes on: the micro-benchmarks, and what the start of a program
/// costs behind its guards, from a process that holds little and from one that holds 512 MiB.
///
/// # Errors
/// When something does not build or a measurement cannot be made.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    // What people install.
    let packages = ["master", "slave", "client-cli", "tests"].map(|package| ["--package", package]).concat();
    // Only these: each is linked with optimisation of the whole, which takes a minute.
    let programs = ["ruche-master", "ruche-slave", "ruche", "ruche-bench"].map(|program| ["--bin", program]).concat();
    run_command(command(&["cargo", "build", "--locked", "--release"]).args(packages).args(programs))?;
    let bench = binaries("release").join("ruche-bench");
    run_command(command(&[&bench.to_string_lossy()]).args(words))?;
    if !words.is_empty() {
        return Ok(());
    }
    let optimised = ["--locked", "--profile", "ci-release"];
    for package in MICRO {
        run_command(command(&["cargo", "bench"]).args(optimised).args(["--package", package, "--bench", "micro"]))?;
    }
    for held in ["0", "512"] {
        println!("\nstart of a program from a process that holds {held} MiB");
        let example = ["--package", "launcher", "--example", "start_cost", "--", "--hold-mib", held];
        run_command(command(&["cargo", "run"]).args(optimised).args(example))?;
    }
    Ok(())
}
