//! Files of this computer that are sent with a program.

use crate::{backend::Asked, files::in_background, widgets::shown};
use client::files::{Picked, pick};
use common::{ByteSize, UserError, escape::RawText, limits::INPUT_FILES_MAX, program::InputFile};
use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// One file of an editor's tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// A file of this computer, with its size when it was chosen. It is read when the program is run.
    Here(PathBuf, u64),
    /// A file that was sent with the program before: the master may still have it.
    Before(InputFile),
}

impl Attached {
    /// Its name, as the program finds it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Here(path, _) => name_of(path),
            Self::Before(file) => file.name.to_string(),
        }
    }

    /// Its size, and where it comes from.
    #[must_use]
    pub fn about(&self) -> String {
        match self {
            Self::Here(_, size) => ByteSize(*size).to_string(),
            Self::Before(file) => format!("{}, as before", file.size),
        }
    }

    /// What is told when the pointer rests on it.
    #[must_use]
    pub fn tooltip(&self) -> String {
        match self {
            Self::Here(path, _) => shown_path(path),
            Self::Before(file) => format!("{}\nSent with the program before, {}", file.name, file.digest),
        }
    }
}

/// The whole path, safe to show.
fn shown_path(path: &Path) -> String {
    RawText(path.as_os_str().as_bytes().to_vec()).to_string()
}

fn name_of(path: &Path) -> String {
    RawText(path.file_name().unwrap_or_default().as_bytes().to_vec()).to_string()
}

/// Adds files; one of the same name takes the place of the one before.
///
/// # Errors
/// When there are too many.
pub(crate) fn attach(files: &mut Vec<Attached>, new: Vec<(PathBuf, u64)>) -> Result<(), UserError> {
    for (path, size) in new {
        let file = Attached::Here(path, size);
        match files.iter().position(|known| known.name() == file.name()) {
            Some(place) => files[place] = file,
            None if files.len() >= INPUT_FILES_MAX => {
                let sentence = format!("a program is sent at most {INPUT_FILES_MAX} files");
                return Err(UserError::new(common::ErrorCode::SubmitInvalid, sentence)
                    .with_hint("pack them into one, for example with `tar`"));
            }
            None => files.push(file),
        }
    }
    Ok(())
}

/// Looks at the chosen files on a thread of its own: their sizes, and that each can be sent.
pub(crate) fn look(paths: Vec<PathBuf>) -> Asked<Vec<(PathBuf, u64)>> {
    in_background(move || {
        paths
            .into_iter()
            .map(|path| {
                let refuse = |why: String| {
                    let shown = shown_path(&path);
                    UserError::new(common::ErrorCode::FileUnreadable, format!("`{shown}` cannot be read: {why}"))
                };
                let meta = std::fs::metadata(&path).map_err(|error| refuse(error.to_string()))?;
                if !meta.is_file() {
                    let why =
                        if meta.is_dir() { "it is a folder; pack it with `tar` first" } else { "it is not a file" };
                    return Err(refuse(why.to_owned()));
                }
                Ok((path, meta.len()))
            })
            .collect()
    })
}

/// Reads the files as they are now, for their hashes, on a thread of its own.
pub(crate) fn read(files: &[Attached]) -> Asked<Vec<Picked>> {
    let paths: Vec<PathBuf> = files
        .iter()
        .filter_map(|file| match file {
            Attached::Here(path, _) => Some(path.clone()),
            Attached::Before(_) => None,
        })
        .collect();
    in_background(move || paths.iter().map(|path| pick(path)).collect())
}

/// What is said while files are sent: how far, and which.
#[must_use]
pub fn sending_words(sending: Option<&client::files::Sending>) -> String {
    match sending {
        None => "reading them".to_owned(),
        Some(sending) => {
            let (sent, total) = (ByteSize(sending.sent), ByteSize(sending.total));
            let name = sending.name.to_string();
            if name.is_empty() { format!("{sent} of {total}") } else { format!("{sent} of {total}: {name}") }
        }
    }
}

/// The patterns of a line as typed, in words as a shell would read them.
///
/// # Errors
/// What is wrong with which.
pub(super) fn patterns(text: &str) -> Result<Vec<String>, String> {
    let words =
        crate::arguments::split(text).map_err(|why| format!("the files to bring back cannot be read: {why}"))?;
    for word in &words {
        common::collected::check_pattern(word).map_err(|why| format!("files to bring back: {}", shown(&why)))?;
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn e1_a_file_of_the_same_name_takes_the_place_of_the_one_before() {
        let mut files = Vec::new();
        attach(&mut files, vec![("/a/x.csv".into(), 1), ("/a/y.csv".into(), 2)]).unwrap();
        attach(&mut files, vec![("/b/x.csv".into(), 3)]).unwrap();
        assert_eq!(files, [Attached::Here("/b/x.csv".into(), 3), Attached::Here("/a/y.csv".into(), 2)]);
        let many = (0..INPUT_FILES_MAX + 1).map(|number| (PathBuf::from(format!("/c/{number}")), 0)).collect();
        assert!(attach(&mut files, many).unwrap_err().sentence.contains("at most"));
    }

    #[test]
    fn b19_hostile_names_of_files_are_shown_escaped() {
        let path = PathBuf::from(OsStr::from_bytes(b"/tmp\n/\x1b[2J\xff\xe2\x80\xae"));
        let file = Attached::Here(path, 5);
        assert_eq!(file.name(), "\\x1b[2J\\xff\\u{202e}");
        assert_eq!(file.tooltip(), "/tmp\\n/\\x1b[2J\\xff\\u{202e}");
    }

    #[test]
    fn e5_patterns_are_words() {
        assert_eq!(patterns(" out/*.csv  'my report.pdf' ").unwrap(), ["out/*.csv", "my report.pdf"]);
        for wrong in ["/etc/passwd", "../x", "'a"] {
            assert!(patterns(wrong).is_err(), "{wrong}");
        }
    }
}
