//! Everything that a person can do. Buttons, menus, shortcuts and the palette are made from this one list.

use crate::{backend::Login, theme::Choice};
use client::HistoryFilter;
use common::{ProgramId, program::State, session::Role, view::Policy};
use egui::{Key, KeyboardShortcut, Modifiers};
use std::path::PathBuf;

/// Programs that are run again at once: more is a slip of the hand.
pub const AGAIN_MAX: usize = 100;

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

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
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
    /// Stop the selected programs, after asking.
    Stop,
    /// Run the selected programs once more.
    RunAgain,
    /// Open the selected program's source in the submit pane.
    EditAndRun,
    /// Copy the selected program's ID.
    CopyId,
    /// Write the shown output to a file.
    SaveOutput,
    /// Copy the shown output.
    CopyOutput,
    /// Search in the shown output.
    FindInOutput,
    /// Close the detail pane.
    CloseDetail,
    /// Show the newest programs.
    Newest,
    /// Put the keyboard in the filter.
    FocusFilter,
    /// Submit what is being edited.
    Run,
    /// An empty tab.
    NewTab,
    /// Close the open tab.
    CloseTab,
    /// Open a file in a new tab.
    OpenFile,
    /// A new tab with the sample of this language.
    Template(&'static str),
    /// Start a master and a slave on this computer.
    StartHere,
    /// Choose another master.
    SwitchMaster,
    /// End the session.
    LogOut,
    /// Explain how a slave is added.
    AddSlave,
    /// Order waiting programs so.
    SetPolicy(Policy),
    /// Choose the theme.
    Theme(Choice),
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// As it was made.
    ZoomReset,
    /// Show these programs of the history.
    Filter(HistoryFilter),
    /// Stop exactly these; a person has confirmed.
    StopConfirmed(Vec<ProgramId>),
    /// Set how many programs may run on a slave, or on each.
    SetSlots {
        /// The slave by name; none is every slave.
        slave: Option<String>,
        /// The number.
        slots: u32,
    },
    /// Log in.
    LogIn(Login),
    /// Learn the pin of the master at this address.
    AskPin(String),
    /// Go on with the remembered session of this number.
    Resume(usize),
    /// Read this file: a source of its own, or the standard input of the open tab.
    ReadFile {
        /// Which file.
        path: PathBuf,
        /// Whether it becomes standard input.
        as_stdin: bool,
    },
    /// Ask for the file that becomes standard input.
    ChooseStdin,
    /// Write the shown output here.
    SaveTo(PathBuf),
}

/// What the interface says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// On the button and in the menu.
    pub label: String,
    /// When the pointer rests on it.
    pub tooltip: &'static str,
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
    /// Whether the pane of a program is open.
    pub detail: bool,
    /// Whether the open tab has something to run.
    pub runnable: bool,
    /// Open tabs.
    pub tabs: usize,
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
        let mut list = vec![
            Self::Run,
            Self::Show(Pane::Submit),
            Self::Show(Pane::History),
            Self::Show(Pane::Slaves),
            Self::Show(Pane::Clients),
            Self::OpenOutput,
            Self::Why,
            Self::Stop,
            Self::RunAgain,
            Self::EditAndRun,
            Self::CopyId,
            Self::SaveOutput,
            Self::CopyOutput,
            Self::FindInOutput,
            Self::CloseDetail,
            Self::FocusFilter,
            Self::Newest,
            Self::OpenFile,
            Self::NewTab,
            Self::CloseTab,
        ];
        list.extend(crate::templates::SAMPLES.iter().map(|sample| Self::Template(sample.language)));
        list.extend([
            Self::AddSlave,
            Self::SetPolicy(Policy::Fifo),
            Self::Theme(Choice::System),
            Self::Theme(Choice::Dark),
            Self::Theme(Choice::Light),
            Self::ZoomIn,
            Self::ZoomOut,
            Self::ZoomReset,
            Self::SwitchMaster,
            Self::StartHere,
            Self::LogOut,
            Self::Palette,
            Self::Shortcuts,
        ]);
        list
    }

    /// Label and tooltip.
    #[must_use]
    pub fn words(&self) -> Words {
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
            Self::Stop => ("Stop…", "Ends the program; you are asked first"),
            Self::RunAgain => ("Run again", "The same programs once more, under new IDs"),
            Self::EditAndRun => ("Edit and run…", "Opens its source, arguments and limits to change them"),
            Self::CopyId => ("Copy ID", "For the command line, or for a colleague; of several, one a line"),
            Self::SaveOutput => ("Save output…", "Writes all of the shown output to a file"),
            Self::CopyOutput => ("Copy output", "The marked lines, or all of them"),
            Self::FindInOutput => ("Find in output", "Search in the shown output"),
            Self::CloseDetail => ("Close details", "Back to the list"),
            Self::Newest => ("Show the newest", "Scrolls to the top"),
            Self::FocusFilter => ("Filter the history", "By name, language, slave, user or ID"),
            Self::Run => ("Run", "Submits it; the result appears below"),
            Self::NewTab => ("New tab", "An empty program"),
            Self::CloseTab => ("Close tab", "Closes what is being edited"),
            Self::OpenFile => ("Open…", "Opens a source file; files can also be dropped on the window"),
            Self::StartHere => ("Start on this computer", "A master and a slave of your own; they end with the window"),
            Self::SwitchMaster => ("Switch master…", "Connect somewhere else"),
            Self::LogOut => ("Log out", "Ends the session and forgets it on this computer"),
            Self::AddSlave => ("Add a slave…", "How another machine joins"),
            Self::SetPolicy(Policy::Fifo) => ("Policy: first come, first served", "In the order of submission"),
            Self::SetPolicy(Policy::RoundRobin { .. }) => ("Policy: round robin, 10 s", "Slices of time in turn"),
            Self::SetPolicy(Policy::Priority) => ("Policy: priority", "Highest priority first"),
            Self::Theme(Choice::System) => ("Theme: as the desktop", "Dark or light, as the desktop is set"),
            Self::Theme(Choice::Dark) => ("Theme: dark", "Always dark"),
            Self::Theme(Choice::Light) => ("Theme: light", "Always light"),
            Self::ZoomIn => ("Zoom in", "Everything larger"),
            Self::ZoomOut => ("Zoom out", "Everything smaller"),
            Self::ZoomReset => ("Zoom 100 %", "The size it was made for"),
            Self::Filter(_) => ("Filter", "Shows these programs only"),
            Self::StopConfirmed(_) => ("Stop", "Ends them now"),
            Self::SetSlots { .. } => ("Set slots", "How many programs may run there at once"),
            Self::LogIn(_) => ("Log in", "Connects and logs in"),
            Self::AskPin(_) => ("Connect", "Asks the master for its identity first"),
            Self::Resume(_) => ("Connect", "Goes on with the session of this computer"),
            Self::ReadFile { .. } => ("Open", "Reads the file"),
            Self::ChooseStdin => ("Choose a file…", "The file becomes standard input"),
            Self::SaveTo(_) => ("Save", "Writes the file"),
            Self::Template(language) => {
                return Words { label: format!("New from sample: {language}"), tooltip: "Opens a sample program" };
            }
        };
        Words { label: label.to_owned(), tooltip }
    }

    /// The keys that do it, the first of which is shown.
    #[must_use]
    pub const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Show(Pane::Submit) => ctrl(Key::Num1),
            Self::Show(Pane::History) => ctrl(Key::Num2),
            Self::Show(Pane::Slaves) => ctrl(Key::Num3),
            Self::Show(Pane::Clients) => ctrl(Key::Num4),
            Self::Palette => ctrl(Key::P),
            Self::Shortcuts => Some(KeyboardShortcut::new(Modifiers::NONE, Key::F1)),
            Self::Stop => ctrl_shift(Key::X),
            Self::RunAgain => ctrl(Key::R),
            Self::EditAndRun => ctrl(Key::E),
            Self::CopyId => ctrl_shift(Key::C),
            Self::SaveOutput => ctrl(Key::S),
            Self::FindInOutput => ctrl_shift(Key::F),
            Self::FocusFilter => ctrl(Key::F),
            Self::Newest => ctrl(Key::Home),
            Self::Run => ctrl(Key::Enter),
            Self::NewTab => ctrl(Key::T),
            Self::CloseTab => ctrl(Key::W),
            Self::OpenFile => ctrl(Key::O),
            Self::ZoomIn => ctrl(Key::Plus),
            Self::ZoomOut => ctrl(Key::Minus),
            Self::ZoomReset => ctrl(Key::Num0),
            Self::Show(Pane::Connect)
            | Self::OpenOutput
            | Self::Why
            | Self::CopyOutput
            | Self::CloseDetail
            | Self::StartHere
            | Self::SwitchMaster
            | Self::LogOut
            | Self::AddSlave
            | Self::SetPolicy(_)
            | Self::Theme(_)
            | Self::Template(_)
            | Self::Filter(_)
            | Self::StopConfirmed(_)
            | Self::SetSlots { .. }
            | Self::LogIn(_)
            | Self::AskPin(_)
            | Self::Resume(_)
            | Self::ReadFile { .. }
            | Self::ChooseStdin
            | Self::SaveTo(_) => None,
        }
    }

    /// The shortcut as it is written: `Ctrl P`.
    #[must_use]
    pub fn keys(&self) -> String {
        // These two are keys of the table, not shortcuts of the window.
        if *self == Self::OpenOutput {
            return "Enter".to_owned();
        }
        if *self == Self::CloseDetail {
            return "Esc".to_owned();
        }
        self.shortcut().map(|keys| written(&keys)).unwrap_or_default()
    }

    /// Whether it can be done now; if not, why.
    ///
    /// # Errors
    /// What is missing, as a short sentence for the tooltip.
    pub fn enabled(&self, situation: &Situation) -> Result<(), &'static str> {
        let need = |is: bool, why| if is { Ok(()) } else { Err(why) };
        let connected = need(situation.connected, "not connected");
        let role = |least: Role, why| need(situation.role.is_some_and(|role| role >= least), why);
        let one = need(situation.selected.len() == 1, "select one program first");
        match self {
            Self::OpenOutput | Self::Why => one,
            Self::CopyId => need(!situation.selected.is_empty(), "select a program first"),
            Self::EditAndRun => connected.and(one),
            Self::RunAgain => connected
                .and(need(!situation.selected.is_empty(), "select a program first"))
                .and(need(situation.selected.len() <= AGAIN_MAX, "select at most 100 programs"))
                .and(role(Role::Submitter, "your role may only look")),
            Self::Stop => connected.and(role(Role::Submitter, "your role may only look")).and(need(
                situation.selected.iter().any(|state| !state.is_final()),
                "select programs that run or wait first",
            )),
            Self::StopConfirmed(_) => connected,
            Self::SaveOutput | Self::CopyOutput | Self::FindInOutput | Self::SaveTo(_) => {
                need(situation.output, "no output is shown")
            }
            Self::CloseDetail => need(situation.detail, "no details are open"),
            Self::Run => connected
                .and(role(Role::Submitter, "your role may only look"))
                .and(need(situation.runnable, "write a program first")),
            Self::CloseTab => need(situation.tabs > 0, "no tab is open"),
            Self::SetPolicy(_) | Self::SetSlots { .. } => {
                connected.and(role(Role::Operator, "this needs the role operator"))
            }
            Self::LogOut => connected,
            Self::Show(_)
            | Self::Palette
            | Self::Shortcuts
            | Self::Newest
            | Self::FocusFilter
            | Self::NewTab
            | Self::OpenFile
            | Self::Template(_)
            | Self::StartHere
            | Self::SwitchMaster
            | Self::AddSlave
            | Self::Theme(_)
            | Self::ZoomIn
            | Self::ZoomOut
            | Self::ZoomReset
            | Self::Filter(_)
            | Self::LogIn(_)
            | Self::AskPin(_)
            | Self::Resume(_)
            | Self::ReadFile { .. }
            | Self::ChooseStdin => Ok(()),
        }
    }
}

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

/// Where panels put what a person asked for. Nothing happens until the panels are drawn.
#[derive(Debug, Default)]
pub struct Commands {
    asked: Vec<Command>,
    situation: Situation,
}

impl Commands {
    /// An empty list for this frame.
    #[must_use]
    pub fn new(situation: Situation) -> Self {
        Self { asked: Vec::new(), situation }
    }

    /// What can be done now.
    #[must_use]
    pub fn situation(&self) -> &Situation {
        &self.situation
    }

    /// Asks for `command`.
    pub fn send(&mut self, command: Command) {
        self.asked.push(command);
    }

    /// What was asked for, in order.
    #[must_use]
    pub fn take(self) -> Vec<Command> {
        self.asked
    }

    /// Whether `command` can be done now.
    #[must_use]
    pub fn can(&self, command: &Command) -> bool {
        command.enabled(&self.situation).is_ok()
    }

    /// A button for `command`, greyed with its reason while it cannot be done.
    pub(crate) fn button(
        &mut self,
        ui: &mut egui::Ui,
        command: Command,
        look: crate::widgets::Look,
        hint: bool,
        min_width: f32,
    ) -> egui::Response {
        let words = command.words();
        let keys = if hint { command.keys() } else { String::new() };
        let enabled = command.enabled(&self.situation);
        let response = ui
            .add_enabled_ui(enabled.is_ok(), |ui| crate::widgets::show_button(ui, &words.label, &keys, look, min_width))
            .inner;
        if response.clicked() {
            self.send(command.clone());
        }
        let keys = command.keys();
        let tooltip = if keys.is_empty() { words.tooltip.to_owned() } else { format!("{} ({keys})", words.tooltip) };
        let response = response.on_hover_text(&tooltip);
        match enabled {
            Ok(()) => response,
            Err(why) => response.on_disabled_hover_text(format!("{tooltip}\nNot now: {why}")),
        }
    }

    /// An entry of a menu for `command`; closes the menu.
    pub(crate) fn entry(&mut self, ui: &mut egui::Ui, command: Command, chosen: bool) {
        let words = command.words();
        let enabled = command.enabled(&self.situation);
        let response = crate::widgets::menu_entry(ui, &words.label, &command.keys(), chosen, enabled.is_ok());
        if enabled.is_ok() && response.clicked() {
            self.send(command);
            ui.close();
        } else if let Err(why) = enabled {
            response.on_hover_text(format!("Not now: {why}"));
        }
    }
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
            .filter(|command| !matches!(command, Command::Template(_)))
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
        for command in [Command::Run, Command::Stop, Command::RunAgain, Command::SetPolicy(Policy::Fifo)] {
            assert!(command.enabled(&viewer).is_err(), "{command:?}");
        }
        let operator = Situation { role: Some(Role::Operator), ..viewer };
        for command in [Command::Run, Command::Stop, Command::RunAgain, Command::SetPolicy(Policy::Fifo)] {
            assert_eq!(command.enabled(&operator), Ok(()), "{command:?}");
        }
        let ended = Situation { selected: vec![State::Done], ..operator };
        assert!(Command::Stop.enabled(&ended).is_err());
    }
}
