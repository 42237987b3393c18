//! Standard output: text of ours, and bytes of programs.

use crate::failure::Failure;
use common::escape::{Lines, visible};
use std::io::{IsTerminal, Write};
use tokio::io::AsyncWriteExt;

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

/// Where the bytes of a program go: exactly as they are, or, on a terminal unless asked otherwise, with control
/// characters shown instead of obeyed. Never holds the connection up: the writing waits on another thread.
pub(crate) struct Sink {
    out: Out,
    /// The beginning of a character whose rest has not come; only on a terminal.
    held: Option<Vec<u8>>,
}

enum Out {
    Stdout(tokio::io::Stdout),
    Stderr(tokio::io::Stderr),
}

impl Sink {
    /// Standard output; with `raw` as it is also on a terminal.
    pub(crate) fn stdout(raw: bool) -> Self {
        let held = (!raw && std::io::stdout().is_terminal()).then(Vec::new);
        Self { out: Out::Stdout(tokio::io::stdout()), held }
    }

    /// Standard error; with `raw` as it is also on a terminal.
    pub(crate) fn stderr(raw: bool) -> Self {
        let held = (!raw && std::io::stderr().is_terminal()).then(Vec::new);
        Self { out: Out::Stderr(tokio::io::stderr()), held }
    }

    /// Writes these bytes and waits until they are out.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.held {
            None => self.out.write(bytes).await,
            Some(held) => {
                held.extend_from_slice(bytes);
                let whole = whole_characters(held);
                let shown = visible(&held[..whole], Lines::Keep);
                held.drain(..whole);
                self.out.write(shown.as_bytes()).await
            }
        }
    }

    /// Writes what was held back because its end never came.
    pub(crate) async fn end(&mut self) -> std::io::Result<()> {
        match self.held.take() {
            Some(rest) if !rest.is_empty() => self.out.write(visible(&rest, Lines::Keep).as_bytes()).await,
            Some(_) | None => Ok(()),
        }
    }
}

impl Out {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Stdout(out) => {
                out.write_all(bytes).await?;
                out.flush().await
            }
            Self::Stderr(out) => {
                out.write_all(bytes).await?;
                out.flush().await
            }
        }
    }
}

/// How many of the bytes are whole characters, or will never be one.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for at in (tail..bytes.len()).rev() {
        let length = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
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

    #[test]
    fn e7_a_character_cut_between_two_pieces_is_held_back() {
        for (bytes, whole) in [
            (&b"abc"[..], 3),
            ("é".as_bytes(), 2),
            (&"é".as_bytes()[..1], 0),
            (b"a\xe2\x82", 1),
            (b"a\xf0\x9f\x98", 1),
            (b"a\xf0", 1),
            (b"\x80\x80\x80\x80", 4),
            (b"\xff", 1),
            (b"", 0),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:x?}");
        }
    }
}
