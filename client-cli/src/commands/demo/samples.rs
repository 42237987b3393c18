//! The sample programs of `ruche demo`, and how each should end.

use common::{
    Limit, Outcome, ProgramSpec, Work,
    units::{ByteSize, Duration},
};

/// How a sample should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Exit(i32),
    CompileError,
    Limit(Limit),
    NotSupported,
}

/// A sample.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) language: &'static str,
    file_name: &'static str,
    text: &'static str,
    pub(super) expected: Expected,
}

macro_rules! sample {
    ($language:literal, $file:literal, $expected:expr) => {
        Sample {
            language: $language,
            file_name: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/", $file)),
            expected: $expected,
        }
    };
}

/// The first is the one whose output is shown.
pub(super) const SAMPLES: &[Sample] = &[
    sample!("Python", "primes.py", Expected::Exit(0)),
    sample!("C", "collatz.c", Expected::Exit(0)),
    sample!("C++", "queens.cpp", Expected::Exit(0)),
    sample!("Rust", "pascal.rs", Expected::Exit(0)),
    sample!("Java", "Temperature.java", Expected::Exit(0)),
    sample!("JavaScript", "fizz.js", Expected::Exit(0)),
    sample!("Bash", "machine.sh", Expected::Exit(0)),
    sample!("Python", "fails.py", Expected::Exit(3)),
    sample!("C", "broken.c", Expected::CompileError),
    sample!("Bash", "endless.sh", Expected::Limit(Limit::WallTime)),
    sample!("Python", "hungry.py", Expected::Limit(Limit::Memory)),
    sample!("Brainfuck", "hello.bf", Expected::NotSupported),
];

impl Sample {
    /// What is submitted.
    pub(super) fn spec(&self) -> ProgramSpec {
        let work = Work::Source {
            language: self.language.to_owned(),
            file_name: self.file_name.to_owned(),
            text: self.text.as_bytes().into(),
        };
        let mut spec = ProgramSpec::new(self.file_name, work);
        match self.expected {
            Expected::Limit(Limit::WallTime) => spec.limits.wall_time = Duration::from_secs(1),
            Expected::Limit(Limit::Memory) => spec.limits.memory = ByteSize(64 << 20),
            Expected::Limit(_) | Expected::Exit(_) | Expected::CompileError | Expected::NotSupported => {}
        }
        spec
    }

    /// Whether it shall run although no slave offers its language.
    pub(super) fn runs_without_its_language(&self) -> bool {
        self.expected == Expected::NotSupported
    }
}

impl Expected {
    /// Whether this is the end that was expected.
    pub(super) fn is_met_by(self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Exited { code } => self == Self::Exit(*code),
            Outcome::CompileError { .. } => self == Self::CompileError,
            Outcome::Limit { limit, .. } => self == Self::Limit(*limit),
            Outcome::NotSupported { .. } => self == Self::NotSupported,
            Outcome::Signalled { .. } | Outcome::NotFound { .. } | Outcome::Lost { .. } | Outcome::Cancelled { .. } => {
                false
            }
        }
    }

    /// In words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Exit(code) => format!("exit code {code}"),
            Self::CompileError => "a compile error".to_owned(),
            Self::Limit(limit) => format!("the {limit} limit"),
            Self::NotSupported => "a language that no slave has".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_every_sample_is_a_program_that_may_be_submitted() {
        for sample in SAMPLES {
            assert_eq!(sample.spec().validate(), Ok(()), "{}", sample.file_name);
        }
    }

    #[test]
    fn e9_the_samples_show_each_way_to_end() {
        let ends = [
            (Outcome::Exited { code: 0 }, Expected::Exit(0)),
            (Outcome::Exited { code: 3 }, Expected::Exit(3)),
            (Outcome::CompileError { detail: String::new() }, Expected::CompileError),
            (Outcome::Limit { limit: Limit::Memory, detail: String::new() }, Expected::Limit(Limit::Memory)),
            (Outcome::Limit { limit: Limit::WallTime, detail: String::new() }, Expected::Limit(Limit::WallTime)),
            (Outcome::NotSupported { detail: String::new() }, Expected::NotSupported),
        ];
        for (outcome, expected) in ends {
            assert!(SAMPLES.iter().any(|sample| sample.expected == expected), "{expected:?}");
            for sample in SAMPLES {
                assert_eq!(sample.expected.is_met_by(&outcome), sample.expected == expected, "{sample:?}");
            }
        }
    }
}
