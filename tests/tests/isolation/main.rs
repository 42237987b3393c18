//! I1 to I20: programs that mean harm, run by real slaves for a real master, as far as each level of isolation goes.
//!
//! The programs are small sources in `programs`, compiled by the slave itself. They tell what they reached; nothing is
//! the pass. Four slaves of one master serve most tests: `root` (all guards of a slave that runs as root), `user` (a
//! slave that runs as an ordinary user, in user namespaces where it may make them), `fallback` (the same where there are
//! none) and `plain` (what `--isolation plain` leaves).

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod audit;
mod calls;
mod ceiling;
mod degraded;
mod ends;
mod identity;
mod limits;
mod links;
mod network;
mod others;
mod view;
mod world;

/// Says that this machine cannot exercise something.
#[expect(clippy::print_stderr, reason = "people must see what a passed test did not try")]
fn not_exercised(what: &str) {
    eprintln!("not exercised here: {what}");
}
