//! Licences, banned crates and sources, by cargo-deny and `deny.toml`.

use crate::workspace::{command, output, run as run_command};

/// Installs cargo-deny when it is missing, says so, and runs it.
///
/// Advisories are not asked for: their database comes from a host that build machines need not reach.
///
/// # Errors
/// When a rule of `deny.toml` is broken or the tool cannot be had.
pub fn run() -> anyhow::Result<()> {
    if output(&mut command(&["cargo", "deny", "--version"])).is_err() {
        println!("audit: cargo-deny is missing; building it takes some minutes: cargo install --locked cargo-deny");
        run_command(&mut command(&["cargo", "install", "--locked", "cargo-deny"]))?;
    }
    run_command(&mut command(&["cargo", "deny", "--workspace", "check", "licenses", "bans", "sources"]))
}
