//! Languages are data: how each is recognised, found, compiled and run. The built-in table is
//! `data/languages.toml`; a slave's own file adds to it or replaces entries by name.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// One language. In the command templates `{tool}` is the program that was found, `{source}` the
/// source file's name, `{stem}` that name without its extension, `{program}` the compiled result and
/// `{memory}` the memory limit in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// The name that people see, such as `C++`.
    pub name: String,
    /// Other names that `--language` accepts.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// File extensions without the dot; the first is used for text typed in the window.
    pub extensions: Vec<String>,
    /// Programs to look for in the PATH of programs, best first.
    pub find: Vec<String>,
    /// Prints the version.
    pub version: Vec<String>,
    /// Compiles, or checks the syntax of, `{source}` before the run; empty for none.
    #[serde(default)]
    pub compile: Vec<String>,
    /// Runs it; the program's arguments follow.
    pub run: Vec<String>,
    /// Variables for both steps, `NAME=value`.
    #[serde(default)]
    pub environment: Vec<String>,
    /// The source file must be named after the public class in it.
    #[serde(default)]
    pub named_by_class: bool,
    /// A complete program that prints `ruche`, run once at the slave's start to see that it works.
    pub probe: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    language: Vec<Language>,
}

static BUILT_IN: LazyLock<Vec<Language>> =
    LazyLock::new(|| parse(include_str!("../data/languages.toml")).expect("the built-in table is checked by a test"));

/// The built-in table.
#[must_use]
pub fn built_in() -> &'static [Language] {
    &BUILT_IN
}

/// Reads a table of languages.
///
/// # Errors
/// The position and reason of the first mistake.
pub fn parse(text: &str) -> Result<Vec<Language>, String> {
    let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    for language in &table.language {
        if language.name.is_empty()
            || language.find.is_empty()
            || language.run.is_empty()
            || language.version.is_empty()
        {
            return Err(format!("language `{}` needs name, find, version and run", language.name));
        }
    }
    Ok(table.language)
}

/// The language of this name or alias, in any case, among `table`.
#[must_use]
pub fn by_name<'a>(table: &'a [Language], name: &str) -> Option<&'a Language> {
    table.iter().find(|language| {
        language.name.eq_ignore_ascii_case(name)
            || language.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

/// The language that files of this name are written in, by extension, among `table`.
#[must_use]
pub fn by_file_name<'a>(table: &'a [Language], file_name: &str) -> Option<&'a Language> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    // The exact case first: `.C` is C++ to some people and `.c` is C to all.
    table.iter().find(|language| language.extensions.iter().any(|known| known == extension)).or_else(|| {
        table.iter().find(|language| language.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_the_table_has_the_promised_languages() {
        for name in [
            "Python",
            "C",
            "C++",
            "Rust",
            "Java",
            "JavaScript",
            "Bash",
            "Perl",
            "Ruby",
            "PHP",
            "Lua",
            "Tcl",
            "Go",
            "PowerShell",
        ] {
            assert!(by_name(built_in(), name).is_some(), "{name} is missing");
        }
    }

    #[test]
    fn e12_files_are_recognised_by_extension() {
        for (file, language) in [
            ("a.py", Some("Python")),
            ("A.CPP", Some("C++")),
            ("x.y.rs", Some("Rust")),
            ("noext", None),
            (".py", None),
            ("a.zzz", None),
        ] {
            assert_eq!(by_file_name(built_in(), file).map(|found| found.name.as_str()), language, "{file}");
        }
    }

    #[test]
    fn e12_no_two_languages_claim_one_extension_or_name() {
        let mut seen = std::collections::BTreeSet::new();
        for language in built_in() {
            for extension in &language.extensions {
                assert!(seen.insert(format!(".{extension}")), "{extension} is claimed twice");
            }
            for name in language.aliases.iter().chain([&language.name]) {
                assert!(seen.insert(name.to_lowercase()), "{name} is claimed twice");
            }
        }
    }
}
