//! Standard output: text of ours.

use crate::failure::Failure;
use common::escape::{Lines, visible};
use std::io::{IsTerminal, Write};

/// Writes text of ours on standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a JSON value on standard output.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = format!("{value:#}\n");
    if std::io::stdout().is_terminal() { print(&harmless(&text)) } else { print(&text) }
}

/// A JSON array on standard output that is written as it grows, as [`print_json`] would write it whole.
pub(crate) struct JsonArray {
    empty: bool,
}

impl JsonArray {
    /// An array without a value; nothing is written yet.
    pub(crate) const fn begin() -> Self {
        Self { empty: true }
    }

    /// Adds a value.
    pub(crate) fn add(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        let before = if std::mem::replace(&mut self.empty, false) { "[\n  " } else { ",\n  " };
        let text = before.to_owned() + &format!("{value:#}").replace('\n', "\n  ");
        if std::io::stdout().is_terminal() { print(&harmless(&text)) } else { print(&text) }
    }

    /// Ends it.
    pub(crate) fn end(self) -> Result<(), Failure> {
        print(if self.empty { "[]\n" } else { "\n]\n" })
    }
}

/// The same JSON without the characters that a terminal obeys or that mislead its reader. They stand only in
/// strings, where an escape means the same.
fn harmless(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        let plain = c == '\n' || visible(c.encode_utf8(&mut [0; 4]).as_bytes(), Lines::Escape).starts_with(c);
        if plain {
            shown.push(c);
        } else {
            shown.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e9_json_on_a_terminal_moves_no_cursor_and_stays_the_same_json() {
        let value = serde_json::json!({ "name": "a\u{9b}2J\u{202e}\u{7f}\u{e0041}\n\\é" });
        let shown = harmless(&format!("{value:#}"));
        let parsed: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(parsed, value);
        assert!(shown.contains("a\\u009b2J\\u202e\\u007f\\udb40\\udc41\\n\\\\é"), "{shown}");
    }
}
