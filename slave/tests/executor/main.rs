//! The executor with real programs: every way to end, every limit, and what must not be left behind.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panic and names the one case that it expects"
)]

mod adoption;
mod agent;
mod ends;
mod examples;
mod files;
mod kit;
mod lease;
mod limits;
mod limits_disk;
mod link;
mod live;
mod quick;
mod surroundings;
