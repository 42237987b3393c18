//! Reading source files and standard input, and telling what language a file is written in.

use common::{
    ErrorCode, UserError, Work,
    escape::RawText,
    language::{self, Language},
    limits::{SOURCE_BYTES_MAX, STDIN_BYTES_MAX},
    program::SourceText,
    view::LanguageOffer,
};
use std::{fs::File, io::Read, os::unix::ffi::OsStrExt, path::Path};

/// A source file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its own name without folders; empty when it came from a stream.
    pub file_name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}

impl SourceFile {
    /// The work of running it in this language. A file without a name is called `main` with the language's
    /// first extension.
    #[must_use]
    pub fn into_work(self, language: String, offers: &[LanguageOffer]) -> Work {
        let file_name = if self.file_name.is_empty() {
            match extension_of(&language, offers) {
                Some(extension) => format!("main.{extension}"),
                None => "main".to_owned(),
            }
        } else {
            self.file_name
        };
        Work::Source { language, file_name, text: SourceText(self.text.into()) }
    }
}

/// Reads a source file.
///
/// # Errors
/// `E-FILE-UNREADABLE`, or `E-SUBMIT-INVALID` when it is too large.
pub fn read_source(path: &Path) -> Result<SourceFile, UserError> {
    let text = read_file(path, "a source file", SOURCE_BYTES_MAX)?;
    let name = path.file_name().unwrap_or_default();
    Ok(SourceFile { file_name: name.to_string_lossy().into_owned(), text })
}

/// Reads a source text from a stream.
///
/// # Errors
/// `E-FILE-UNREADABLE`, or `E-SUBMIT-INVALID` when it is too large.
pub fn source_from(reader: impl Read) -> Result<SourceFile, UserError> {
    let text = read_bounded(reader, "standard input", "a source file", SOURCE_BYTES_MAX)?;
    Ok(SourceFile { file_name: String::new(), text })
}

/// Reads what a program shall find on its standard input; none is our own standard input.
///
/// # Errors
/// `E-FILE-UNREADABLE`, or `E-SUBMIT-INVALID` when it is too large.
pub fn read_stdin(path: Option<&Path>) -> Result<SourceText, UserError> {
    let bytes = match path {
        Some(path) => read_file(path, "standard input", STDIN_BYTES_MAX)?,
        None => read_bounded(std::io::stdin().lock(), "standard input", "standard input", STDIN_BYTES_MAX)?,
    };
    Ok(SourceText(bytes.into()))
}

/// The language of a file: the one that is named, else the one of its extension in the built-in table,
/// else in what connected slaves offer, else the one of its `#!` line. A name that nobody knows is kept,
/// because a slave that offers it may still come.
///
/// # Errors
/// `E-LANGUAGE-UNKNOWN`.
pub fn language_of(file: &SourceFile, named: Option<&str>, offers: &[LanguageOffer]) -> Result<String, UserError> {
    let table = language::built_in();
    if let Some(named) = named {
        return Ok(match language::by_name(table, named) {
            Some(known) => known.name.clone(),
            None => offers
                .iter()
                .find(|offer| offer.name.eq_ignore_ascii_case(named))
                .map_or_else(|| named.to_owned(), |offer| offer.name.clone()),
        });
    }
    if let Some(known) = language::by_file_name(table, &file.file_name) {
        return Ok(known.name.clone());
    }
    let extension = file.file_name.rsplit_once('.').map(|(_, extension)| extension);
    let offered = extension.and_then(|extension| {
        offers.iter().find(|offer| offer.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
    });
    if let Some(offer) = offered {
        return Ok(offer.name.clone());
    }
    if let Some(known) = by_first_line(table, &file.text) {
        return Ok(known.name.clone());
    }
    let shown = RawText::from(file.file_name.as_str());
    let sentence = match (file.file_name.is_empty(), extension) {
        (true, _) => "a source text from standard input has no file name to tell its language".to_owned(),
        (false, Some(extension)) => {
            format!("no language is known for files that end in `.{}` (`{shown}`)", RawText::from(extension))
        }
        (false, None) => format!("the name `{shown}` has no extension that tells its language"),
    };
    let hint = "name it with `--language`, for example `--language Python`; `ruche slaves` lists what there is; \
                to run a built program, write `-- COMMAND`";
    Err(UserError::new(ErrorCode::LanguageUnknown, sentence).with_hint(hint))
}

/// Whether [`language_of`] can tell the language without asking what slaves offer.
#[must_use]
pub fn knows_language(file: &SourceFile, named: Option<&str>) -> bool {
    match named {
        Some(named) => language::by_name(language::built_in(), named).is_some(),
        None => language::by_file_name(language::built_in(), &file.file_name).is_some(),
    }
}

fn extension_of<'a>(language: &str, offers: &'a [LanguageOffer]) -> Option<&'a str> {
    language::by_name(language::built_in(), language)
        .and_then(|known| known.extensions.first())
        .or_else(|| offers.iter().find(|offer| offer.name == language).and_then(|offer| offer.extensions.first()))
        .map(String::as_str)
}

/// The language whose interpreter a `#!` line names.
fn by_first_line<'a>(table: &'a [Language], text: &[u8]) -> Option<&'a Language> {
    let line = text.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace().filter(|word| !word.starts_with('-'));
    let path = words.next()?;
    let base = path.rsplit('/').next()?;
    let interpreter = if base == "env" { words.next()? } else { base };
    let plain = interpreter.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let finds = |known: &&Language| known.find.iter().any(|tool| tool == interpreter || tool == plain);
    table.iter().find(finds).or_else(|| language::by_name(table, interpreter))
}

fn read_file(path: &Path, what: &str, max: usize) -> Result<Vec<u8>, UserError> {
    let shown = RawText(path.as_os_str().as_bytes().to_vec());
    let unreadable =
        |why: String| Err(UserError::new(ErrorCode::FileUnreadable, format!("`{shown}` cannot be read: {why}")));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return unreadable(error.to_string()),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => return unreadable("it is a folder".to_owned()),
        Ok(_) => {}
        Err(error) => return unreadable(error.to_string()),
    }
    read_bounded(file, &format!("`{shown}`"), what, max)
}

fn read_bounded(reader: impl Read, name: &str, what: &str, max: usize) -> Result<Vec<u8>, UserError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| UserError::new(ErrorCode::FileUnreadable, format!("{name} cannot be read: {error}")))?;
    if bytes.len() > max {
        let max = common::ByteSize(max as u64);
        return Err(UserError::new(
            ErrorCode::SubmitInvalid,
            format!("{name} is larger than {max}, which is the most that is sent as {what}"),
        )
        .with_hint("make it smaller, or let the program fetch or make its data itself"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { file_name: name.into(), text: text.into() }
    }

    fn offers() -> Vec<LanguageOffer> {
        vec![LanguageOffer { name: "Zig".into(), version: "0.14".into(), extensions: vec!["zig".into()] }]
    }

    #[test]
    fn e12_the_language_is_told_by_name_extension_offer_or_first_line() {
        for (name, text, named, language) in [
            ("a.py", "", None, Some("Python")),
            ("a.py", "", Some("perl"), Some("Perl")),
            ("a.zig", "", None, Some("Zig")),
            ("a", "", Some("zig"), Some("Zig")),
            ("a.py", "", Some("Kotlin"), Some("Kotlin")),
            ("tool", "#!/usr/bin/env python3\nprint(1)", None, Some("Python")),
            ("tool", "#!/bin/bash -e\n", None, Some("Bash")),
            ("tool", "#!/bin/sh\n", None, Some("Bash")),
            ("tool", "#!/usr/bin/python3.11\n", None, Some("Python")),
            ("tool", "#!/opt/unknown\n", None, None),
            ("notes.txt", "hello", None, None),
            ("", "hello", None, None),
        ] {
            let told = language_of(&file(name, text), named, &offers());
            assert_eq!(told.as_deref().ok(), language, "{name} {named:?}");
            if let Err(error) = told {
                assert!(error.is(ErrorCode::LanguageUnknown) && error.hint.contains("--language"), "{error}");
            }
        }
    }

    #[test]
    fn e1_text_without_a_name_is_called_main() {
        for (language, name) in [("Python", "main.py"), ("Zig", "main.zig"), ("Kotlin", "main")] {
            let Work::Source { file_name, .. } = file("", "x").into_work(language.into(), &offers()) else {
                panic!("a source file")
            };
            assert_eq!(file_name, name);
        }
    }

    #[test]
    fn e9_files_that_cannot_be_sent_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_source(&folder.path().join("missing.py")).unwrap_err();
        assert!(missing.is(ErrorCode::FileUnreadable) && missing.sentence.contains("missing.py"), "{missing}");
        let directory = read_source(folder.path()).unwrap_err();
        assert!(directory.sentence.contains("it is a folder"), "{directory}");
        let large = read_bounded(std::io::repeat(b'x'), "`big`", "standard input", STDIN_BYTES_MAX).unwrap_err();
        assert!(large.is(ErrorCode::SubmitInvalid) && large.sentence.contains("8 MiB"), "{large}");
    }
}
