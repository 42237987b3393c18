//! What this machine lets a test do. What it does not is said in words, and the rest of the tests runs.

use std::process::Command;

/// Whether the test can make namespaces of its own with these programs. If not, says what is not exercised and why.
#[must_use]
pub fn can_divide(what: &str, programs: &[&str]) -> bool {
    let reason = if nix::unistd::geteuid().is_root() {
        let missing: Vec<_> = programs.iter().copied().filter(|program| !has(program)).collect();
        if !missing.is_empty() {
            Some(format!("this machine has no {}", missing.join(", ")))
        } else if !succeeds("unshare", &["--net", "--mount", "--pid", "--fork", "true"]) {
            Some("this machine lets no test make namespaces".to_owned())
        } else {
            None
        }
    } else {
        Some("it needs root".to_owned())
    };
    if let Some(reason) = &reason {
        println!("not exercised here: {what}: {reason}");
    }
    reason.is_none()
}

/// Whether there is a C compiler for the preload library of the tests. If not, says what is not exercised.
#[must_use]
pub fn can_compile(what: &str) -> bool {
    let there = has("cc");
    if !there {
        println!("not exercised here: {what}: this machine has no cc");
    }
    there
}

fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&folders).chain(system).any(|folder| folder.join(program).is_file())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
