//! What the window itself knows: which pane is open, what is selected, what is being written.

use crate::{
    backend::Asked,
    collected::{Fetch, FileLists},
    command::{Command, Pane},
    files::{Chosen, Purpose},
    input_lines::InputLines,
    output::Outputs,
    panels::output_view::OutputView,
    settings::{Keeper, Settings},
    widgets::RowsState,
};
use client::HistoryFilter;
use common::{ProgramId, ProgramSpec, UserError, view::Explanation};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

pub use crate::editing::{EditorTab, SubmitState};

/// Everything of the window that is not the mirror.
pub struct AppState {
    /// The pane that is open.
    pub pane: Pane,
    /// The first screen.
    pub connect: ConnectState,
    /// What is being written.
    pub submit: SubmitState,
    /// The table.
    pub history: HistoryState,
    /// The pane of one program.
    pub detail: DetailState,
    /// The list of slaves.
    pub slaves: SlavesState,
    /// The list of clients.
    pub clients: RowsState,
    /// The palette, while it is open.
    pub palette: Option<PaletteState>,
    /// A dialog, while it is open.
    pub dialog: Option<Dialog>,
    /// The line at the bottom.
    pub toast: Option<Toast>,
    /// What is remembered.
    pub settings: Settings,
    /// Writes it; started when there is something to write.
    pub keeper: Option<Keeper>,
    /// Outputs of the programs that are looked at.
    pub outputs: Outputs,
    /// Lists of files that programs brought back.
    pub files: FileLists,
    /// Commands that follow from answers.
    pub next: Vec<Command>,
    /// What is typed to programs that run.
    pub inputs: InputLines,
    /// Answers that are awaited.
    pub awaited: Vec<crate::answers::Awaited>,
    /// What was submitted, as far as somebody asked.
    pub specs: BTreeMap<ProgramId, Arc<ProgramSpec>>,
    /// When the master refused to tell what was submitted.
    pub refused: BTreeMap<ProgramId, Instant>,
    /// Why programs wait, with the moment when the master said so; nothing when it refused to.
    pub whys: BTreeMap<ProgramId, (Option<Explanation>, Instant)>,
}

/// The first screen.
#[derive(Debug, Default)]
pub struct ConnectState {
    /// `HOST:PORT`.
    pub address: String,
    /// The user's name.
    pub user: String,
    /// The password; forgotten as soon as it was sent.
    pub password: String,
    /// The pin that the master shows, waiting to be confirmed.
    pub pin: Option<String>,
    /// The address and pin that the person has confirmed in this window.
    pub confirmed: Option<(String, String)>,
    /// The pin is being asked for.
    pub asking_pin: bool,
    /// A master is being started here.
    pub starting: bool,
    /// What the start is doing now.
    pub progress: Arc<Mutex<String>>,
    /// What went wrong.
    pub error: Option<UserError>,
}

/// The table.
#[derive(Debug, Default)]
pub struct HistoryState {
    /// Which programs.
    pub filter: HistoryFilter,
    /// What is typed into the filter field.
    pub typed: String,
    /// When it was typed, until it is searched for.
    pub typed_at: Option<Instant>,
    /// Where the table is scrolled to.
    pub rows: RowsState,
    /// Rows that were there when the reader scrolled away; newer ones wait.
    pub anchor: Option<u64>,
    /// The selected programs.
    pub selected: BTreeSet<ProgramId>,
    /// The row with the keyboard, and its program.
    pub cursor: Option<(u64, ProgramId)>,
    /// Where a selection of several began.
    pub pivot: Option<u64>,
    /// The filter field takes the keyboard in the next frame.
    pub focus_filter: bool,
}

/// The pane of one program.
#[derive(Debug, Default)]
pub struct DetailState {
    /// The program.
    pub program: Option<ProgramId>,
    /// Whether the pane is open.
    pub open: bool,
    /// Which tab is open.
    pub tab: DetailTab,
    /// The shown output.
    pub view: OutputView,
    /// Where the list of files is scrolled to.
    pub files: RowsState,
}

/// A tab of the detail pane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DetailTab {
    /// Standard output, then standard error.
    #[default]
    Output,
    /// Standard error.
    Errors,
    /// What the compiler said.
    Compile,
    /// Limits and use.
    Use,
    /// Files that it brought back.
    Files,
}

impl DetailTab {
    /// Every tab, in order.
    pub const ALL: [Self; 5] = [Self::Output, Self::Errors, Self::Compile, Self::Use, Self::Files];

    /// The tab that says most about this program: what the compiler said when it refused it.
    #[must_use]
    pub fn best_for(program: &common::view::ProgramView) -> Self {
        match program.outcome {
            Some(common::Outcome::CompileError { .. }) => Self::Compile,
            _ => Self::Output,
        }
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Output => "Output",
            Self::Errors => "Errors",
            Self::Compile => "Compile",
            Self::Use => "Use",
            Self::Files => "Files",
        }
    }
}

/// The list of slaves.
#[derive(Debug, Default)]
pub struct SlavesState {
    /// Where it is scrolled to.
    pub rows: RowsState,
    /// The selected slave.
    pub selected: Option<common::SlaveId>,
    /// The number that is typed for the slots of this slave.
    pub typed: Option<(common::SlaveId, String)>,
}

/// The palette.
#[derive(Debug, Default)]
pub struct PaletteState {
    /// What is typed.
    pub typed: String,
    /// The marked entry.
    pub marked: usize,
    /// The field takes the keyboard in the next frame.
    pub focus: bool,
}

/// A dialog.
#[derive(Debug)]
pub enum Dialog {
    /// Stop these? Each with its name and state.
    ConfirmStop(Vec<(ProgramId, String, &'static str)>),
    /// Run all of these again?
    ConfirmAgain(Vec<ProgramId>),
    /// How long this program may run.
    WallTime {
        /// The program.
        id: ProgramId,
        /// What it is called.
        name: String,
        /// What is typed.
        typed: String,
        /// The field takes the keyboard in the next frame.
        focus: bool,
    },
    /// Why this slave is given nothing new.
    SetAside {
        /// The slave by name.
        slave: String,
        /// What is typed.
        reason: String,
        /// The field takes the keyboard in the next frame.
        focus: bool,
    },
    /// Write over these files, which are there already?
    WriteOver {
        /// What is written, and where.
        fetch: Fetch,
        /// The numbers of the files that are there.
        there: Vec<usize>,
        /// What they are called.
        names: Vec<String>,
    },
    /// How a slave joins.
    AddSlave,
    /// The list of shortcuts.
    Shortcuts,
    /// A path, because the desktop has no dialog.
    Path {
        /// What for.
        purpose: Purpose,
        /// What is typed.
        typed: String,
        /// The field takes the keyboard in the next frame.
        focus: bool,
    },
}

/// The line at the bottom.
#[derive(Debug, Clone)]
pub struct Toast {
    /// What happened.
    pub text: String,
    /// The whole error, on hover.
    pub details: String,
    /// Whether it went wrong.
    pub bad: bool,
    /// When it goes.
    pub until: Instant,
}

/// A file that is being chosen.
#[derive(Debug)]
pub struct Choosing {
    /// What for.
    pub purpose: Purpose,
    /// The answer.
    pub asked: Asked<Chosen>,
}

/// What is done with a file that is being read.
#[derive(Debug)]
pub enum Loaded {
    /// A source, with its path.
    Source(PathBuf, String),
    /// Standard input, with its path.
    Stdin(PathBuf, Vec<u8>),
    /// Files for the tab of this number, with their sizes.
    Inputs(u64, Vec<(PathBuf, u64)>),
}

impl AppState {
    /// The window as it opens.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            pane: Pane::Submit,
            connect: ConnectState::default(),
            submit: SubmitState::default(),
            history: HistoryState::default(),
            detail: DetailState::default(),
            slaves: SlavesState::default(),
            clients: RowsState::default(),
            palette: None,
            dialog: None,
            toast: None,
            settings,
            keeper: None,
            outputs: Outputs::default(),
            files: FileLists::default(),
            next: Vec::new(),
            inputs: InputLines::default(),
            awaited: Vec::new(),
            specs: BTreeMap::new(),
            refused: BTreeMap::new(),
            whys: BTreeMap::new(),
        }
    }

    /// Remembers the settings as they are now.
    pub fn keep_settings(&mut self) {
        if self.settings.file.is_some() {
            self.keeper = self.keeper.take().or_else(Keeper::start);
        }
        if let Some(keeper) = &self.keeper {
            keeper.keep(&self.settings);
        }
    }

    /// Says something in the line at the bottom.
    pub fn say(&mut self, text: impl Into<String>) {
        self.toast = Some(Toast {
            text: text.into(),
            details: String::new(),
            bad: false,
            until: Instant::now() + std::time::Duration::from_secs(5),
        });
    }

    /// Says what went wrong in the line at the bottom.
    pub fn fail(&mut self, error: &UserError) {
        self.toast = Some(Toast {
            text: crate::widgets::sentence(&error.sentence),
            details: crate::widgets::whole(error),
            bad: true,
            until: Instant::now() + std::time::Duration::from_secs(12),
        });
    }
}
