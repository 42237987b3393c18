//! Programs in a real keeper with its guards: what they see, what they reach, and what is left of them.

mod facts;
mod kit;
mod network;
mod reach;
mod terminal;
mod view;
