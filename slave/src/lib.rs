//! Runs programs for a master and reports how they ended.
//!
//! `core` decides, `event_loop` moves bytes, `executor` runs programs through the launcher.

pub mod audit;
pub mod ceiling;
pub mod cli;
pub mod config;
pub mod core;
pub mod data_folder;
pub mod doctor;
pub mod event_loop;
pub mod executor;
pub mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod hollow;
pub mod isolation;
pub mod journal;
pub mod languages;
pub mod session;
pub mod setup;

pub use cli::command;
