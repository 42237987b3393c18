//! The whole check: what `make test` and CI run once the machine is set up, the fast steps first.

use crate::{
    tidy,
    workspace::{command, run as run_command},
};
use anyhow::bail;
use common::language;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

/// Where a slave's programs look for commands.
const PATH_OF_PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

struct Step {
    name: &'static str,
    action: fn() -> anyhow::Result<()>,
}

const QUICK: [Step; 3] = [
    Step { name: "format", action: || cargo(&["fmt", "--all", "--check"]) },
    Step { name: "tidy", action: tidy::run },
    Step {
        name: "lints",
        action: || cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
];

const SLOW: [Step; 3] = [
    Step { name: "documentation", action: documentation },
    // One set of features for binaries and tests, so that each dependency is built once.
    Step { name: "build", action: || cargo(&["build", "--locked", "--workspace", "--all-targets"]) },
    Step { name: "tests", action: || cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]) },
];

/// Runs the steps, all of them even after a failure, and prints a summary.
///
/// # Errors
/// When a step failed.
pub fn run(quick: bool) -> anyhow::Result<()> {
    let steps = QUICK.iter().chain(if quick { &[][..] } else { &SLOW[..] });
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for step in steps {
        println!("\n=== {} ===", step.name);
        let start = Instant::now();
        let result = (step.action)();
        let word = if result.is_ok() { "✓" } else { "✗" };
        lines.push(format!("{word} {:<14} {:>4} s", step.name, start.elapsed().as_secs()));
        if let Err(error) = result {
            println!("{}: {error:#}", step.name);
            failed.push(step.name);
        }
    }
    println!("\n=== summary ===\n{}", lines.join("\n"));
    if !quick {
        let missing = languages_out_of_reach();
        if !missing.is_empty() {
            println!("not exercised here: {}", missing.join("; "));
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("everything passed");
    Ok(())
}

fn cargo(words: &[&str]) -> anyhow::Result<()> {
    run_command(&mut command(&[&["cargo"], words].concat()))
}

fn documentation() -> anyhow::Result<()> {
    run_command(
        command(&["cargo", "doc", "--locked", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// The languages of the built-in table whose programs an unprivileged user of this machine cannot run,
/// each with the reason. Their tests are skipped, so the summary names them.
fn languages_out_of_reach() -> Vec<String> {
    let system: Vec<PathBuf> = PATH_OF_PROGRAMS.iter().map(PathBuf::from).collect();
    let ours: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let reachable = |name: &String| find(&system, name).is_some_and(|path| everyone_may_run(&path));
    language::built_in()
        .iter()
        .filter(|language| !language.find.iter().any(reachable))
        .map(|language| match language.find.iter().find_map(|name| find(&ours, name)) {
            Some(path) => format!("{} ({} is for this user alone)", language.name, path.display()),
            None => format!("{} (no {} on this machine)", language.name, language.find.join(" or ")),
        })
        .collect()
}

fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether every folder on the way, links followed, lets everybody pass.
fn everyone_may_run(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| {
        path.ancestors().all(|part| part.metadata().is_ok_and(|data| data.permissions().mode() & 1 == 1))
    })
}
