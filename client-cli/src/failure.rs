//! Why a command did not do what it should, and the exit codes that scripts see.

use common::{
    ErrorCode, UserError,
    escape::{Lines, visible},
};
use std::io::{ErrorKind, Write};

/// A command that failed.
pub(crate) const FAILED: u8 = 1;
/// A mistake in the arguments.
pub(crate) const USAGE: u8 = 2;
/// A time limit: the program's own, or `wait --timeout`.
pub(crate) const TIMEOUT: u8 = 124;
/// `run`: Ruche itself failed.
pub(crate) const RUN_FAILED: u8 = 125;
/// `run`: no slave can run it.
const NOT_RUNNABLE: u8 = 127;
/// Somebody pressed Ctrl-C twice, or the program was cancelled.
pub(crate) const CANCELLED: u8 = 130;
/// Whoever read our output is gone, as after SIGPIPE.
pub(crate) const OUTPUT_CLOSED: u8 = 141;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be shown.
    Error(UserError),
    /// Whoever reads our output has gone; there is nobody to tell.
    OutputClosed,
    /// All has been said; only the exit code is left.
    Exit(u8),
}

/// The exit code, or why there is none of its own.
pub(crate) type Outcome = Result<u8, Failure>;

impl From<UserError> for Failure {
    fn from(error: UserError) -> Self {
        Self::Error(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        let sentence = format!("standard output cannot be written: {error}");
        Self::Error(UserError::new(ErrorCode::FileUnreadable, sentence).with_hint("check where the output goes"))
    }
}

/// The exit code of a `run` that ended with this error before there was a program.
pub(crate) fn of_run(error: &UserError) -> u8 {
    let not_runnable = error.is(ErrorCode::LanguageUnknown) || error.is(ErrorCode::LanguageNone);
    if not_runnable { NOT_RUNNABLE } else { RUN_FAILED }
}

/// Shows an error on standard error: code, sentence, hint.
pub(crate) fn report(error: &UserError) {
    let text = format!("{}: {}\nhint: {}\n", error.code, error.sentence, error.hint);
    say(&visible(text.as_bytes(), Lines::Keep));
}

/// Writes on standard error; when that is closed there is nobody to tell.
pub(crate) fn say(text: &str) {
    let raw = crate::terminal::is_raw().then(|| text.replace('\n', "\r\n"));
    drop(std::io::stderr().write_all(raw.as_deref().unwrap_or(text).as_bytes()));
}
