//! What the tab "Files" says: each file that a program brought back, and what was left out.

use super::counted;
use crate::{
    collected::{FileLists, Listed},
    widgets::{sentence, shown},
};
use common::{ByteSize, ProgramSpec, view::ProgramView};

/// Characters of a digest that are shown; all of it on hover.
const DIGEST_CHARS: usize = 12;

/// The tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesTab {
    /// There is no list, and why.
    Nothing(String),
    /// There is.
    List {
        /// `3 files, 41.2 KiB`.
        headline: String,
        /// What was left out, and why.
        left_out: Vec<String>,
    },
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Its path within the working folder.
    pub name: String,
    /// Its size.
    pub size: String,
    /// The beginning of its digest.
    pub digest: String,
    /// Everything about it.
    pub tooltip: String,
}

impl FilesTab {
    /// What is told of the files of `program`.
    #[must_use]
    pub fn new(program: &ProgramView, spec: Option<&ProgramSpec>, lists: &FileLists) -> Self {
        let nothing = |words: &str| Self::Nothing(words.to_owned());
        let asked_none = spec.is_some_and(|spec| spec.collect.is_empty());
        match lists.get(program.id) {
            _ if asked_none && program.files_bytes == 0 => nothing("It was not asked to bring files back"),
            _ if !program.state.is_final() => nothing("Its files are brought back when it ends"),
            _ if program.files_bytes == 0 => nothing("It brought no files back"),
            None => nothing("Reading…"),
            Some(Err(error)) => Self::Nothing(sentence(&error.sentence)),
            Some(Ok(listed)) => {
                let files = &listed.head.files;
                let total = ByteSize(files.iter().map(|file| file.size.0).sum());
                let left = match listed.head.left_out.len() as u64 {
                    0 => String::new(),
                    left => format!("; {left} left out"),
                };
                Self::List {
                    headline: format!("{}, {total}{left}", counted(files.len() as u64, "file", "files")),
                    // They begin with names, which keep their case.
                    left_out: listed.head.left_out.iter().map(|line| shown(line)).collect(),
                }
            }
        }
    }
}

/// File `index` of a list.
#[must_use]
pub fn row(listed: &Listed, index: usize) -> Option<FileRow> {
    let file = listed.head.files.get(index)?;
    let (name, digest) = (file.path.to_string(), file.digest.to_string());
    let kind = if file.executable { ", can be executed" } else { "" };
    Some(FileRow {
        tooltip: format!("{name}\n{} ({} bytes){kind}\nBLAKE3 {digest}", file.size, file.size.0),
        size: file.size.to_string(),
        digest: digest.chars().take(DIGEST_CHARS).collect(),
        name,
    })
}

/// A name for a file on this computer, made from the last part of its path: plain characters only.
#[must_use]
pub fn suggested_name(path: &[u8]) -> String {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = String::from_utf8_lossy(name).chars().map(plain).collect();
    let name = name.trim_start_matches(['.', '-']);
    let name = common::escape::shorten(name, 100).replace('…', "");
    if name.is_empty() { "file".to_owned() } else { name }
}

/// The names of these files, for a question.
#[must_use]
pub fn names(listed: &Listed, files: &[usize]) -> Vec<String> {
    files.iter().filter_map(|index| listed.head.files.get(*index)).map(|file| shown(&file.path.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b19_suggested_names_are_plain() {
        for (path, name) in [
            (&b"out/plot.png"[..], "plot.png"),
            (b"../../etc/passwd", "passwd"),
            (b"a/\x1b[2Jx\xff.txt", "2Jx-.txt"),
            (b"..", "file"),
            (b".bashrc", "bashrc"),
            ("\u{202e}gpj.exe".as_bytes(), "gpj.exe"),
        ] {
            assert_eq!(suggested_name(path), name, "{path:?}");
        }
    }
}
