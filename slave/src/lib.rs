//! Runs programs for a master and reports how they ended.

pub mod core;
pub mod executor;
pub mod languages;
