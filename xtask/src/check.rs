//! The whole check: what `make test` and CI run once the machine is set up, the fast steps first.

use crate::{
    budget, tidy,
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

const SLOW: [Step; 4] = [
    Step { name: "documentation", action: documentation },
    // One set of features for binaries and tests, so that each dependency is built once.
    Step { name: "build", action: || cargo(&["build", "--locked", "--workspace", "--all-targets"]) },
    Step { name: "tests", action: || cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]) },
    Step { name: "budget", action: || budget::run(false) },
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
        let missing = [languages_out_of_reach(), guards_out_of_reach()].concat();
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

/// What no test on this machine can exercise of how programs are limited and shut in, and what does.
fn guards_out_of_reach() -> Vec<String> {
    let mut missing = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let unified = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let folder = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(folder))
    });
    let offered = unified.as_ref().and_then(|folder| std::fs::read_to_string(folder.join("cgroup.controllers")).ok());
    let offered: Vec<String> = offered.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let wanted: Vec<&str> =
        ["memory", "pids"].into_iter().filter(|name| !offered.iter().any(|has| has == name)).collect();
    if !wanted.is_empty() {
        missing.push(format!(
            "limits by cgroup v2 (its controllers here: {}; missing: {}), which `make soak` and `cargo xtask guest` do in \
             an emulated machine",
            if offered.is_empty() { "none".to_owned() } else { offered.join(" ") },
            wanted.join(" ")
        ));
    }
    if unified.is_none() {
        missing.push("programs that are born, frozen and killed in a group (no cgroup2 is mounted)".to_owned());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !status.lines().any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"])) {
        missing.push("users of their own for programs, groups and networks (the tests do not run as root)".to_owned());
    }
    for (file, what) in [
        ("/proc/sys/user/max_user_namespaces", "isolation without root (user namespaces are switched off)"),
        ("/proc/sys/user/max_pid_namespaces", "isolation by namespaces (they are switched off)"),
    ] {
        if std::fs::read_to_string(file).is_ok_and(|text| text.trim() == "0") {
            missing.push(what.to_owned());
        }
    }
    missing
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
