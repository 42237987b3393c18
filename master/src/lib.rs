//! Accepts clients and slaves, decides, and keeps the history.
//!
//! One task owns a pure core ([`Server`] starts it); sessions feed it events; one thread commits what it
//! decides before anybody hears of it.

pub mod admin;
mod audit;
pub mod backup;
mod between;
mod chores;
mod cli;
mod config;
mod core;
mod data_folder;
mod event_loop;
#[doc(hidden)]
pub mod fuzzing;
mod inputs;
mod login;
mod outputs;
mod pacing;
mod secrets;
mod server;
#[cfg(test)]
mod server_tests;
mod session;
mod signals;
pub mod simulation;
mod store;

pub use cli::{Cli, command, execute};
pub use config::{Config, LISTEN_DEFAULT};
pub use server::{Handle, Server};
