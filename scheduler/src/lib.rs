//! Decides which program runs on which slave. Pure: no clock, socket, file or chance.
//!
//! Wanted properties, each with a test in `tests/properties.rs`:
//! a slave never holds more programs than its slots while another able slave has a free one;
//! equal slaves get equal shares; a free slot goes to the user who has the fewest programs on slaves, and of
//! one user's programs with the same needs the oldest starts first; no program waits while an able slave is
//! free; a round costs nothing for what cannot move.

pub mod ability;
mod ceilings;
pub mod explain;
mod placement;
pub mod queue;
pub mod reconcile;
mod round;
mod runs;
pub mod slave;

pub use ability::{Refusal, Requirement};
pub use ceilings::{Beyond, Ceilings};
pub use round::{Decision, Scheduler};
pub use slave::{Aside, Presence, SlaveSlots};
