//! Commands that show something else and change nothing of the master's.

use super::{Able, Situation, Words, ctrl, ctrl_shift, need};
use client::HistoryFilter;
use egui::{Key, KeyboardShortcut, Modifiers};

/// A pane of the rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pane {
    /// Where to connect.
    Connect,
    /// Write and run.
    Submit,
    /// What ran.
    History,
    /// Who executes.
    Slaves,
    /// Who is logged in.
    Clients,
}

/// Shows something else.
#[derive(Clone, Debug, PartialEq)]
pub enum Go {
    /// Show a pane.
    Show(Pane),
    /// Open the palette.
    Palette,
    /// Show the list of shortcuts.
    Shortcuts,
    /// Show the output of the selected program.
    OpenOutput,
    /// Say why the selected program waits, or how it ended.
    Why,
    /// Search in the shown output.
    FindInOutput,
    /// Put the keyboard in the input line of the shown program.
    FocusInput,
    /// Close the detail pane.
    CloseDetail,
    /// Show the newest programs.
    Newest,
    /// Put the keyboard in the filter.
    FocusFilter,
    /// Show these programs of the history.
    Filter(HistoryFilter),
    /// Explain how a slave is added.
    AddSlave,
}

impl Go {
    pub(super) fn words(&self) -> Words {
        let (label, tooltip) = match self {
            Self::Show(Pane::Connect) => ("Connect…", "Choose a master"),
            Self::Show(Pane::Submit) => ("Submit…", "Write a program, or open one, and run it"),
            Self::Show(Pane::History) => ("History", "What ran, runs and waits"),
            Self::Show(Pane::Slaves) => ("Slaves", "The machines that run programs"),
            Self::Show(Pane::Clients) => ("Clients", "Who is logged in"),
            Self::Palette => ("Search or run a command", "Every command, by its name"),
            Self::Shortcuts => ("Keyboard shortcuts", "The list of shortcuts"),
            Self::OpenOutput => ("Show output", "Its output and the slave that ran it"),
            Self::Why => ("Why?", "Why it waits, slave by slave, or how it ended"),
            Self::FindInOutput => ("Find in output", "Search in the shown output"),
            Self::FocusInput => ("Write input", "Puts the keyboard in the input line of the program that is shown"),
            Self::CloseDetail => ("Close details", "Back to the list"),
            Self::Newest => ("Show the newest", "Scrolls to the top"),
            Self::FocusFilter => ("Filter the history", "By name, language, slave, user or ID"),
            Self::Filter(_) => ("Filter", "Shows these programs only"),
            Self::AddSlave => ("Add a slave…", "How another machine joins"),
        };
        Words::new(label, tooltip)
    }

    pub(super) const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Show(Pane::Submit) => ctrl(Key::Num1),
            Self::Show(Pane::History) => ctrl(Key::Num2),
            Self::Show(Pane::Slaves) => ctrl(Key::Num3),
            Self::Show(Pane::Clients) => ctrl(Key::Num4),
            Self::Palette => ctrl(Key::P),
            Self::Shortcuts => Some(KeyboardShortcut::new(Modifiers::NONE, Key::F1)),
            Self::FindInOutput => ctrl_shift(Key::F),
            Self::FocusFilter => ctrl(Key::F),
            Self::FocusInput => ctrl(Key::I),
            Self::Newest => ctrl(Key::Home),
            Self::Show(Pane::Connect)
            | Self::OpenOutput
            | Self::Why
            | Self::CloseDetail
            | Self::Filter(_)
            | Self::AddSlave => None,
        }
    }

    pub(super) fn enabled(&self, situation: &Situation) -> Able {
        match self {
            Self::OpenOutput | Self::Why => situation.has_one_selected(),
            Self::FindInOutput => situation.has_output(),
            Self::FocusInput => situation.takes_input(),
            Self::CloseDetail => need(situation.detail, "no details are open"),
            Self::Show(_)
            | Self::Palette
            | Self::Shortcuts
            | Self::Newest
            | Self::FocusFilter
            | Self::Filter(_)
            | Self::AddSlave => Ok(()),
        }
    }
}
