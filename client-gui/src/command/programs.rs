//! Commands for the selected programs.

use super::{Able, Situation, Words, ctrl, ctrl_shift, need};
use common::{Duration, ProgramId, program::State};
use egui::{Key, KeyboardShortcut};

/// The selected programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Stop them, after asking.
    Stop,
    /// Stop exactly these; a person has confirmed.
    StopConfirmed(Vec<ProgramId>),
    /// Let them stand still.
    Suspend,
    /// Let them go on.
    Resume,
    /// Ask how long the program may run.
    ChangeWallTime,
    /// Let this one run for so long in all.
    SetWallTime(ProgramId, Duration),
    /// Run them once more; after asking, when they are many.
    RunAgain,
    /// Run exactly these once more; a person has confirmed.
    RunAgainConfirmed(Vec<ProgramId>),
    /// Open the source in the submit pane.
    EditAndRun,
    /// Send this as input to this program, which runs.
    SendInput(ProgramId, String),
    /// Tell the shown program that no input follows.
    EndInput,
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
            Self::Suspend => ("Suspend", "Lets it stand still, and its wall time with it, until it is resumed"),
            Self::Resume => ("Resume", "Lets it go on where it stood still"),
            Self::ChangeWallTime => ("Change wall time…", "How long it may run, whether it waits or runs"),
            Self::SetWallTime(..) => ("Change", "How long it may run"),
            Self::RunAgain | Self::RunAgainConfirmed(_) => ("Run again", "The same programs once more, under new IDs"),
            Self::EditAndRun => ("Edit and run…", "Opens its source, arguments and limits to change them"),
            Self::SendInput(..) => ("Send input", "The program reads it"),
            Self::EndInput => ("End input", "Tells the program that no input follows"),
            Self::CopyId => ("Copy ID", "For the command line, or for a colleague; of several, one a line"),
            Self::CopyOutput => ("Copy output", "The marked lines, or all of them"),
        };
        Words::new(label, tooltip)
    }

    pub(super) const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Stop => ctrl_shift(Key::X),
            Self::Suspend => ctrl_shift(Key::S),
            Self::Resume => ctrl_shift(Key::R),
            Self::ChangeWallTime => ctrl_shift(Key::L),
            Self::RunAgain => ctrl(Key::R),
            Self::EditAndRun => ctrl(Key::E),
            Self::CopyId => ctrl_shift(Key::C),
            Self::StopConfirmed(_)
            | Self::RunAgainConfirmed(_)
            | Self::SetWallTime(..)
            | Self::SendInput(..)
            | Self::EndInput
            | Self::CopyOutput => None,
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
            Self::Suspend => situation
                .may_submit()
                .and(need(situation.selected.contains(&State::Running), "select programs that run first")),
            Self::Resume => situation
                .may_submit()
                .and(need(situation.selected.contains(&State::Suspended), "select programs that are suspended first")),
            Self::ChangeWallTime => situation
                .may_submit()
                .and(situation.has_one_selected())
                .and(need(situation.selected.iter().any(|state| !state.is_final()), "it has ended")),
            Self::StopConfirmed(_) => situation.is_connected(),
            Self::SetWallTime(..) | Self::SendInput(..) => situation.may_submit(),
            Self::EndInput => situation.takes_input(),
            Self::CopyOutput => situation.has_output(),
        }
    }
}
