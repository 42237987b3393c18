//! Files that a program brings back: the patterns that choose them, and how they travel as one stream of bytes.
//!
//! The stream is a head, then the contents in the head's order, nothing between them. The head is a length (u32,
//! big-endian) and that many bytes of [`Head`]. No archive format: nothing in it is interpreted by the receiver but
//! names, sizes and digests, and each is checked.

use crate::{
    escape::RawText,
    id::Digest,
    limits::{
        COLLECT_PATTERN_BYTES_MAX, COLLECTED_BYTES_MAX, COLLECTED_FILES_MAX, FILE_NAME_BYTES_MAX, PATH_BYTES_MAX,
    },
    units::ByteSize,
};
use serde::{Deserialize, Serialize};

/// Bytes before the head.
pub const HEAD_LENGTH_BYTES: usize = 4;
/// Bytes of a head: the most files, with long paths.
pub const HEAD_BYTES_MAX: usize = 8 << 20;

/// A file that was brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedFile {
    /// Its path within the working folder, with `/` between names.
    pub path: RawText,
    /// Its size.
    pub size: ByteSize,
    /// Its content.
    pub digest: Digest,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What comes before the contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The files, in the order of their contents.
    pub files: Vec<CollectedFile>,
    /// What was chosen by a pattern and could not be brought back, and why: for people.
    pub left_out: Vec<String>,
}

impl Head {
    /// The head's length and the head.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let head = crate::frame::encode_record(self);
        let mut bytes = u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(&head);
        bytes
    }

    /// Bytes of the head behind this length, once it is known to be sound.
    ///
    /// # Errors
    /// When no head is so long.
    pub fn length(bytes: [u8; HEAD_LENGTH_BYTES]) -> Result<usize, String> {
        let length = u32::from_be_bytes(bytes) as usize;
        if length > HEAD_BYTES_MAX { Err(format!("a list of files of {length} bytes")) } else { Ok(length) }
    }

    /// Reads a head without its length, and checks every name and size in it.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let head: Self = crate::frame::decode_record(bytes).map_err(|error| error.to_string())?;
        if head.files.len() > COLLECTED_FILES_MAX {
            return Err(format!("{} files", head.files.len()));
        }
        let mut total = 0_u64;
        let mut seen = std::collections::BTreeSet::new();
        for file in &head.files {
            if !is_path_within(&file.path.0) {
                return Err(format!("`{}` is not a path within a working folder", file.path));
            }
            if !seen.insert(&file.path) {
                return Err(format!("`{}` comes twice", file.path));
            }
            total = total.saturating_add(file.size.0);
        }
        if total > COLLECTED_BYTES_MAX.0 {
            return Err(format!("{} in all", ByteSize(total)));
        }
        Ok(head)
    }
}

/// Whether a path stays within the folder that it is taken from: names of at most 255 bytes with one `/` between
/// them, none of them `.` or `..`.
#[must_use]
pub fn is_path_within(path: &[u8]) -> bool {
    path.len() <= PATH_BYTES_MAX
        && path.split(|byte| *byte == b'/').all(|name| {
            !name.is_empty() && name.len() <= FILE_NAME_BYTES_MAX && !matches!(name, b"." | b"..") && !name.contains(&0)
        })
}

/// Whether a pattern can be used: a path within the working folder in which `*` stands for any bytes but `/`, `?` for
/// one of them, and a name of `**` for any folders.
///
/// # Errors
/// Why not, for people.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let shown = RawText::from(pattern);
    if pattern.len() > COLLECT_PATTERN_BYTES_MAX {
        return Err(format!("a pattern has {} bytes; at most {COLLECT_PATTERN_BYTES_MAX} are accepted", pattern.len()));
    }
    if !is_path_within(pattern.as_bytes()) {
        return Err(format!("`{shown}` does not name files within the working folder"));
    }
    Ok(())
}

/// Whether a path within the working folder fits a pattern. Takes time in proportion to both lengths.
#[must_use]
pub fn matches(pattern: &str, path: &[u8]) -> bool {
    let pattern: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').collect();
    let path: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    // fits[j]: whether the pattern up to here fits the first j names.
    let mut fits = vec![false; path.len() + 1];
    fits[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if part == b"**" {
            let mut any = false;
            for (before, now) in fits.iter().zip(&mut next) {
                any |= *before;
                *now = any;
            }
        } else {
            for (index, name) in path.iter().enumerate() {
                next[index + 1] = fits[index] && name_matches(part, name);
            }
        }
        fits = next;
    }
    fits.last() == Some(&true)
}

/// One name. Goes back to the last `*` only, which is enough.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[place] => {
                at += 1;
                place += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    place = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_patterns_choose_files_within_the_folder() {
        for (pattern, path, fits) in [
            ("a.txt", "a.txt", true),
            ("a.txt", "b/a.txt", false),
            ("*.txt", "a.txt", true),
            ("*.txt", "b/a.txt", false),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "x/y/a.txt", true),
            ("out/**", "out/x/y", true),
            ("out/**", "outer/x", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxb", true),
            ("*a*b*", "xxbxxa", false),
            ("**/b/**/d", "a/b/c/d", true),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), fits, "{pattern} {path}");
        }
        for pattern in ["", "/etc/passwd", "../x", "a/../b", "a//b", ".", "a/"] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn b12_a_head_with_a_path_outside_is_refused() {
        let file = |path: &[u8]| CollectedFile {
            path: RawText(path.to_vec()),
            size: ByteSize(1),
            digest: Digest([0; 32]),
            executable: false,
        };
        let read = |files| Head::decode(&Head { files, left_out: Vec::new() }.encode()[HEAD_LENGTH_BYTES..]);
        assert!(read(vec![file(b"a/\xff b"), file(b"..a")]).is_ok());
        for path in [&b"../a"[..], b"/a", b"a//b", b"a/..", b".", b"", b"a\0b", &[b'x'; 256]] {
            assert!(read(vec![file(path)]).is_err(), "{}", RawText(path.to_vec()));
        }
        assert!(read(vec![file(b"a"), file(b"a")]).is_err());
        assert!(Head::length(u32::MAX.to_be_bytes()).is_err());
    }
}
