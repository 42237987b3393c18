//! An error that a person reads: code, sentence, hint.

use crate::{error_code::ErrorCode, units::Duration};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What went wrong, where and why, and what to do next. Sent over the wire as text, so that an older
/// client shows the errors of a newer master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserError {
    /// The stable code, such as `E-LANGUAGE-NONE`.
    pub code: String,
    /// What happened, with the values in it.
    pub sentence: String,
    /// What to do next.
    pub hint: String,
    /// When to try again, for an error that passes.
    pub retry_after: Option<Duration>,
}

impl UserError {
    /// An error of the catalogue with this sentence and the catalogue's hint.
    #[must_use]
    pub fn new(code: ErrorCode, sentence: impl Into<String>) -> Self {
        Self {
            code: code.code().to_owned(),
            sentence: sentence.into(),
            hint: code.hint().to_owned(),
            retry_after: None,
        }
    }

    /// The same error with a hint that fits the case better than the catalogue's.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same error, saying when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether this is that error of the catalogue.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.code()
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\nhint: {}", self.code, self.sentence, self.hint)
    }
}

impl std::error::Error for UserError {}
