//! The words, limits and wire format that every part of Ruche shares.
//!
//! Pure: nothing here knows a socket, a file, a clock or a random source (see ARCHITECTURE.md).

mod bounded;
pub mod collected;
pub mod entry;
pub mod error_code;
pub mod escape;
pub mod frame;
pub mod id;
pub mod language;
pub mod limits;
pub mod message;
pub mod outcome;
pub mod program;
pub mod session;
pub mod units;
pub mod user_error;
pub mod view;

pub use error_code::ErrorCode;
pub use id::{AttemptKey, ClientId, Digest, ProgramId, SlaveId};
pub use outcome::{Limit, Outcome};
pub use program::{ProgramSpec, ResourceLimits, Work};
pub use units::{ByteSize, Duration, Timestamp};
pub use user_error::UserError;
