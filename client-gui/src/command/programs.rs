//! Commands for the selected programs.

use super::{Able, Situation, Words, ctrl, ctrl_shift, need};
use common::ProgramId;
use egui::{Key, KeyboardShortcut};

/// The selected programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Stop them, after asking.
    Stop,
    /// Stop exactly these; a person has confirmed.
    StopConfirmed(Vec<ProgramId>),
    /// Run them once more; after asking, when they are many.
    RunAgain,
    /// Run exactly these once more; a person has confirmed.
    RunAgainConfirmed(Vec<ProgramId>),
    /// Open the source in the submit pane.
    EditAndRun,
    /// Copy the IDs.
    CopyId,
    /// Copy the shown output.
    CopyOutput,
}

impl Programs {
    pub(super) fn words(&self) -> Words {
        let (label, tooltip) = match self {
            Self::Stop => ("Stop…", "Ends the program; you are asked first"),
            Self::StopConfirmed(_) => ("Stop", "Ends them now"),
            Self::RunAgain | Self::RunAgainConfirmed(_) => ("Run again", "The same programs once more, under new IDs"),
            Self::EditAndRun => ("Edit and run…", "Opens its source, arguments and limits to change them"),
            Self::CopyId => ("Copy ID", "For the command line, or for a colleague; of several, one a line"),
            Self::CopyOutput => ("Copy output", "The marked lines, or all of them"),
        };
        Words::new(label, tooltip)
    }

    pub(super) const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Stop => ctrl_shift(Key::X),
            Self::RunAgain => ctrl(Key::R),
            Self::EditAndRun => ctrl(Key::E),
            Self::CopyId => ctrl_shift(Key::C),
            Self::StopConfirmed(_) | Self::RunAgainConfirmed(_) | Self::CopyOutput => None,
        }
    }

    pub(super) fn enabled(&self, situation: &Situation) -> Able {
        match self {
            Self::CopyId => situation.has_selection(),
            Self::EditAndRun => situation.is_connected().and(situation.has_one_selected()),
            Self::RunAgain => situation.may_submit().and(situation.has_selection()),
            Self::RunAgainConfirmed(_) => situation.may_submit(),
            Self::Stop => situation.may_submit().and(need(
                situation.selected.iter().any(|state| !state.is_final()),
                "select programs that run or wait first",
            )),
            Self::StopConfirmed(_) => situation.is_connected(),
            Self::CopyOutput => situation.has_output(),
        }
    }
}
