//! ALERT: something went wrong or needs attention.

use crate::{units::Duration, user_error::UserError};
use serde::{Deserialize, Serialize};

/// What the peer is told outside any request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alert {
    /// The connection is refused or ended for this reason; nothing follows.
    Refused(UserError),
    /// The master stops; running programs have this long to end.
    Stopping {
        /// The grace period.
        grace: Duration,
    },
    /// For people to read.
    Notice {
        /// The text.
        text: String,
    },
}
