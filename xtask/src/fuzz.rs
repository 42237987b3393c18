//! The search for bytes that break a decoder: builds the targets of `fuzz/` with libFuzzer's counters, runs one after
//! another, and says what was found.
//!
//! The compiler of every day can do it: the counters come from a pass of LLVM, and libFuzzer from a crate that a C++
//! compiler builds. Nothing of it is in any other build.

use crate::workspace::{command, output, root, run as run_command};
use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// What makes the compiler count branches and remember comparisons.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// About how many targets there are, to divide the time of a soak.
pub const TARGETS: u32 = 33;
/// Memory that reading any input may take.
const MEMORY_MEBIBYTES_MAX: u32 = 512;
/// Time that reading one input may take.
const INPUT_SECONDS_MAX: u32 = 1;

/// How a search went.
struct Found {
    name: String,
    seconds: u64,
    runs: String,
    covered: String,
    /// The input that broke the target.
    broken_by: Option<PathBuf>,
    /// It took too long once and not again: the machine was busy.
    slow: bool,
}

/// Searches for `each` in every target, or in those that `only` names. Prints a table.
///
/// # Errors
/// When a target was broken; the table says by which file. When a name is of no target, or nothing can be built.
pub fn run(each: Duration, only: &[String]) -> anyhow::Result<()> {
    let binary = build()?;
    let targets: Vec<(String, String)> =
        list()?.into_iter().filter(|(name, _)| only.is_empty() || only.contains(name)).collect();
    if let Some(unknown) = only.iter().find(|name| !targets.iter().any(|(known, _)| known == *name)) {
        bail!("`{unknown}` is no target; `cargo run -p fuzz` lists them");
    }
    let mut found = Vec::new();
    for (place, (name, bytes_max)) in targets.iter().enumerate() {
        println!("fuzz: {} of {}: {name}, {} s", place + 1, targets.len(), each.as_secs());
        found.push(search(&binary, name, bytes_max, each)?);
    }
    println!("\n| target | seconds | runs | covered | result |\n| --- | --- | --- | --- | --- |");
    for Found { name, seconds, runs, covered, broken_by, slow } in &found {
        let result = match (broken_by, slow) {
            (Some(path), _) => format!("**broken** by {}", path.display()),
            (None, true) => "clean; once slow on a busy machine".to_owned(),
            (None, false) => "clean".to_owned(),
        };
        println!("| {name} | {seconds} | {runs} | {covered} | {result} |");
    }
    let broken: Vec<_> = found.iter().filter(|found| found.broken_by.is_some()).map(|found| &*found.name).collect();
    if !broken.is_empty() {
        println!("\nMend it, then keep the file in fuzz/corpus/TARGET: it runs with the ordinary tests.");
        println!("Once more without counters: cargo run -p fuzz -- TARGET FILE");
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

fn target_folder() -> PathBuf {
    root().join("target/fuzz")
}

/// The binary with counters. Its build products lie apart, as everything in it is compiled in another way.
fn build() -> anyhow::Result<PathBuf> {
    let about = output(&mut command(&["rustc", "-vV"]))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    // With a target named, the flags are not those of build scripts and macros.
    let mut build = command(&["cargo", "build", "--locked", "-p", "fuzz", "--bin", "ruche-fuzz", "--profile", "fuzz"]);
    build.args(["--target", host, "--target-dir"]).arg(target_folder()).env("RUSTFLAGS", COUNTERS);
    run_command(&mut build).context("the targets cannot be built; they need a C++ compiler: scripts/setup fuzz")?;
    Ok(target_folder().join(host).join("fuzz/ruche-fuzz"))
}

/// Each target with the bytes of its longest input.
fn list() -> anyhow::Result<Vec<(String, String)>> {
    let text = output(&mut command(&["cargo", "run", "--locked", "--quiet", "-p", "fuzz"]))?;
    let words = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let line = |line| Some((words(line).first()?.clone(), words(line).get(1)?.clone()));
    Ok(text.lines().filter_map(line).collect())
}

/// Runs one target for so long, or until it is broken.
fn search(binary: &Path, name: &str, bytes_max: &str, each: Duration) -> anyhow::Result<Found> {
    let (start, mut left) = (Instant::now(), each);
    let mut found = Found {
        name: name.to_owned(),
        seconds: 0,
        runs: String::new(),
        covered: String::new(),
        broken_by: None,
        slow: false,
    };
    loop {
        let text = search_once(binary, name, bytes_max, left)?;
        found.seconds = start.elapsed().as_secs();
        let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        found.runs = runs.unwrap_or("?").trim().to_owned();
        let mut covered = text.lines().rev().filter_map(|line| line.split(" cov: ").nth(1)?.split(' ').next());
        found.covered = covered.next().unwrap_or("?").to_owned();
        let Some(file) = text.lines().find_map(|line| line.split("Test unit written to ").nth(1)) else {
            return Ok(found);
        };
        let file = PathBuf::from(file.trim());
        let again = libfuzzer(binary, name).arg(&file).output().context("the target cannot be started")?;
        if !again.status.success() {
            println!("{}", String::from_utf8_lossy(&again.stderr));
            found.broken_by = Some(file);
            return Ok(found);
        }
        found.slow = true;
        left = each.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(found);
        }
    }
}

/// What libFuzzer said.
fn search_once(binary: &Path, name: &str, bytes_max: &str, length: Duration) -> anyhow::Result<String> {
    let (grown, broken) = (target_folder().join("corpus").join(name), target_folder().join("found").join(name));
    fs::create_dir_all(&grown)?;
    fs::create_dir_all(&broken)?;
    let mut search = libfuzzer(binary, name);
    search.arg(format!("-max_total_time={}", length.as_secs().max(1))).arg(format!("-max_len={bytes_max}"));
    search.arg(format!("-artifact_prefix={}/", broken.display()));
    search.args(["-print_final_stats=1", "-verbosity=1"]).arg(grown).arg(root().join("fuzz/corpus").join(name));
    let output = search.output().with_context(|| format!("`{}` cannot be started", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() && !text.contains("Test unit written to ") {
        bail!("the search in {name} ended with {}:\n{text}", output.status);
    }
    Ok(text)
}

fn libfuzzer(binary: &Path, name: &str) -> Command {
    let mut command = Command::new(binary);
    command.env("RUCHE_FUZZ_TARGET", name).current_dir(target_folder());
    command.arg(format!("-rss_limit_mb={MEMORY_MEBIBYTES_MAX}")).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command
}
