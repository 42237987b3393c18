//! Programs in a real keeper with its guards: what they see, what they reach, and what is left of them.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panic and names the one case that it expects"
)]

mod facts;
mod kit;
mod lease;
mod network;
mod reach;
mod terminal;
mod view;
