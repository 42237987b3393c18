//! What the tests of the whole system share: a cluster of real programs, and waiting on conditions.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its cluster has failed")]

pub mod binaries;
pub mod cli;
pub mod cluster;
pub mod wait;

pub use cli::{Cli, Finished};
pub use cluster::{Cluster, Master, Slave};
pub use wait::wait_until;
