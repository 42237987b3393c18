//! Hostile text made safe to show: control characters become visible, and nothing moves the cursor,
//! changes the direction of writing or starts an escape sequence.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes that a person or a program chose: an argument, a file name, a variable. Kept exactly;
/// shown escaped through [`fmt::Display`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RawText(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl RawText {
    /// The bytes as text where they are text, with U+FFFD for the rest.
    #[must_use]
    pub fn to_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for RawText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for RawText {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl fmt::Display for RawText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.0, Lines::Escape))
    }
}

impl fmt::Debug for RawText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What becomes of line feeds and tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// They stay: the text is a block.
    Keep,
    /// They are escaped: the text is one line.
    Escape,
}

/// The bytes with everything that is not plain printable text made visible: `\x1b`, `\u{202e}`,
/// `\xff` for a byte that is not UTF-8.
#[must_use]
pub fn visible(bytes: &[u8], lines: Lines) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' if lines == Lines::Keep => shown.push(c),
                '\n' => shown.push_str("\\n"),
                '\r' => shown.push_str("\\r"),
                '\t' => shown.push_str("\\t"),
                c if c.is_control() && (c as u32) < 0x80 => shown.push_str(&format!("\\x{:02x}", c as u32)),
                c if is_deceptive(c) => shown.push_str(&format!("\\u{{{:x}}}", c as u32)),
                c => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// Characters that change how the text around them is read: C1 controls, direction marks,
/// zero-width characters, tags, line and paragraph separators.
const fn is_deceptive(c: char) -> bool {
    matches!(c as u32, 0x80..=0x9f | 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

/// The beginning of `text` in at most `bytes_max` bytes, cut between characters; `…` marks a cut.
#[must_use]
pub fn shorten(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e9_hostile_text_is_shown_and_not_obeyed() {
        for (bytes, shown) in [
            (&b"plain caf\xc3\xa9"[..], "plain café"),
            (b"\x1b[2J", "\\x1b[2J"),
            (b"a\xffb", "a\\xffb"),
            ("\u{202e}evil".as_bytes(), "\\u{202e}evil"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            (b"two\nlines", "two\\nlines"),
        ] {
            assert_eq!(visible(bytes, Lines::Escape), shown);
        }
        assert_eq!(visible(b"two\nlines\r", Lines::Keep), "two\nlines\\r");
    }

    #[test]
    fn shortening_never_cuts_a_character() {
        assert_eq!(shorten("éééé", 8), "éééé");
        assert_eq!(shorten("ééééé", 8), "éé…");
        assert_eq!(shorten("abc", 0), "…");
    }
}
