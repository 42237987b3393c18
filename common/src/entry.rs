//! Programs that differ in one piece of text each, such as the lines of a file: what an entry makes of the arguments.
//!
//! As with xargs and GNU parallel: the entry stands where the arguments say `{}`, in any place of an argument and as
//! often as it is said there; without `{}` it is the last argument. It is one argument, whatever blanks, quotes or
//! signs it holds: no shell reads it. The command and the source file are never replaced, only what stands behind them.

use crate::{
    error_code::ErrorCode, escape::RawText, limits::ARGUMENTS_BYTES_MAX, limits::ARGUMENTS_MAX,
    limits::ENTRY_BYTES_MAX, program::ProgramSpec, user_error::UserError,
};

/// What an entry takes the place of.
pub const PLACE: &[u8] = b"{}";

fn places(argument: &RawText) -> usize {
    let (mut rest, mut count) = (argument.0.as_slice(), 0);
    while let Some(at) = find(rest) {
        rest = &rest[at + PLACE.len()..];
        count += 1;
    }
    count
}

fn find(text: &[u8]) -> Option<usize> {
    text.windows(PLACE.len()).position(|window| window == PLACE)
}

fn replace(argument: &RawText, entry: &RawText) -> RawText {
    let (mut rest, mut made) = (argument.0.as_slice(), Vec::with_capacity(argument.0.len() + entry.0.len()));
    while let Some(at) = find(rest) {
        made.extend_from_slice(&rest[..at]);
        made.extend_from_slice(&entry.0);
        rest = &rest[at + PLACE.len()..];
    }
    made.extend_from_slice(rest);
    RawText(made)
}

impl ProgramSpec {
    /// What runs for this entry.
    #[must_use]
    pub fn with_entry(&self, entry: &RawText) -> Self {
        let mut spec = self.clone();
        if self.arguments.iter().any(|argument| places(argument) > 0) {
            spec.arguments = self.arguments.iter().map(|argument| replace(argument, entry)).collect();
        } else {
            spec.arguments.push(entry.clone());
        }
        spec
    }

    /// Checks that a program can be given these entries.
    ///
    /// # Errors
    /// Names the first one that does not fit, by its place from `first`, and what is accepted.
    pub fn check_entries(&self, entries: &[RawText], first: u64) -> Result<(), UserError> {
        let given: usize = self.arguments.iter().map(|argument| argument.0.len()).sum();
        let used: usize = self.arguments.iter().map(places).sum();
        if used == 0 && self.arguments.len() >= ARGUMENTS_MAX {
            let sentence = format!("{ARGUMENTS_MAX} arguments leave no place for an entry");
            return Err(UserError::new(ErrorCode::SubmitInvalid, sentence));
        }
        for (entry, number) in entries.iter().zip(first..) {
            let refuse = |what: String| Err(UserError::new(ErrorCode::SubmitInvalid, format!("entry {number} {what}")));
            if entry.0.contains(&0) {
                return refuse("holds a NUL byte, which no program can be given".to_owned());
            }
            let length = entry.0.len();
            if length > ENTRY_BYTES_MAX {
                return refuse(format!("has {length} bytes; at most {ENTRY_BYTES_MAX} are accepted"));
            }
            let all = given + length.saturating_mul(used.max(1));
            if all > ARGUMENTS_BYTES_MAX {
                return refuse(format!("makes {all} bytes of arguments; at most {ARGUMENTS_BYTES_MAX} are accepted"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Work;

    fn spec(arguments: &[&str]) -> ProgramSpec {
        let mut spec = ProgramSpec::new("x", Work::Command { command: "{}".into() });
        spec.arguments = arguments.iter().map(|argument| RawText::from(*argument)).collect();
        spec
    }

    #[test]
    fn e1_an_entry_stands_where_the_arguments_say_or_last() {
        let check = |arguments: &[&str], entry: &str, expected: &[&str]| {
            let made = spec(arguments).with_entry(&entry.into());
            assert_eq!(made.arguments, spec(expected).arguments, "{arguments:?} with {entry:?}");
            assert_eq!(made.work, spec(&[]).work, "the command is never replaced");
        };
        check(&[], "a b", &["a b"]);
        check(&["-n"], "$(rm -rf /)", &["-n", "$(rm -rf /)"]);
        check(&["in/{}", "-o", "{}.out"], "x", &["in/x", "-o", "x.out"]);
        check(&["{}{}", "{", "}"], "y", &["yy", "{", "}"]);
        check(&["{{}}"], "z", &["{z}"]);
        check(&["{}"], "", &[""]);
        check(&["a"], "", &["a", ""]);
        // An entry that looks like a place is text.
        check(&["{}-{}"], "{}", &["{}-{}"]);
    }

    #[test]
    fn e9_entries_that_no_program_can_be_given_are_refused_by_their_place() {
        let check = |arguments: &[&str], entry: Vec<u8>, words: &str| {
            let entries = ["fine".into(), RawText(entry)];
            let error = spec(arguments).check_entries(&entries, 41).unwrap_err();
            assert!(error.is(ErrorCode::SubmitInvalid) && error.sentence.contains(words), "{error}");
        };
        check(&[], b"a\0b".to_vec(), "entry 42 holds a NUL byte");
        check(&[], vec![b'x'; ENTRY_BYTES_MAX + 1], "entry 42 has 131072 bytes");
        let twenty = "{}".repeat(20);
        check(&[&twenty], vec![b'x'; ENTRY_BYTES_MAX], "bytes of arguments");
        assert!(spec(&[&twenty]).check_entries(&[RawText(vec![b'x'; 100_000])], 0).is_ok());
        let full = vec![""; ARGUMENTS_MAX];
        assert!(spec(&full).check_entries(&[], 0).unwrap_err().sentence.contains("leave no place"));
    }
}
