//! Everything that a person can do. Buttons, menus, shortcuts and the palette are made from this one list.
//!
//! Commands are nested by who handles them, so that a command nobody handles does not compile.

mod edit;
mod files;
mod go;
mod master;
mod offer;
mod programs;
mod session;
mod view;

pub use edit::Edit;
pub use files::Files;
pub use go::{Go, Pane};
pub use master::Master;
pub use offer::Commands;
pub use programs::Programs;
pub use session::Session;
pub use view::View;

use crate::theme::Choice;
use common::{program::State, session::Role, view::Policy};
use egui::{Key, KeyboardShortcut, Modifiers};

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Shows something else.
    Go(Go),
    /// How the window looks.
    View(View),
    /// Which master, and as whom.
    Session(Session),
    /// What is being written, and running it.
    Edit(Edit),
    /// Files of this computer.
    Files(Files),
    /// The selected programs.
    Programs(Programs),
    /// How the master works.
    Master(Master),
}

/// What the interface says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// On the button and in the menu.
    pub label: String,
    /// When the pointer rests on it.
    pub tooltip: &'static str,
}

impl Words {
    fn new(label: impl Into<String>, tooltip: &'static str) -> Self {
        Self { label: label.into(), tooltip }
    }
}

/// What a command needs to know to say whether it can be done now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// Whether the master answers.
    pub connected: bool,
    /// What the user may do.
    pub role: Option<Role>,
    /// The states of the selected programs.
    pub selected: Vec<State>,
    /// Whether an output is shown.
    pub output: bool,
    /// Whether the program of that output takes input now, and if not, why; none when there is no program.
    pub input: Option<Able>,
    /// Whether files that a program brought back are listed.
    pub files: bool,
    /// Whether the pane of a program is open.
    pub detail: bool,
    /// Whether the open tab has something to run.
    pub runnable: bool,
    /// Whether it was submitted and is not acknowledged yet.
    pub submitting: bool,
    /// Open tabs.
    pub tabs: usize,
}

/// Whether something can be done; if not, why, as a short sentence for the tooltip.
pub type Able = Result<(), &'static str>;

fn need(is: bool, why: &'static str) -> Able {
    if is { Ok(()) } else { Err(why) }
}

impl Situation {
    pub(crate) fn is_connected(&self) -> Able {
        need(self.connected, "not connected")
    }

    pub(crate) fn may_submit(&self) -> Able {
        self.is_connected().and(need(self.role.is_some_and(|role| role >= Role::Submitter), "your role may only look"))
    }

    fn may_operate(&self) -> Able {
        let operator = self.role.is_some_and(|role| role >= Role::Operator);
        self.is_connected().and(need(operator, "this needs the role operator"))
    }

    fn has_selection(&self) -> Able {
        need(!self.selected.is_empty(), "select a program first")
    }

    fn has_one_selected(&self) -> Able {
        need(self.selected.len() == 1, "select one program first")
    }

    fn takes_input(&self) -> Able {
        self.may_submit()?;
        self.input.unwrap_or(Err("no program is shown"))
    }

    fn has_output(&self) -> Able {
        need(self.output, "no output is shown")
    }
}

/// Ctrl with a key.
const fn ctrl(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

/// Ctrl and Shift with a key.
const fn ctrl_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

impl Command {
    /// What the palette and the list of shortcuts show, in order.
    #[must_use]
    pub fn listed() -> Vec<Self> {
        let mut list: Vec<Self> = vec![
            Edit::Run.into(),
            Go::Show(Pane::Submit).into(),
            Go::Show(Pane::History).into(),
            Go::Show(Pane::Slaves).into(),
            Go::Show(Pane::Clients).into(),
            Go::OpenOutput.into(),
            Go::Why.into(),
            Programs::Stop.into(),
            Programs::Suspend.into(),
            Programs::Resume.into(),
            Programs::ChangeWallTime.into(),
            Programs::RunAgain.into(),
            Programs::EditAndRun.into(),
            Programs::CopyId.into(),
            Files::SaveOutput.into(),
            Files::SaveAll.into(),
            Programs::CopyOutput.into(),
            Go::FindInOutput.into(),
            Go::FocusInput.into(),
            Programs::EndInput.into(),
            Go::CloseDetail.into(),
            Go::FocusFilter.into(),
            Go::Newest.into(),
            Files::Open.into(),
            Files::ChooseInputs.into(),
            Edit::NewTab.into(),
            Edit::CloseTab.into(),
        ];
        list.extend(crate::templates::SAMPLES.iter().map(|sample| Edit::Template(sample.language).into()));
        list.extend([
            Go::AddSlave.into(),
            Master::SetPolicy(Policy::Fifo).into(),
            View::Theme(Choice::System).into(),
            View::Theme(Choice::Dark).into(),
            View::Theme(Choice::Light).into(),
            View::ZoomIn.into(),
            View::ZoomOut.into(),
            View::ZoomReset.into(),
            Session::SwitchMaster.into(),
            Session::StartHere.into(),
            Session::LogOut.into(),
            Go::Palette.into(),
            Go::Shortcuts.into(),
        ]);
        list
    }

    /// Label and tooltip.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Go(go) => go.words(),
            Self::View(view) => view.words(),
            Self::Session(session) => session.words(),
            Self::Edit(edit) => edit.words(),
            Self::Files(files) => files.words(),
            Self::Programs(programs) => programs.words(),
            Self::Master(master) => master.words(),
        }
    }

    /// The keys that do it, the first of which is shown.
    #[must_use]
    pub const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Go(go) => go.shortcut(),
            Self::View(view) => view.shortcut(),
            Self::Edit(edit) => edit.shortcut(),
            Self::Files(files) => files.shortcut(),
            Self::Programs(programs) => programs.shortcut(),
            Self::Session(_) | Self::Master(_) => None,
        }
    }

    /// The shortcut as it is written: `Ctrl P`.
    #[must_use]
    pub fn keys(&self) -> String {
        // These are keys of the table and of the input line, not shortcuts of the window.
        if *self == Self::Go(Go::OpenOutput) {
            return "Enter".to_owned();
        }
        if *self == Self::Programs(Programs::EndInput) {
            return "Ctrl D".to_owned();
        }
        if *self == Self::Go(Go::CloseDetail) {
            return "Esc".to_owned();
        }
        self.shortcut().map(|keys| written(&keys)).unwrap_or_default()
    }

    /// Whether it can be done now; if not, why.
    ///
    /// # Errors
    /// What is missing, as a short sentence for the tooltip.
    pub fn enabled(&self, situation: &Situation) -> Result<(), &'static str> {
        match self {
            Self::Go(go) => go.enabled(situation),
            Self::View(_) => Ok(()),
            Self::Session(session) => session.enabled(situation),
            Self::Edit(edit) => edit.enabled(situation),
            Self::Files(files) => files.enabled(situation),
            Self::Programs(programs) => programs.enabled(situation),
            Self::Master(_) => situation.may_operate(),
        }
    }
}

macro_rules! part_of_command {
    ($($part:ident),*) => {
        $(impl From<$part> for Command {
            fn from(part: $part) -> Self {
                Self::$part(part)
            }
        })*
    };
}
part_of_command!(Go, View, Session, Edit, Files, Programs, Master);

/// A shortcut as it is written: `Ctrl Shift X`.
#[expect(clippy::wildcard_enum_match_arm, reason = "most keys are written as they are called")]
fn written(keys: &KeyboardShortcut) -> String {
    let mut words = Vec::new();
    if keys.modifiers.command || keys.modifiers.ctrl {
        words.push("Ctrl");
    }
    if keys.modifiers.alt {
        words.push("Alt");
    }
    if keys.modifiers.shift {
        words.push("Shift");
    }
    words.push(match keys.logical_key {
        Key::Plus => "+",
        Key::Minus => "-",
        Key::Enter => "⏎",
        key => key.name(),
    });
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_shortcut_does_one_thing() {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for command in Command::listed() {
            let keys = command.keys();
            if !keys.is_empty() {
                let label = command.words().label;
                assert_eq!(seen.insert(keys.clone(), label.clone()), None, "{keys} also does {label}");
            }
        }
    }

    #[test]
    fn the_list_of_commands_with_their_keys() {
        let text: Vec<String> = Command::listed()
            .iter()
            .filter(|command| !matches!(command, Command::Edit(Edit::Template(_))))
            .map(|command| format!("{} [{}] {}", command.words().label, command.keys(), command.words().tooltip))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn words_follow_the_rules_of_wording() {
        for command in Command::listed() {
            let words = command.words();
            assert!(!words.label.ends_with('.') && !words.tooltip.ends_with('.'), "{command:?}");
            assert!(words.label.chars().next().is_some_and(char::is_uppercase), "{command:?}");
        }
    }

    #[test]
    fn e10_what_a_role_may_not_do_is_greyed() {
        let viewer = Situation {
            connected: true,
            role: Some(Role::Viewer),
            selected: vec![State::Running],
            runnable: true,
            ..Situation::default()
        };
        let commands: [Command; 4] = [
            Edit::Run.into(),
            Programs::Stop.into(),
            Programs::RunAgain.into(),
            Master::SetPolicy(Policy::Fifo).into(),
        ];
        for command in &commands {
            assert!(command.enabled(&viewer).is_err(), "{command:?}");
        }
        let operator = Situation { role: Some(Role::Operator), ..viewer };
        for command in &commands {
            assert_eq!(command.enabled(&operator), Ok(()), "{command:?}");
        }
        let ended = Situation { selected: vec![State::Done], ..operator };
        assert!(Command::from(Programs::Stop).enabled(&ended).is_err());
    }
}
