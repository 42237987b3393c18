//! Sample programs of the window: one a language, and a few that show what goes wrong.

/// A program to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its language.
    pub language: &'static str,
    /// The name of its file.
    pub file_name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Arguments that fit it.
    pub arguments: &'static str,
}

macro_rules! samples {
    ($($language:literal $file:literal $arguments:literal;)+) => {
        /// One a language, in the order of the language table.
        pub const SAMPLES: &[Sample] = &[$(Sample {
            language: $language,
            file_name: $file,
            text: include_str!(concat!("../templates/", $file)),
            arguments: $arguments,
        },)+];
    };
}

samples! {
    "Python" "primes.py" "1000000";
    "C" "hello.c" "";
    "C++" "matrix.cpp" "300";
    "Rust" "sieve.rs" "1000000";
    "Java" "Fibonacci.java" "20";
    "JavaScript" "graph.js" "";
    "Bash" "progress.sh" "10";
    "Perl" "words.pl" "";
    "Ruby" "fib.rb" "30";
    "PHP" "table.php" "10";
    "Lua" "queens.lua" "8";
    "Tcl" "dates.tcl" "";
    "Go" "workers.go" "";
    "PowerShell" "report.ps1" "";
}

/// The sample of this language.
#[must_use]
pub fn sample(language: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.language == language)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::language;

    #[test]
    fn e12_each_language_has_a_sample_under_a_name_that_tells_it() {
        for language in language::built_in() {
            let sample = sample(&language.name).unwrap_or_else(|| panic!("{} has no sample", language.name));
            let told = language::by_file_name(language::built_in(), sample.file_name).unwrap();
            assert_eq!(told.name, language.name, "{}", sample.file_name);
            assert!(crate::arguments::split(sample.arguments).is_ok());
        }
    }
}
