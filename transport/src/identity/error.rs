//! Why an identity cannot be made, read or used.

use common::{ErrorCode, UserError};
use std::path::PathBuf;

/// Why an identity cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("`{}` cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A private key that other users of this machine can read.
    #[error("`{}` holds a private key, and its permissions {mode:04o} let others read it", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate request is malformed, of a kind that is not accepted, or not signed with its own key.
    #[error("the certificate request is refused: {0}")]
    Request(String),
    /// The certificates do not belong to the key, the ID or the pin.
    #[error("the certificates do not fit: {0}")]
    Certificates(String),
    /// A key or a certificate could not be made.
    #[error("a key or certificate could not be made: {0}")]
    Crypto(String),
}

impl IdentityError {
    pub(crate) fn crypto(error: impl std::fmt::Display) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl From<&IdentityError> for UserError {
    fn from(error: &IdentityError) -> Self {
        match error {
            IdentityError::File { source, .. } => Self::new(ErrorCode::DataUnusable, format!("{error}: {source}")),
            IdentityError::Exposed { path, .. } => Self::new(ErrorCode::DataUnusable, error.to_string())
                .with_hint(format!("`chmod 600 {}`, and enrol again if others may have read it", path.display())),
            IdentityError::Damaged { .. } => Self::new(ErrorCode::DataUnusable, error.to_string())
                .with_hint("restore the file from a backup, or remove it to begin with a new identity"),
            IdentityError::Request(_) | IdentityError::Certificates(_) => {
                Self::new(ErrorCode::IdentityRefused, error.to_string())
            }
            IdentityError::Crypto(_) => Self::new(ErrorCode::Internal, error.to_string()),
        }
    }
}

impl From<IdentityError> for UserError {
    fn from(error: IdentityError) -> Self {
        Self::from(&error)
    }
}
