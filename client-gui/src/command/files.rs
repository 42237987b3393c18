//! Commands that read and write files of this computer.

use super::{Able, Situation, Words, ctrl};
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
            | Self::SaveTo(_)
            | Self::Read { .. } => None,
        }
    }

    pub(super) fn enabled(&self, situation: &Situation) -> Able {
        match self {
            Self::SaveOutput | Self::SaveTo(_) => situation.has_output(),
            Self::ChooseInputs | Self::Attach(_) => super::need(situation.tabs > 0, "no tab is open"),
            Self::Open | Self::ChooseStdin | Self::Dropped(_) | Self::Read { .. } => Ok(()),
        }
    }
}
