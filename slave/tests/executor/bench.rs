//! Spawn rate beside the machine's own; run by `cargo xtask bench`.
