//! The executor with real programs: every way to end, every limit, and what must not be left behind.

mod ends;
mod examples;
mod kit;
mod limits;
mod surroundings;
