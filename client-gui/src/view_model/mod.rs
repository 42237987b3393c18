//! What panels show, computed from the mirror: pure, so that tests read it as text.

pub mod clients;
pub mod clock;
pub mod detail;
pub mod files;
pub mod history;
pub mod input;
pub mod isolation;
pub mod pulse;
pub mod slaves;
pub mod submit;

pub use clock::Clock;

use common::{program::State, view::ProgramView};

/// The word of a state, as the window writes it.
#[must_use]
pub const fn state_word(state: State) -> &'static str {
    match state {
        State::Waiting => "Waiting",
        State::Running => "Running",
        State::Suspended => "Suspended",
        State::Done => "Done",
        State::Failed => "Failed",
        State::Cancelled => "Cancelled",
        State::Lost => "Lost",
    }
}

/// What the window says of a program: its state, or that the state is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is so.
    Known(State),
    /// It was started, and the connection to its slave is lost.
    Unknown,
}

impl Standing {
    /// How `program` stands.
    #[must_use]
    pub const fn of(program: &ProgramView) -> Self {
        if program.unknown_since.is_some() && !program.state.is_final() {
            Self::Unknown
        } else {
            Self::Known(program.state)
        }
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Known(state) => state_word(state),
            Self::Unknown => "Not known",
        }
    }

    /// Its sign.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Known(state) => state.sign(),
            Self::Unknown => "?",
        }
    }
}

/// A count with separators: `1,204,331`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 slave`, `4 slaves`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_grouped() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_204_331, "1,204,331")] {
            assert_eq!(super::grouped(count), text);
        }
    }
}
