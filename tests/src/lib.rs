//! What the tests of the whole system share: a cluster of real programs, and waiting on conditions.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its cluster has failed")]

pub mod bench;
pub mod binaries;
pub mod budget;
pub mod checker;
pub mod cli;
pub mod cluster;
pub mod load;
pub mod nemesis;
pub mod process;
pub mod seed;
pub mod simulation;
pub mod wait;
pub mod witness;

pub use cli::{Cli, Finished};
pub use cluster::{Cluster, Master, Slave};
pub use process::Process;
pub use wait::wait_until;

/// Whether full counts are wanted (`cargo xtask soak`) instead of those that fit into `make test`.
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("RUCHE_SOAK").is_some_and(|value| value == "1")
}
