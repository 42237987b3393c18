//! Commands that read and write files of this computer.

use super::{Able, Situation, Words, ctrl};
use crate::collected::Fetch;
use common::ProgramId;
use egui::{Key, KeyboardShortcut};
use std::path::PathBuf;

/// Files of this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// Open a file in a new tab.
    Open,
    /// Ask for the file that becomes standard input.
    ChooseStdin,
    /// Ask for files that are sent with the open tab.
    ChooseInputs,
    /// Send these files with the open tab.
    Attach(Vec<PathBuf>),
    /// These were dropped on the window: programs to open, or files to send.
    Dropped(Vec<PathBuf>),
    /// Write the shown output to a file.
    SaveOutput,
    /// Write the shown output here.
    SaveTo(PathBuf),
    /// Ask where this file, which a program brought back, is written.
    SaveFile(ProgramId, usize),
    /// Ask for the folder that all files of the shown program are written into.
    SaveAll,
    /// Write these files.
    Fetch(Fetch),
    /// Read this file: a source of its own, or the standard input of the open tab.
    Read {
        /// Which file.
        path: PathBuf,
        /// Whether it becomes standard input.
        as_stdin: bool,
    },
}

impl Files {
    pub(super) fn words(&self) -> Words {
        let (label, tooltip) = match self {
            Self::Open => ("Open…", "Opens a source file; files can also be dropped on the window"),
            Self::ChooseStdin => ("Choose a file…", "The file becomes standard input"),
            Self::ChooseInputs => {
                ("Send files…", "The program finds them in its working folder; data files can also be dropped here")
            }
            Self::Attach(_) | Self::Dropped(_) => ("Send", "The program finds them in its working folder"),
            Self::SaveOutput => ("Save output…", "Writes all of the shown output to a file"),
            Self::SaveFile(..) => ("Save…", "Writes the file as the program left it"),
            Self::SaveAll => ("Save all…", "Writes all files that the program brought back into a folder"),
            Self::Fetch(_) => ("Save", "Writes the files"),
            Self::SaveTo(_) => ("Save", "Writes the file"),
            Self::Read { .. } => ("Open", "Reads the file"),
        };
        Words::new(label, tooltip)
    }

    pub(super) const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Open => ctrl(Key::O),
            Self::SaveOutput => ctrl(Key::S),
            Self::ChooseStdin
            | Self::ChooseInputs
            | Self::Attach(_)
            | Self::Dropped(_)
            | Self::SaveFile(..)
            | Self::SaveAll
            | Self::Fetch(_)
            | Self::SaveTo(_)
            | Self::Read { .. } => None,
        }
    }

    pub(super) fn enabled(&self, situation: &Situation) -> Able {
        match self {
            Self::SaveOutput | Self::SaveTo(_) => situation.has_output(),
            Self::SaveFile(..) | Self::Fetch(_) => situation.is_connected(),
            Self::SaveAll => situation.is_connected().and(super::need(situation.files, "no files are listed")),
            Self::ChooseInputs | Self::Attach(_) => super::need(situation.tabs > 0, "no tab is open"),
            Self::Open | Self::ChooseStdin | Self::Dropped(_) | Self::Read { .. } => Ok(()),
        }
    }
}
