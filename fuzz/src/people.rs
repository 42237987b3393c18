//! What a person typed or pasted, and what is shown to one.

use crate::{whatever, wire::is_harmless};
use client::submit::{self, SourceFile};
use common::{
    AttemptKey, ByteSize, ClientId, Duration, ProgramId, SlaveId,
    escape::{Lines, RawText, shorten, visible},
    program::State,
    session::Role,
};
use std::{ffi::OsString, os::unix::ffi::OsStringExt};
use transport::{CaPin, JoinString};

pub(crate) fn escape(bytes: &[u8]) {
    for lines in [Lines::Keep, Lines::Escape] {
        let shown = visible(bytes, lines);
        let allowed = |c: char| lines == Lines::Keep && matches!(c, '\n' | '\t');
        assert!(shown.chars().all(|c| !c.is_control() || allowed(c)), "{shown:?}");
        // What is shown once more is not changed: it may pass through many hands.
        assert_eq!(visible(shown.as_bytes(), lines), shown);
        if bytes.is_ascii() && !bytes.iter().any(u8::is_ascii_control) {
            assert_eq!(shown.as_bytes(), bytes);
        }
        let max = bytes.first().map_or(0, |byte| usize::from(*byte));
        assert!(shorten(&shown, max).len() <= max.max('…'.len_utf8()));
    }
    assert_eq!(RawText(bytes.to_vec()).to_string(), visible(bytes, Lines::Escape));
}

pub(crate) fn units(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Duration>() {
        Ok(duration) => whatever(duration.to_string()),
        Err(error) => is_harmless(&RawText::from(error.to_string()).to_string()),
    }
    match text.parse::<ByteSize>() {
        Ok(size) => whatever(size.to_string()),
        Err(error) => is_harmless(&RawText::from(error.to_string()).to_string()),
    }
}

pub(crate) fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<ProgramId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        whatever(AttemptKey { program: id, attempt: 1 }.to_string());
    }
    whatever((text.parse::<SlaveId>(), text.parse::<ClientId>()));
    if let Ok(state) = text.parse::<State>() {
        assert_eq!(state.word(), text);
    }
    if let Ok(role) = text.parse::<Role>() {
        assert_eq!(role.word(), text);
    }
}

pub(crate) fn join_string(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(join) = text.parse::<JoinString>() {
        assert_eq!(join.to_string().parse(), Ok(join.clone()));
        is_harmless(&join.to_string());
        assert!(format!("{join:?}").ends_with("/(secret)"), "the secret is in no log");
    }
    if let Ok(pin) = text.parse::<CaPin>() {
        assert_eq!(pin.to_string().parse::<CaPin>().ok(), Some(pin));
    }
}

/// Words that end with a NUL byte each; the last one is also the text of a source file.
pub(crate) fn arguments(bytes: &[u8]) {
    let words = || bytes.split(|byte| *byte == 0);
    let line: Vec<OsString> =
        std::iter::once("ruche".into()).chain(words().map(|word| OsString::from_vec(word.to_vec()))).collect();
    if let Some(shown) = client_cli::fuzzing::arguments(&line) {
        is_harmless(&without_colours(&shown));
    }
    let mut from_end = bytes.rsplit(|byte| *byte == 0);
    let text = from_end.next().unwrap_or_default().to_vec();
    let file_name = String::from_utf8_lossy(from_end.next().unwrap_or_default()).into_owned();
    let file = SourceFile { file_name, text };
    match submit::language_of(&file, None, &[]) {
        Ok(language) => whatever(file.into_work(language, &[])),
        Err(error) => is_harmless(&error.sentence),
    }
}

/// The colours of a mistake in the arguments are ours.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let end =
        |part: &str| part.find(|c: char| !c.is_ascii_digit() && c != ';').filter(|end| part[*end..].starts_with('m'));
    parts.fold(first, |all, part| match end(part) {
        Some(end) => all + &part[end + 1..],
        None => all + "\x1b[" + part,
    })
}
