//! How two programs find a common version, and who may speak in which role.

use crate::{error_code::ErrorCode, user_error::UserError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Oldest protocol that this release speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// Newest protocol that this release speaks.
pub const PROTOCOL_MAX: u16 = 1;

/// What the dialling side wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerKind {
    /// A slave that wants a certificate.
    Enrolment,
    /// A slave with a certificate.
    Slave,
    /// A desktop window.
    ClientGui,
    /// A command line.
    ClientCli,
}

/// The first message on a connection, from the side that dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol that the sender speaks.
    pub protocol_min: u16,
    /// Newest protocol that the sender speaks.
    pub protocol_max: u16,
    /// What it wants to be.
    pub kind: PeerKind,
    /// Its release, for people.
    pub release: String,
    /// Optional abilities; unknown ones are ignored.
    pub features: Vec<String>,
}

impl Hello {
    /// What this release says.
    #[must_use]
    pub fn ours(kind: PeerKind) -> Self {
        Self {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            kind,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            features: Vec::new(),
        }
    }

    /// The newest protocol that both sides speak.
    ///
    /// # Errors
    /// When there is none; the sentence names both ranges.
    pub fn agree(&self) -> Result<u16, UserError> {
        let newest = self.protocol_max.min(PROTOCOL_MAX);
        if newest >= self.protocol_min.max(PROTOCOL_MIN) {
            return Ok(newest);
        }
        Err(UserError::new(
            ErrorCode::ProtocolMismatch,
            format!(
                "the peer (release {}) speaks protocol {} to {}, this release {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                crate::escape::RawText::from(self.release.as_str()),
                self.protocol_min,
                self.protocol_max
            ),
        ))
    }
}

/// What a person may do. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Looks at everything, changes nothing.
    Viewer,
    /// Submits, and sees and stops programs of his own.
    Submitter,
    /// Sees and stops everybody's programs, sets slots and policy.
    Operator,
    /// May do everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Submitter, Self::Operator, Self::Admin];

    /// The word on the command line and in the window.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.word() == text)
            .ok_or_else(|| format!("`{text}` is not a role; choose one of viewer, submitter, operator, admin"))
    }
}
