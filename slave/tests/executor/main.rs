//! The executor with real programs: every way to end, every limit, and what must not be left behind.

mod bench;
mod ends;
mod kit;
mod limits;
mod surroundings;
