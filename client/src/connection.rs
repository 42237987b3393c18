//! One authenticated connection that carries many requests at once.

use common::{ClientId, message::command::Secret, session::Role};
use transport::identity::CaPin;

/// A master: where it is, and how its identity is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`.
    pub address: String,
    /// The pin of the master's CA.
    pub pin: CaPin,
}

/// How a person proves who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// By name and password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By the session that an earlier login began.
    Token(Secret),
}

/// Who a connection is to the master, and who the master says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This connection.
    pub client: ClientId,
    /// The user's name.
    pub user: String,
    /// What the user may do.
    pub role: Role,
    /// The master's name, for people.
    pub master: String,
    /// The master's release.
    pub release: String,
}
