//! The project's own commands, as functions that tests can call too.
#![expect(clippy::print_stdout, reason = "these commands talk to the person who runs them")]

pub mod audit;
pub mod bench;
pub mod budget;
pub mod check;
pub mod errors;
pub mod fuzz;
pub mod guest;
pub mod man;
pub mod mutants;
pub mod requirements;
pub mod screenshots;
pub mod soak;
pub mod tidy;
pub mod workspace;
