//! The one place where a command changes something.

mod edit;
mod files;
mod go;
mod master;
mod programs;
mod session;

pub use files::{chosen, loaded, take_path};
pub(crate) use session::forget_programs;

use crate::{
    backend::Backend,
    command::{Command, Pane, Situation, View},
    editing::Run,
    files::FileDialogs,
    state::{AppState, DetailTab},
};
use client::{Link, Mirror};
use common::{ErrorCode, ProgramId, UserError, message::data::Stream};
use std::rc::Rc;

/// What a command may use besides the window's state.
pub struct Means<'a> {
    /// The world.
    pub backend: &'a Rc<dyn Backend>,
    /// The newest snapshot.
    pub mirror: &'a Mirror,
    /// The desktop's file dialog.
    pub dialogs: &'a dyn FileDialogs,
    /// The toolkit: clipboard, theme, zoom.
    pub ctx: &'a egui::Context,
}

/// What can be done now.
#[must_use]
pub fn situation(state: &AppState, mirror: &Mirror) -> Situation {
    let detail = state.detail.open && state.detail.program.is_some();
    let selected = targets(state).into_iter().filter_map(|id| mirror.program(id)).map(|row| row.state).collect();
    Situation {
        connected: mirror.connected(),
        role: mirror.identity.as_ref().map(|identity| identity.role),
        selected,
        output: shown_output(state).is_some(),
        input: shown_output(state)
            .and_then(|id| mirror.program(id))
            .map(|row| crate::view_model::input::takes_input(row, &state.inputs)),
        files: state
            .detail
            .program
            .filter(|_| detail && state.pane == Pane::History)
            .and_then(|id| state.files.get(id))
            .is_some_and(|listed| listed.as_ref().is_ok_and(|listed| !listed.head.files.is_empty())),
        detail,
        runnable: state.submit.tab().is_some_and(crate::editing::EditorTab::runnable),
        submitting: state.submit.tab().is_some_and(|tab| matches!(tab.run, Run::Submitting(_) | Run::Sending(_))),
        tabs: state.submit.tabs.len(),
    }
}

/// The programs that commands mean: the selected ones of the table, or the one that the submit pane ran.
fn targets(state: &AppState) -> Vec<ProgramId> {
    if state.pane == Pane::Submit {
        return match state.submit.tab().map(|tab| &tab.run) {
            Some(Run::Submitted(id, _)) => vec![*id],
            Some(Run::None | Run::Submitting(_) | Run::Sending(_) | Run::Refused(_)) | None => Vec::new(),
        };
    }
    if state.history.selected.is_empty() {
        state.detail.program.into_iter().filter(|_| state.detail.open).collect()
    } else {
        state.history.selected.iter().copied().collect()
    }
}

/// The program whose output is on the screen.
fn shown_output(state: &AppState) -> Option<ProgramId> {
    match state.pane {
        Pane::History => state.detail.program.filter(|_| state.detail.open),
        Pane::Submit => targets(state).first().copied(),
        Pane::Connect | Pane::Slaves | Pane::Clients => None,
    }
}

/// Does `command`, if it can be done now.
pub fn handle(state: &mut AppState, command: Command, means: &Means<'_>) {
    if let Err(why) = command.enabled(&situation(state, means.mirror)) {
        let what = command.words().label;
        state.fail(&UserError::new(ErrorCode::RequestInvalid, format!("{}: {why}", what.trim_end_matches('…'))));
        return;
    }
    match command {
        Command::Go(go) => go::handle(state, go, means.mirror),
        Command::View(view) => look(state, &view, means.ctx),
        Command::Session(session) => session::handle(state, session, &**means.backend),
        Command::Edit(edit) => edit::handle(state, &edit, &**means.backend),
        Command::Files(files) => files::handle(state, files, means),
        Command::Programs(programs) => programs::handle(state, programs, means),
        Command::Master(master) => master::handle(state, master, &**means.backend),
    }
}

fn look(state: &mut AppState, view: &View, ctx: &egui::Context) {
    match view {
        View::Theme(choice) => {
            state.settings.theme = *choice;
            ctx.set_theme(*choice);
        }
        View::ZoomIn => state.settings.zoom(true),
        View::ZoomOut => state.settings.zoom(false),
        View::ZoomReset => state.settings.zoom_percent = 100,
    }
    ctx.set_zoom_factor(state.settings.zoom_percent as f32 / 100.0);
    state.keep_settings();
}

/// The stream that the open tab shows.
fn tab_stream(state: &AppState) -> Stream {
    match (state.pane, state.detail.tab) {
        (Pane::History, DetailTab::Errors) => Stream::Stderr,
        (Pane::History, DetailTab::Compile) => Stream::Compile,
        _ => Stream::Stdout,
    }
}

/// Where the first screen belongs: when nothing is known and nothing is shown yet.
pub fn open_first_pane(state: &mut AppState, mirror: &Mirror) {
    if mirror.link == Link::Off && mirror.summary.is_none() {
        state.pane = Pane::Connect;
    }
}
